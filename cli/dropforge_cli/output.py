"""Data on stdout, progress on stderr, `--json` everywhere, plain lines in pipes, NO_COLOR respected (by rich)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console


class _Lazy:
    """A console made when it is first used: many commands print plain lines only."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __getattr__(self, name: str) -> Any:
        from rich.console import Console

        console = self.__dict__.setdefault("_console", Console(**self._options))
        return getattr(console, name)


# No markup: messages hold names and cells of users, and square brackets in them are text.
err = cast("Console", _Lazy(stderr=True, highlight=False, markup=False))
out = cast("Console", _Lazy(highlight=False, soft_wrap=True, markup=False))


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def emit_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """A table on a terminal; tab-separated lines with a header in a pipe."""
    if not out.is_terminal:
        for line in (columns, *rows):
            sys.stdout.write("\t".join(str(c) for c in line) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(str(c)) for c in row))
    out.print(table)


def emit_facts(facts: Mapping[str, Any]) -> None:
    """`name  value` lines on stdout."""
    width = max((len(k) for k in facts), default=0)
    for key, value in facts.items():
        sys.stdout.write(f"{key:<{width}}  {value}\n")


def say(message: str) -> None:
    """One line of progress on stderr."""
    err.print(message, soft_wrap=True)


def heading(message: str) -> None:
    """One line on stderr that a reader looks for."""
    err.print(message, style="bold", soft_wrap=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tell on stderr what is done and how long it took."""
    start = time.monotonic()
    say(f"… {what}")
    yield
    done(what, time.monotonic() - start)


def done(what: str, seconds: float) -> None:
    """A finished step and its wall time, on stderr."""
    from rich.text import Text

    err.print(Text.assemble(("✓ ", "green"), what, (f" {seconds:.1f} s", "dim")))


def print_error(message: str, fix: str) -> None:
    """What went wrong and what to do, on stderr; both may hold a user's own text."""
    from rich.text import Text

    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    if fix:
        err.print(Text.assemble(("fix: ", "bold"), fix), soft_wrap=True)
