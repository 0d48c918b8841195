"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
# `--why`: its earlier name, which scripts may still use.
Reason = Annotated[str, typer.Option("--reason", "--why", help="stored with the decision and in its history")]
