"""Pairs of columns: counts over coarse bins, how strongly two columns belong together, and whether that changed.

The bins come from the reference's profile, so pair counts of two parts of a table add up to those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from dropforge.analysis import two_sample_tests as st
from dropforge.datasets.table_schema import Schema
from dropforge.ingest.duckdb_connection import name, quote

BINS = 6  # of a number, besides missing
VALUES = 7  # of a category, besides the rest and missing
MAX_PAIRS = 300
_FEW_ROWS = 100_000
_BLOCK = 3  # axes; two blocks are grouped at once
_ITERATIONS = 25
_CLOSE = 0.05  # rows in a cell: the fit is good enough
_CELL = 5.0  # cells expecting fewer rows are pooled (Cochran)

Question = Callable[[Any], list[Any]]  # a statement asked of a connection: rows (pair, first code, second code, rows)


class Axis(BaseModel):
    """How one column is coded: 0 is missing; numbers by edges, categories by values, the rest last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of bins, the one of missing values included."""
        return 2 + (len(self.edges) or len(self.values))

    @property
    def is_presence(self) -> bool:
        """Only whether a value is there is coded: free text, a column of one value."""
        return not self.edges and not self.values

    def sql(self, *, datetime: bool, levels: Sequence[str] | None = None) -> str:
        """A small integer for every row. `levels`: of an enumeration, whose values are compared as numbers."""
        column = f"epoch({name(self.name)})" if datetime else name(self.name)
        if self.edges:
            steps = " ".join(f"WHEN {column} <= {_literal(e)} THEN {i}" for i, e in enumerate(self.edges, 1))
        elif levels is not None:
            known = set(levels)
            steps = " ".join(f"WHEN {column} = {quote(v)} THEN {i}" for i, v in enumerate(self.values, 1) if v in known)
        else:
            steps = " ".join(
                f"WHEN CAST({column} AS VARCHAR) = {quote(v)} THEN {i}" for i, v in enumerate(self.values, 1)
            )
        return f"CAST(CASE WHEN {name(self.name)} IS NULL THEN 0 {steps} ELSE {self.size - 1} END AS UTINYINT)"


def _literal(edge: float) -> str:
    """A whole edge as an integer: comparing integers is twice as quick as comparing them with a fraction."""
    return str(int(edge)) if edge.is_integer() and abs(edge) < 2**53 else repr(edge)


class Pair(BaseModel):
    """Counts of one pair, row by row of the first axis: shape [first.size, second.size]."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    first: str
    second: str
    counts: tuple[int, ...]


class Pairs(BaseModel):
    """`pairs` of a profile."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    axes: tuple[Axis, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def axis(self, wanted: str) -> Axis | None:
        """The axis of a column; None when it takes part in no pair."""
        return next((a for a in self.axes if a.name == wanted), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One pair compared: association before and after (Cramér's V), and the test that it is the same."""

    first: str
    second: str
    before: float
    after: float
    p_value: float
    effect: float  # share of rows in other cells than the reference's association predicts, beyond chance


