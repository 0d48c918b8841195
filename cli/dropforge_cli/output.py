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


err = cast("Console", _Lazy(stderr=True, highlight=False))
out = cast("Console", _Lazy(highlight=False, soft_wrap=True))


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

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(c) for c in row))
    out.print(table)


def emit_facts(facts: Mapping[str, Any]) -> None:
    """`name  value` lines on stdout."""
    width = max((len(k) for k in facts), default=0)
    for key, value in facts.items():
        sys.stdout.write(f"{key:<{width}}  {value}\n")


def say(message: str) -> None:
    """One line of progress on stderr."""
    err.print(message)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tell on stderr what is done and how long it took."""
    start = time.monotonic()
    err.print(f"[dim]…[/dim] {what}")
    yield
    err.print(f"[green]✓[/green] {what} [dim]{time.monotonic() - start:.1f} s[/dim]")
