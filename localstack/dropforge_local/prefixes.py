"""The rooms of the buckets: first parts of keys, for which the roles' permissions are measured and tested."""

from __future__ import annotations

from typing import Final

from dropforge import keys

PREFIXES: Final = {
    "data": tuple(folder.rstrip("/") for folder in keys.DATA),
    "artifacts": tuple(folder.rstrip("/") for folder in keys.ARTIFACTS),
}
