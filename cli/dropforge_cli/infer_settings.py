"""What a table is that nobody has described: its form, the kind and the use of each column, the column to predict.

Every decision carries its reason, so that a person can check it. Nothing here is used when a file is uploaded: what was
guessed is written into settings.yaml, and read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from dropforge.config.settings import DataSettings
from dropforge.errors import InvalidRequest, RejectedUpload
from dropforge.ingest import cell_parsing, rejected_rows, text_table
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import connect
from dropforge.metrics import Task
from dropforge_cli import infer_columns, infer_leaks, infer_missing, infer_split, infer_target, propose_rules
from dropforge_cli.infer_columns import ColumnFacts, ColumnGuess
from dropforge_cli.infer_dialect import Form, find_form
from dropforge_cli.infer_split import SplitGuess
from dropforge_cli.infer_target import ClassCount
from dropforge_cli.open_table import MARKERS, OpenTable

_ORDER_ROWS = 100_000  # rows in which it is looked whether dates rise
_ORDERED_TOGETHER = 50  # columns of dates in one statement: planning takes the square of them


@dataclass(frozen=True, slots=True)
class Guess:
    """Everything decided about a file. `checks` are sentences about what only a person can know."""

    form: Form
    rows: int
    columns: tuple[ColumnGuess, ...]
    markers: tuple[str, ...]
    target: str
    target_reason: str
    other_targets: tuple[str, ...]
    classes: tuple[ClassCount, ...]
    positive: str
    positive_reason: str
    checks: tuple[str, ...]
    task: Task = "classification"
    split: SplitGuess = field(default_factory=SplitGuess)
    rules: tuple[propose_rules.Proposal, ...] = ()

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that models do not see."""
        return tuple(c.name for c in self.columns if c.use == "ignored")

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Columns whose values reports do not show."""
        return tuple(c.name for c in self.columns if c.sensitive and c.use != "target")


def guess(path: Path, workdir: Path, *, target: str = "", positive: str = "", task: str = "") -> Guess:
    """Look at every cell of a CSV or Parquet file. `target` and `positive` are taken as given where they are.

    Raises RejectedUpload when the file is no table, InvalidRequest when no column (or not the one named) can be the target.
    """
    with closing(connect(workdir)) as db, text_table.decoding() as reading:
        form = find_form(path, workdir, db)
        data = DataSettings(target=next(c for c in reversed(form.header) if c), csv=form.csv)
        source = reading.source = text_table.open_source(
            form.path, workdir, db, data, None, text_table.OpenOptions(keep_nested=True)
        )
        source.hold(workdir)
        return _Guessing(OpenTable(db, source), form).run(target, positive, task)


@dataclass(frozen=True, slots=True)
class _Described:
    """What is known of every column before a target is chosen."""

    rows: int
    scans: list[ColumnScan]
    facts: list[ColumnFacts]
    columns: list[ColumnGuess]
    markers: list[str]


class _Guessing:
    def __init__(self, table: OpenTable, form: Form) -> None:
        self.table = table
        self.form = form

    def run(self, target: str, positive: str, task: str) -> Guess:
        header = self.table.source.header
        if target and target not in header:
            raise InvalidRequest(*infer_target.unknown(target, header))
        described = self._describe()
        chosen = self._target(described, target, task)
        at = header.index(chosen.name)
        classes = self._checked_classes(described, at, chosen.task)
        positive, positive_reason = infer_target.positive(classes, positive)
        split = infer_split.choose(self._split_columns(described), described.rows, chosen.name)
        checks = [
            *self.form.checks,
            *chosen.checks,
            *split.checks,
            *self.table.checks,
            *infer_columns.words_for_values(described.columns, described.facts, chosen.name),
            *self._leaks(described, at, chosen.task),
            *infer_target.rare(classes),
            *infer_target.alike(classes),
        ]
        columns = _with_uses(described.columns, chosen, split)
        checks += [
            f"{c.name}: an identifier by its name, and a feature: add it to data.ignore if its numbers only tell rows apart"
            for c in columns
            if c.use == "feature" and c.kind == "integer" and infer_columns.is_identifier(c.name)
        ]
        _check_features(columns, checks)
        return Guess(
            form=self.form,
            rows=described.rows,
            columns=tuple(columns),
            markers=tuple(described.markers),
            target=chosen.name,
            target_reason=chosen.reason,
            other_targets=chosen.others,
            classes=classes,
            positive=positive,
            positive_reason=positive_reason,
            checks=tuple(checks),
            task=chosen.task,
            split=split,
            rules=self._proposals(described, columns),
        )

    def _describe(self) -> _Described:
        """Every usual marker is looked for everywhere at once; those that occur hold for the whole file."""
        table, places = self.table, range(len(self.table.source.header))
        scans = table.scan(places)
        markers = infer_missing.markers(table, scans)
        own = infer_missing.own_markers(table, scans)
        for i, again in zip(own, table.scan(list(own), own), strict=True):
            scans[i] = again
        rows = max((scan.cells for scan in scans), default=0)
        malformed = rejected_rows.count_of_form(table.source)
        text_table.check_complete(table.source, rows + malformed)
        if not rows + malformed:
            raise RejectedUpload("the file has a header line and no rows", code="no_rows", fix="give a file with rows")
        facts = infer_columns.facts_of(table, scans)
        columns = [infer_columns.guess_column(table, i, scans[i], facts[i], own.get(i, ()), rows) for i in places]
        infer_columns.check_formats(table, scans)
        return _Described(rows, scans, facts, columns, markers)

    def _target(self, described: _Described, target: str, task: str) -> infer_target.Choice:
        candidates = [
            infer_target.Candidate(c.name, c.kind, c.distinct, c.missing, identifier=c.use == "ignored" or c.free_text)
            for c in described.columns
        ]
        return infer_target.choose(candidates, described.rows, target, task)

    def _checked_classes(self, described: _Described, at: int, task: Task) -> tuple[ClassCount, ...]:
        """Of the target at this place; none of a regression. Raises InvalidRequest for one that cannot be learned."""
        column = described.columns[at]
        if task == "regression":
            infer_target.check_number(column.name, column.kind)
            return ()
        classes, facts = self._classes(described.scans[at]), described.facts[at]
        signed = facts.decorated > 0.9 * described.scans[at].probes["n"]
        infer_target.check_classes(column.name, classes, facts.example if signed else "")
        return classes

    def _proposals(self, described: _Described, columns: Sequence[ColumnGuess]) -> tuple[propose_rules.Proposal, ...]:
        """Rules that the values suggest, of the first columns."""
        places = list(range(min(len(columns), propose_rules.MOST)))
        shown = [
            propose_rules.Column(
                c.name,
                c.kind,
                c.use,
                c.distinct,
                c.missing,
                f.low,
                f.common,
                cell_parsing.parsed(k, c.kind, clean=described.scans[k].is_clean(c.kind)),
            )
            for k, (c, f) in enumerate(zip(columns[: len(places)], described.facts, strict=False))
        ]
        own = {i: columns[i].markers for i in places}
        rows = self.table.rows(places, described.scans, own)
        return propose_rules.propose(self.table.db, rows, shown, described.rows)

    def _leaks(self, described: _Described, target: int, task: Task) -> list[str]:
        """Columns that say what is to be predicted, of those that a model would get."""
        guesses = described.columns
        places = [i for i, c in enumerate(guesses) if c.use == "feature" and i != target]
        # A statement over thousands of columns takes longer to plan than to run; those with missing cells can leak in two ways.
        places.sort(key=lambda i: guesses[i].missing < infer_leaks.FEWEST)
        left_out, places = places[infer_leaks.MOST :], places[: infer_leaks.MOST]
        every = [target, *places]
        own = {i: guesses[i].markers for i in every}
        columns = [
            infer_leaks.Column(
                guesses[i].name,
                text_table.field_name(i),
                f"v{k}",
                f"d{k}" if guesses[i].kind in {"integer", "number"} else "",
                guesses[i].missing,
            )
            for k, i in enumerate(every)
        ]
        rows = self.table.rows(every, described.scans, own)
        cells = infer_leaks.Cells(self.table.db, self.table.source.relation, rows)
        listed = infer_leaks.checks(cells, columns[1:], columns[0], task, MARKERS)
        if left_out:
            listed.append(f"{len(left_out):,} columns were not tried for whether they give the target away")
        return listed

    def _split_columns(self, described: _Described) -> list[infer_split.Column]:
        """What infer_split needs to know of every column."""
        guesses = described.columns
        dates = [i for i, c in enumerate(guesses) if c.kind == "datetime" or infer_split.is_year(c.name, c.kind)]
        in_order = dict[int, float]()
        for start in range(0, len(dates), _ORDERED_TOGETHER):
            some = dates[start : start + _ORDERED_TOGETHER]
            in_order |= zip(some, self._in_order(described, some), strict=True)
        return [
            infer_split.Column(c.name, c.kind, c.distinct, c.missing, in_order.get(i, 0.0), f.low, f.high)
            for i, (c, f) in enumerate(zip(guesses, described.facts, strict=True))
        ]

    def _in_order(self, described: _Described, places: Sequence[int]) -> list[float]:
        """Of each column of dates or years, the fraction of the first rows' neighbours that rise, or fall, whichever is larger."""
        rows = self.table.rows(places, described.scans)
        kinds = [described.columns[i].kind for i in places]
        clean = [described.scans[i].is_clean(kind) for i, kind in zip(places, kinds, strict=True)]
        moments = ", ".join(
            f"{cell_parsing.parsed(k, kind, clean=is_clean)} AS m{k}"
            for k, (kind, is_clean) in enumerate(zip(kinds, clean, strict=True))
        )
        beside = ", ".join(f"m{k}, lag(m{k}) OVER (ORDER BY n) AS p{k}" for k in range(len(places)))
        counts = ", ".join(
            f"count(*) FILTER (m{k} >= p{k}), count(*) FILTER (m{k} <= p{k}), count(*) FILTER (m{k} IS NOT NULL AND p{k} IS NOT NULL)"
            for k in range(len(places))
        )
        numbered = f"SELECT *, row_number() OVER () AS n FROM {rows} LIMIT {_ORDER_ROWS}"
        result = self.table.all(f"SELECT {counts} FROM (SELECT {beside} FROM (SELECT {moments}, n FROM ({numbered})))")[
            0
        ]
        triples = zip(result[::3], result[1::3], result[2::3], strict=True)
        return [max(up, down) / both if both else 0.0 for up, down, both in triples]

    def _classes(self, scan: ColumnScan) -> tuple[ClassCount, ...]:
        if not scan.counts:
            return ()
        limit = infer_target.MOST_CLASSES + 1
        result = self.table.all(f"SELECT * FROM ({scan.counts}) AS l(a, n) ORDER BY n DESC, a LIMIT {limit}")
        return tuple(ClassCount(str(label), int(count)) for label, count in result)


def _with_uses(columns: Sequence[ColumnGuess], chosen: infer_target.Choice, split: SplitGuess) -> list[ColumnGuess]:
    """The columns with the use that the target and the split give them."""
    result = [_as_target(c, chosen.reason, chosen.task) if c.name == chosen.name else c for c in columns]
    if split.by == "group":
        together = "rows of one value are held out together: no feature"
        result = [replace(c, use="ignored", reason=together) if c.name == split.column else c for c in result]
    return result


def _as_target(c: ColumnGuess, reason: str, task: Task) -> ColumnGuess:
    if task == "regression":
        return replace(c, kind="number", use="target", reason=reason, sensitive=False)
    return ColumnGuess(c.name, "category", "target", reason, c.distinct, c.missing, c.markers)


def _check_features(columns: Sequence[ColumnGuess], checks: Sequence[str]) -> None:
    if any(c.use == "feature" for c in columns):
        return
    nothing = "no column is left to predict from: all look like identifiers or have one value only"
    raise InvalidRequest(
        "; ".join([nothing, *checks[:5]]),
        code="no_features",
        fix="write settings.yaml by hand; docs/how-to/own-data.md shows one",
    )
