"""Aliases that Dropforge sets by itself; every other one is a person's."""

from __future__ import annotations

from typing import Final

NEWEST: Final = "newest"  # the last version of each model
CHALLENGER: Final = "challenger"  # the version of the last upload that the promotion gate prefers
