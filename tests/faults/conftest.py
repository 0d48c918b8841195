"""The small real bundle of the serving tests, for faults of requests too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[1] / "unit" / "serving" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("serving_fixtures", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _MODULE  # dataclasses look their module up
_SPEC.loader.exec_module(_MODULE)
bundle, stored, ask = _MODULE.bundle, _MODULE.stored, _MODULE.ask
