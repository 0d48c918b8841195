"""Which texts mean missing in a table that nobody has described."""

from __future__ import annotations

from collections.abc import Sequence

from dropforge.ingest.column_scan import ColumnScan
from dropforge_cli.open_table import MARKERS, OpenTable, listed

_FEW_TEXTS = 3  # a column of numbers with so few different texts among them: the texts mean missing


def markers(table: OpenTable, scans: Sequence[ColumnScan]) -> list[str]:
    """Texts that mean missing everywhere."""
    everywhere = [m for m in MARKERS if any(m in scan.missing for scan in scans)]
    for marker in everywhere:
        if marker in {"NA", "na", "-", "."}:
            where = [c for c, scan in zip(table.source.header, scans, strict=True) if marker in scan.missing]
            table.checks.append(f"{marker!r} is read as missing (in {listed(where)}): is it a value there?")
    return everywhere


def own_markers(table: OpenTable, scans: Sequence[ColumnScan]) -> dict[int, tuple[str, ...]]:
    """The few texts of columns that are numbers otherwise: they mean missing there."""
    own: dict[int, tuple[str, ...]] = {}
    for i, scan in enumerate(scans):
        n, numbers = scan.probes["n"], scan.probes["numbers"]
        if not 0.5 * n <= numbers < n or scan.probes["distinct_values"] <= 20:
            continue
        rows = table.rows([i], scans)
        texts = table.all(f"SELECT DISTINCT v0 FROM {rows} WHERE v0 IS NOT NULL AND d0 IS NULL LIMIT {_FEW_TEXTS + 1}")
        if 0 < len(texts) <= _FEW_TEXTS and not any(any(d.isdigit() for d in str(t[0])) for t in texts):
            own[i] = tuple(sorted(str(t[0]) for t in texts))
            name = table.source.header[i]
            table.checks.append(f"{name}: numbers, but also {listed(own[i])}; read as missing in this column")
    return own
