"""What a table is that nobody has described: its form, the kind and the use of each column, the column to predict.

Every decision carries its reason, so that a person can check it. Nothing here is used when a file is uploaded: what was
guessed is written into settings.yaml, and read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge.data import cells, guess_target, personal, sources, survey
from dropforge.data.engine import connect, name, quote
from dropforge.data.guess_form import Form, find_form
from dropforge.data.guess_target import ClassCount
from dropforge.data.schema import Kind
from dropforge.errors import InvalidRequest
from dropforge.settings import DataSettings

_MARKERS = ("?", "NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NULL", "null", "-", "--", ".")
_FEW_TEXTS = 3  # a column of numbers with so few different texts among them: the texts mean missing
_SENTINELS = {-1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0, 999999.0}
_SENSITIVE = ("sex", "gender", "race", "ethnic", "religion", "nationality", "disab")
_IDENTIFIER_NAMES = ("id", "uuid", "guid", "key", "index", "rownum", "row", "number", "no", "nr", sources.UNNAMED)


@dataclass(frozen=True, slots=True)
class ColumnGuess:
    """One column. `use` is target, feature or ignored; `why` gives the reason for what was decided."""

    name: str
    kind: Kind
    use: str
    why: str
    distinct: int
    missing: int
    markers: tuple[str, ...] = ()  # texts that mean missing in this column only
    sensitive: bool = False
    personal: str = ""  # the kind of personal data that the values look like


@dataclass(frozen=True, slots=True)
class Guess:
    """Everything decided about a file. `checks` are sentences about what only a person can know."""

    form: Form
    rows: int
    columns: tuple[ColumnGuess, ...]
    markers: tuple[str, ...]
    target: str
    target_why: str
    other_targets: tuple[str, ...]
    classes: tuple[ClassCount, ...]
    positive: str
    positive_why: str
    checks: tuple[str, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.use == "ignored")

    @property
    def sensitive(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.sensitive and c.use != "target")


def guess(path: Path, workdir: Path, *, target: str = "", positive: str = "") -> Guess:
    """Look at every cell of a CSV or Parquet file. `target` and `positive` are taken as given where they are.

    Raises RejectedUpload when the file is no table, InvalidRequest when no column (or not the one named) can be the target.
    """
    with closing(connect(workdir)) as db:
        form = find_form(path, workdir, db)
        data = DataSettings(target=form.header[-1], csv=form.csv)
        source = sources.open_source(form.path, workdir, db, data, None)
        source.hold(workdir)
        return _Guessing(db, source, form).run(target, positive)


@dataclass(slots=True)
class _Guessing:
    db: Any
    source: sources.Source
    form: Form
    checks: list[str] = field(default_factory=list)

    def run(self, target: str, positive: str) -> Guess:
        columns = self.source.header
        if target and target not in columns:
            raise InvalidRequest(*guess_target.unknown(target, columns))
        markers, own = self._markers()
        looks = survey.look(
            self.db,
            self.source.relation,
            self.source.sample or self.source.relation,
            columns,
            lambda c: (*markers, *own.get(c, ())),
            decimal_comma=self.source.decimal_comma,
            columnar=self.source.columnar,
        )
        rows = max((look.cells for look in looks.values()), default=0)
        seen = [self._column(c, looks[c], own.get(c, ()), (*markers, *own.get(c, ())), rows) for c in columns]
        chosen = guess_target.choose(
            [
                guess_target.Candidate(c.name, c.kind, c.distinct, c.missing, identifier=c.use == "ignored")
                for c in seen
            ],
            rows,
            target,
        )
        classes = self._classes(chosen.name, (*markers, *own.get(chosen.name, ())))
        guess_target.check_classes(chosen.name, classes)
        positive, positive_why = guess_target.positive(classes, positive)
        self.checks = [*self.form.checks, *chosen.checks, *self.checks, *guess_target.rare(classes)]
        final = [self._as_target(c, chosen.why) if c.name == chosen.name else c for c in seen]
        if not any(c.use == "feature" for c in final):
            raise InvalidRequest(
                "no column is left to predict from: all look like identifiers or have one value only",
                code="no_features",
                fix="write settings.yaml by hand; docs/how-to/own-data.md shows one",
            )
        return Guess(
            form=self.form,
            rows=rows,
            columns=tuple(final),
            markers=tuple(markers),
            target=chosen.name,
            target_why=chosen.why,
            other_targets=chosen.others,
            classes=classes,
            positive=positive,
            positive_why=positive_why,
            checks=tuple(self.checks),
        )

    def _as_target(self, c: ColumnGuess, why: str) -> ColumnGuess:
        return ColumnGuess(c.name, "category", "target", why, c.distinct, c.missing, c.markers)

    # --- missing markers ------------------------------------------------------------------------------------------------
    def _markers(self) -> tuple[list[str], dict[str, tuple[str, ...]]]:
        """Texts that mean missing: everywhere, and in single columns of numbers."""
        found: dict[str, list[str]] = {}
        for c in self.source.header:
            listed = ", ".join(quote(m) for m in _MARKERS)
            text = f"trim({name(c)}, ' \t')"
            for (marker,) in self._all(
                f"SELECT DISTINCT {text} FROM {self.source.relation} WHERE {text} IN ({listed})"
            ):
                found.setdefault(str(marker), []).append(c)
        everywhere = [m for m in _MARKERS if m in found]
        for marker in everywhere:
            if marker in {"NA", "na", "-", "."}:
                self.checks.append(f"{marker!r} is read as missing (in {_some(found[marker])}): is it a value there?")
        own: dict[str, tuple[str, ...]] = {}
        for c in self.source.header:
            texts = self._odd_texts(c, everywhere)
            if texts:
                own[c] = texts
                self.checks.append(f"{c}: numbers, but also {_some(texts)}; read as missing in this column")
        return everywhere, own

    def _odd_texts(self, column: str, markers: Sequence[str]) -> tuple[str, ...]:
        """The few texts of a column that is numbers otherwise; empty when there are none or too many."""
        rows = cells.layered(
            self.source.relation,
            [column],
            {column: markers},
            {column: True},
            decimal_comma=self.source.decimal_comma,
        )
        numbers, different, n = self._all(f"SELECT count(d0), count(DISTINCT d0), count(v0) FROM {rows}")[0]
        if not 0.5 * n <= numbers < n or different <= 20:
            return ()
        texts = self._all(f"SELECT DISTINCT v0 FROM {rows} WHERE v0 IS NOT NULL AND d0 IS NULL LIMIT {_FEW_TEXTS + 1}")
        return tuple(sorted(str(t[0]) for t in texts)) if len(texts) <= _FEW_TEXTS else ()

    # --- columns -----------------------------------------------------------------------------------------------------------
    def _column(
        self, column: str, look: survey.Look, own: tuple[str, ...], markers: tuple[str, ...], rows: int
    ) -> ColumnGuess:
        kind = cells.infer(look.probes)
        n = look.probes["n"]
        values = cells.layered(
            self.source.relation,
            [column],
            {column: markers},
            {column: True},
            decimal_comma=self.source.decimal_comma,
        )
        distinct, low, high = self._all(f"SELECT count(DISTINCT v0), min(d0), max(d0) FROM {values}")[0]
        numeric = kind in {"integer", "number"}
        reason = _ignore_reason(column, kind, n, int(distinct), (low, high) if numeric else None)
        if kind == "number" and look.fails["number"]:
            self.checks.append(f"{column}: {look.fails['number']} values are no numbers; their rows will be set aside")
        if numeric and not reason:
            self._sentinel(column, values, n)
        if kind in {"category", "text"}:
            self._month_first(column, values)
        sensitive = kind in {"category", "boolean"} and any(s in column.lower() for s in _SENSITIVE) and distinct <= 20
        why = reason or _kind_reason(kind, look, int(distinct))
        use = "ignored" if reason else "feature"
        looks_like = self._personal(column, kind, values, use)
        return ColumnGuess(column, kind, use, why, int(distinct), rows - n, own, sensitive, looks_like)

    def _personal(self, column: str, kind: Kind, values: str, use: str) -> str:
        """As the report has it (data.personal); a person decides what becomes of the column."""
        sql = f"SELECT v0 FROM {values} WHERE v0 IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, v0 LIMIT {personal.SAMPLE}"
        found = personal.detect(column, [str(v) for (v,) in self._all(sql)], kind=kind)
        if found:
            advice = "leave it out of the file or replace it by a pseudonym"
            also = "" if use == "ignored" else ", or add it to data.ignore"
            self.checks.append(f"{column} looks like personal data ({found}): {advice}{also}")
        return found

    def _sentinel(self, column: str, values: str, n: int) -> None:
        """-999 and its kin, far from all other values, and often."""
        if n < 20:
            return
        listed = ", ".join(str(s) for s in _SENTINELS)
        for value, count, low, high, spread in self._all(
            f"SELECT s.d0, s.c, r.low, r.high, r.high - r.low FROM (SELECT d0, count(*) AS c FROM {values} "
            f"WHERE d0 IN ({listed}) GROUP BY 1) s, (SELECT min(d0) AS low, max(d0) AS high FROM {values} "
            f"WHERE d0 NOT IN ({listed})) r"
        ):
            far = low is not None and (value < low - spread or value > high + spread)
            if count > 1 and far:
                self.checks.append(
                    f"{column}: {value:g} occurs {count:,} times, all others lie in {low:g} … {high:g}: "
                    f"does it mean unknown? Then: columns: {{{column}: {{missing_markers: ['{value:g}']}}}}"
                )

    def _month_first(self, column: str, values: str) -> None:
        """Dates that cannot be read without guessing."""
        n, alike = self._all(
            f"SELECT count(v0), count(*) FILTER (v0 SIMILAR TO '\\d{{1,2}}/\\d{{1,2}}/\\d{{2,4}}.*') FROM {values}"
        )[0]
        if n and alike > 0.9 * n:
            self.checks.append(
                f"{column}: dates with the year last and slashes are read as text (which number is the month?); "
                "write them as 2024-12-31"
            )

    def _classes(self, column: str, markers: tuple[str, ...]) -> tuple[ClassCount, ...]:
        values = cells.layered(self.source.relation, [column], {column: markers}, {column: False}, decimal_comma=False)
        limit = guess_target.MOST_CLASSES + 1
        found = self._all(
            f"SELECT v0, count(*) FROM {values} WHERE v0 IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {limit}"
        )
        return tuple(ClassCount(str(label), int(count)) for label, count in found)

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.db.execute(sql).fetchall()
        return rows


def _ignore_reason(column: str, kind: Kind, n: int, distinct: int, span: tuple[float, float] | None) -> str:
    """Why a column is of no use to a model; empty when it may be."""
    if distinct < 2:
        return "one value only" if distinct else "no value at all"
    words = column.lower().replace("-", "_").replace(" ", "_").split("_")
    called = column.lower() == sources.UNNAMED or words[-1] in _IDENTIFIER_NAMES or column.endswith(("Id", "ID"))
    if kind == "integer" and distinct == n and n >= 20 and span and (called or span[1] - span[0] == n - 1):
        return "another value in every row: an identifier"
    unique, own = distinct >= 0.99 * n and n >= 20, distinct > 0.5 * n and n >= 50
    if kind in {"category", "text"} and (unique or own or (called and distinct > 0.2 * n)):
        return f"{distinct:,} values in {n:,} rows: an identifier or free text"
    return ""


def _kind_reason(kind: Kind, look: survey.Look, distinct: int) -> str:
    if look.probes["codes"]:
        return "codes with leading zeros"
    match kind:
        case "integer" | "number":
            return f"{distinct:,} different numbers"
        case "boolean":
            return "true and false only"
        case "datetime":
            return "dates"
        case _:
            return f"{distinct:,} different texts"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
