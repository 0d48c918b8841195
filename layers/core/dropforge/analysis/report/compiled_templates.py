"""The report's templates, compiled once and stored as Python stores its modules: compiling one takes longer than filling it in."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

TEMPLATES = Path(__file__).parent / "templates"
# What the compiled form depends on besides a template's text, of which the stored form has a checksum: Jinja, and the options below.
_FORM = f"{jinja2.__version__}-trimmed"


class BesideModules(jinja2.FileSystemBytecodeCache):
    """In `__pycache__` beside the templates, or where PYTHONPYCACHEPREFIX says, for as long as that can be written and read."""

    def __init__(self, templates: Path) -> None:
        place = Path(importlib.util.cache_from_source(str(templates / "template.py")))
        super().__init__(str(place.parent), f"%s-{_FORM}.jinja")

    def load_bytecode(self, bucket: Bucket) -> None:
        """A file that is none is the same as none."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """A function's layer is read-only, an installation may be another user's: then each process compiles."""
        if sys.dont_write_bytecode:
            return
        with suppress(OSError):
            Path(self.directory).mkdir(parents=True, exist_ok=True)
            super().dump_bytecode(bucket)


def environment(templates: Path = TEMPLATES) -> jinja2.Environment:
    """Escapes every value; a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        bytecode_cache=BesideModules(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