def code(connection: Any, source: str, schema: Schema, axes: Sequence[Axis]) -> None:
    """Code every axis' column into a small table, which `questions` then group."""
    if len(axes) > 1:
        types = {r[0]: str(r[1]) for r in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        enums = [a.name for a in axes if types[a.name].startswith("ENUM(")]
        ranges = ", ".join(f"enum_range(first({name(c)}))" for c in enums)
        row = connection.execute(f"SELECT {ranges} FROM {source}").fetchall()[0] if enums else ()
        levels = dict(zip(enums, row, strict=True))
        coded = ", ".join(
            f"{a.sql(datetime=schema.column(a.name).kind == 'datetime', levels=levels.get(a.name))} AS c{i}"
            for i, a in enumerate(axes)
        )
        connection.execute(f"CREATE OR REPLACE TABLE coded AS SELECT {coded} FROM {source}")


def questions(axes: Sequence[Axis], target: str, rows: int) -> list[Question]:
    """Statements that count the pairs; they may run at the same time.

    Of many rows each groups by six columns at most, and counts up to fifteen pairs from those few groups. Few rows are
    grouped sooner than a statement is planned: one counts all pairs.
    """
    left = {pair: k for k, pair in enumerate(chosen(axes, target))} if len(axes) > 1 else {}
    if rows <= _FEW_ROWS:
        sql = " UNION ALL ".join(
            f"SELECT {k}, c{i}, c{j}, count(*) FROM coded GROUP BY ALL" for (i, j), k in left.items()
        )
        return [lambda db: list(db.execute(sql).fetchall())] if left else []
    blocks = [tuple(range(i, min(i + _BLOCK, len(axes)))) for i in range(0, len(axes), _BLOCK)]
    requests_seen: list[Question] = []
    for n, first in enumerate(blocks):
        for second in blocks[n + 1 :] or [()]:
            columns = [*first, *second]
            own = {p: left.pop(p) for p in list(left) if p[0] in columns and p[1] in columns}
            if not own:
                continue
            grouped = ", ".join(f"c{i}" for i in columns)
            parts = [f"SELECT {k}, c{i}, c{j}, sum(n) FROM g GROUP BY ALL" for (i, j), k in own.items()]
            sql = f"WITH g AS MATERIALIZED (SELECT {grouped}, count(*) AS n FROM coded GROUP BY ALL) {' UNION ALL '.join(parts)}"
            requests_seen.append(lambda db, sql=sql: db.execute(sql).fetchall())  # type: ignore[misc] # a bound default
    return requests_seen


def collect(axes: Sequence[Axis], target: str, answers: Sequence[list[Any]]) -> Pairs:
    """The answers of `questions` as tables of counts."""
    wanted = chosen(axes, target) if len(axes) > 1 else []
    counts = [[0] * (axes[i].size * axes[j].size) for i, j in wanted]
    for answer in answers:
        for k, a, b, n in answer:
            counts[k][int(a) * axes[wanted[k][1]].size + int(b)] = int(n)
    pairs = [
        Pair(first=axes[i].name, second=axes[j].name, counts=tuple(c)) for (i, j), c in zip(wanted, counts, strict=True)
    ]
    return Pairs(axes=tuple(axes), pairs=tuple(pairs))


def chosen(axes: Sequence[Axis], target: str) -> list[tuple[int, int]]:
    """Every pair, those with the target first; a wide table stops at MAX_PAIRS. Presence is paired with the target alone."""
    at = next((i for i, a in enumerate(axes) if a.name == target), -1)
    with_target = [(i, at) for i in range(len(axes)) if i != at and at >= 0]
    valued = [i for i, a in enumerate(axes) if not a.is_presence]
    others = [(i, j) for i in valued for j in valued if i < j and at not in {i, j}]
    return (with_target + others)[:MAX_PAIRS]


def cramers_v(counts: Sequence[int], width: int) -> float:
    """Cramér's V with Bergsma's bias correction (2013), 0 to 1, over the rows where neither value is missing."""
    rows = [list(counts[k : k + width])[1:] for k in range(width, len(counts), width)]
    phi2, k, m, n = _phi_squared(rows)
    if not phi2:
        return 0.0
    k_, m_ = k - (k - 1) ** 2 / (n - 1), m - (m - 1) ** 2 / (n - 1)
    return math.sqrt(phi2 / max(1e-12, min(k_ - 1, m_ - 1)))


def phi(counts: Sequence[int], width: int) -> float:
    """Root of the sum of all squared canonical correlations, missing a value like others: no correlation of two scores exceeds it.

    Bias-corrected as cramers_v.
    """
    return math.sqrt(_phi_squared([list(counts[k : k + width]) for k in range(0, len(counts), width)])[0])


def _phi_squared(rows: list[list[int]]) -> tuple[float, int, int, int]:
    """Mean square contingency less what independent columns have on average; rows and columns of the table in use; their count."""
    rows = [r for r in rows if sum(r)]
    columns = [c for c in zip(*rows, strict=True) if sum(c)] if rows else []
    if len(rows) < 2 or len(columns) < 2:
        return 0.0, 0, 0, 0
    table = [list(r) for r in zip(*columns, strict=True)]
    n = sum(map(sum, table))
    down, across = [sum(c) for c in columns], [sum(r) for r in table]
    chi2 = sum(
        (x - expected) ** 2 / expected
        for r, row in zip(across, table, strict=True)
        for c, x in zip(down, row, strict=True)
        for expected in (r * c / n,)
    )
    k, m = len(table), len(columns)
    return (max(0.0, chi2 / n - (k - 1) * (m - 1) / (n - 1)) if n > 1 else 0.0), k, m, n


def agreement(counts: Sequence[int], width: int) -> float:
    """Fraction of the rows whose class (column) is the most frequent one of their value (row); neither missing, 0 without rows."""
    rows = [counts[k + 1 : k + width] for k in range(width, len(counts), width)]
    total = sum(map(sum, rows))
    return sum(max(r, default=0) for r in rows) / total if total else 0.0


def spearman(counts: Sequence[int], width: int) -> float | None:
    """Rank correlation over coarse bins with mid-ranks, of two numbers, over the rows where both are there."""
    table = [list(counts[k : k + width])[1:] for k in range(width, len(counts), width)]
    across, down = [sum(r) for r in table], [sum(c) for c in zip(*table, strict=True)]
    n = sum(across)
    if n < 2:
        return None
    a, b = _mid_ranks(across), _mid_ranks(down)
    mean = (n + 1) / 2
    va = sum(c * (r - mean) ** 2 for c, r in zip(across, a, strict=True))
    vb = sum(c * (r - mean) ** 2 for c, r in zip(down, b, strict=True))
    if va <= 0 or vb <= 0:
        return None
    both = sum(
        c * (x - mean) * (y - mean) for row, x in zip(table, a, strict=True) for c, y in zip(row, b, strict=True)
    )
    return both / math.sqrt(va * vb)


def _mid_ranks(counts: Sequence[int]) -> list[float]:
    ranks, before = [], 0
    for c in counts:
        ranks.append(before + (c + 1) / 2)
        before += c
    return ranks


def compare(reference: Pairs, new: Pairs) -> list[Change]:
    """Every pair that both have: is the association the same, whatever became of the single columns?

    The test of no three-way interaction in the table (first × second × sample): fitted by iterative proportional
    fitting to all two-way margins (Bishop, Fienberg & Holland 1975, §3.5), Pearson's statistic over cells expecting at
    least five rows.
    """
    known = {(p.first, p.second): p for p in new.pairs}
    matches = []
    for before in reference.pairs:
        after, axis = known.get((before.first, before.second)), reference.axis(before.second)
        if after is None or axis is None or len(after.counts) != len(before.counts):
            continue
        if any(a is None or a.is_presence for a in (axis, reference.axis(before.first))):
            continue
        p, effect = interaction(before.counts, after.counts, axis.size)
        matches.append(
            Change(
                before.first,
                before.second,
                cramers_v(before.counts, axis.size),
                cramers_v(after.counts, axis.size),
                p,
                effect,
            )
        )
    return matches


def fit(a: Sequence[int], b: Sequence[int], width: int) -> tuple[list[float], list[float]]:
    """Two tables of counts, row by row with `width` columns, as no three-way interaction has them: all two-way margins are kept.

    Iterative proportional fitting; no rows in either table is no table to fit.
    """
    n, m = sum(a), sum(b)
    totals = [x + y for x, y in zip(a, b, strict=True)]
    one, other = [t * n / (n + m) for t in totals], [t * m / (n + m) for t in totals]
    margins_one, margins_other = _margins(a, width), _margins(b, width)
    for _ in range(_ITERATIONS):
        _scale(one, margins_one)
        _scale(other, margins_other)
        furthest = 0.0
        for cell, (total, x, y) in enumerate(zip(totals, one, other, strict=True)):
            now = x + y
            if now > 0:
                factor = total / now
                one[cell], other[cell] = x * factor, y * factor
                furthest = max(furthest, abs(now - total))
        if furthest < _CLOSE:
            break
    return one, other


def interaction(a: Sequence[int], b: Sequence[int], width: int) -> tuple[float, float]:
    """p-value and effect of Change for two tables of counts, row by row, with `width` columns."""
    n, m = sum(a), sum(b)
    if not n or not m:
        return 1.0, 0.0
    fitted = fit(a, b, width)
    statistic, used = 0.0, [cell for cell in range(len(a)) if min(fitted[0][cell], fitted[1][cell]) >= _CELL]
    for cell in used:
        for sample, table in ((0, a), (1, b)):
            statistic += (table[cell] - fitted[sample][cell]) ** 2 / fitted[sample][cell]
    df = (len({c // width for c in used}) - 1) * (len({c % width for c in used}) - 1)
    if df < 1:
        return 1.0, 0.0
    df = min(df, len(used) - 1)
    moved = sum(abs(b[c] - fitted[1][c]) for c in used) / m / 2
    spread = math.sqrt(1 / m + 1 / n)
    chance = sum(math.sqrt(2 / math.pi * max(0.0, q * (1 - q))) * spread for q in (fitted[1][c] / m for c in used)) / 2
    # Under no interaction the fit follows the new sample: what remains is n/(n+m) of it.
    return st.chi2_sf(statistic, df), max(0.0, moved * (n + m) / n - chance)


def _margins(table: Sequence[int], width: int) -> list[tuple[slice, int]]:
    """The places of each row, then of each column, and how many of the sample's rows stand there."""
    lines: list[slice] = [slice(r, r + width) for r in range(0, len(table), width)]
    lines += [slice(k, None, width) for k in range(width)]
    return [(line, sum(table[line])) for line in lines]


def _scale(fitted: list[float], margins: Sequence[tuple[slice, int]]) -> None:
    """Match the sample's own margins, rows then columns."""
    for line, total in margins:
        cells = fitted[line]
        now = sum(cells)
        if now > 0:
            factor = total / now
            fitted[line] = [x * factor for x in cells]
