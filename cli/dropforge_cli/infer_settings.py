"""What a table is that nobody has described: its form, the kind and the use of each column, the column to predict.

Every decision carries its reason, so that a person can check it. Nothing here is used when a file is uploaded: what was
guessed is written into settings.yaml, and read from there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropforge import value_formats
from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Kind
from dropforge.errors import InvalidRequest, RejectedUpload
from dropforge.ingest import cell_parsing, column_scan, rejected_rows, text_table
from dropforge.ingest import personal_data as personal
from dropforge.ingest.duckdb_connection import connect, quote
from dropforge.metrics import Task
from dropforge.value_formats import COMMA, DECORATED, GROUPED, PLAIN, NumberFormat
from dropforge_cli import infer_leaks, infer_split, infer_target, odd_looks, propose_rules
from dropforge_cli.infer_dialect import Form, find_form
from dropforge_cli.infer_split import SplitGuess
from dropforge_cli.infer_target import ClassCount, shortened

_MARKERS = ("?", "NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NULL", "null", "-", "--", ".")
_FEW_TEXTS = 3  # a column of numbers with so few different texts among them: the texts mean missing
_SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0, 999999.0)
_MONTH_FIRST = r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}.*"
_SENSITIVE = ("sex", "gender", "race", "ethnic", "religion", "nationality", "disab")
_ORDER_ROWS = 100_000  # rows in which it is looked whether dates rise
_WORD = re.compile(r"\b[^\W\d_]\w+\b")
_FEWEST_WORDS = 4.0  # different ones in the mean of a free text: a name or an address has fewer
_FEWEST_TEXTS = 100  # different ones: with fewer each is a category
_SHARED_WORD = 0.05  # of the texts have the most frequent word, at least
_IDENTIFIER_NAMES = ("id", "uuid", "guid", "key", "index", "rownum", "row", "number", "no", "nr", text_table.UNNAMED)


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
    number_format: NumberFormat = PLAIN
    free_text: bool = False  # sentences, of which a model gets words (training.phrases)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of one column: see _Guessing._facts. `rest_low` and `rest_high` leave the sentinels out."""

    distinct: int
    low: float | None
    high: float | None
    rest_low: float | None
    rest_high: float | None
    month_first: int
    decorated: int
    example: str  # a text with digits that is no number
    sentinels: dict[float, int]
    common: tuple[str, ...]  # the most frequent texts


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
        source = reading.source = text_table.open_source(form.path, workdir, db, data, None, keep_nested=True)
        source.hold(workdir)
        return _Guessing(db, source, form).run(target, positive, task)


@dataclass(slots=True)
class _Guessing:
    db: Any
    source: text_table.Source
    form: Form
    checks: list[str] = field(default_factory=list)

    def run(self, target: str, positive: str, task: str) -> Guess:
        columns = self.source.header
        if target and target not in columns:
            raise InvalidRequest(*infer_target.unknown(target, columns))
        # Every usual marker is looked for everywhere at once; those that occur hold for the whole file.
        looks = self._look(range(len(columns)), {})
        markers = self._markers(looks)
        own = self._odd_texts(looks)
        for i, again in zip(own, self._look(list(own), own), strict=True):
            looks[i] = again
        rows = max((look.cells for look in looks), default=0)
        malformed = rejected_rows.count_of_form(self.source)
        text_table.check_complete(self.source, rows + malformed)
        if not rows + malformed:
            raise RejectedUpload("the file has a header line and no rows", code="no_rows", fix="give a file with rows")
        facts = self._facts(looks)
        guesses = [self._column(i, looks[i], facts[i], own.get(i, ()), rows) for i in range(len(columns))]
        self._say_formats(looks)
        chosen = infer_target.choose(
            [
                infer_target.Candidate(
                    c.name, c.kind, c.distinct, c.missing, identifier=c.use == "ignored" or c.free_text
                )
                for c in guesses
            ],
            rows,
            target,
            task,
        )
        regression = chosen.task == "regression"
        at = columns.index(chosen.name)
        classes = () if regression else self._classes(looks[at])
        if regression:
            infer_target.check_number(guesses[at].name, guesses[at].kind)
        else:
            signed = facts[at].decorated > 0.9 * looks[at].probes["n"]
            infer_target.check_classes(chosen.name, classes, facts[at].example if signed else "")
        positive, positive_why = infer_target.positive(classes, positive)
        split = infer_split.choose(self._split_columns(guesses, facts), rows, chosen.name)
        self.checks = [
            *self.form.checks,
            *chosen.checks,
            *split.checks,
            *self.checks,
            *self._leaks(looks, guesses, at, chosen.task),
            *infer_target.rare(classes),
            *infer_target.alike(classes),
        ]
        final = [self._as_target(c, chosen.why, chosen.task) if c.name == chosen.name else c for c in guesses]
        if split.by == "group":
            together = "rows of one value are held out together: no feature"
            final = [replace(c, use="ignored", why=together) if c.name == split.column else c for c in final]
        if not any(c.use == "feature" for c in final):
            raise InvalidRequest(
                "; ".join(
                    [
                        "no column is left to predict from: all look like identifiers or have one value only",
                        *self.checks[:5],
                    ]
                ),
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
            task=chosen.task,
            split=split,
            rules=self._proposals(looks, facts, final, rows),
        )

    def _proposals(
        self,
        looks: Sequence[column_scan.ColumnScan],
        facts: Sequence[_Facts],
        columns: Sequence[ColumnGuess],
        count: int,
    ) -> tuple[propose_rules.Proposal, ...]:
        """Rules that the values suggest, of the first columns."""
        places = list(range(min(len(columns), propose_rules.MOST)))
        described = [
            propose_rules.Column(
                c.name,
                c.kind,
                c.use,
                c.distinct,
                c.missing,
                f.low,
                f.common,
                cell_parsing.parsed(k, c.kind),
            )
            for k, (c, f) in enumerate(zip(columns[: len(places)], facts, strict=False))
        ]
        own = {i: columns[i].markers for i in places}
        return propose_rules.propose(self.db, self._rows(places, looks, own), described, count)

    def _leaks(
        self, looks: Sequence[column_scan.ColumnScan], guesses: Sequence[ColumnGuess], target: int, task: Task
    ) -> list[str]:
        """Columns that say what is to be predicted, of those that a model would get."""
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
            )
            for k, i in enumerate(every)
        ]
        rows = self._rows(every, looks, own)
        listed = infer_leaks.checks(self.db, self.source.relation, rows, columns[1:], columns[0], task, _MARKERS)
        if left_out:
            listed.append(f"{len(left_out):,} columns were not tried for whether they give the target away")
        return listed

    def _split_columns(self, guesses: Sequence[ColumnGuess], facts: Sequence[_Facts]) -> list[infer_split.Column]:
        """What guess_split needs to know of every column."""
        dates = [i for i, c in enumerate(guesses) if c.kind == "datetime" or infer_split.is_year(c.name, c.kind)]
        in_order = dict(zip(dates, self._in_order(dates, [guesses[i].kind for i in dates]), strict=True))
        return [
            infer_split.Column(c.name, c.kind, c.distinct, c.missing, in_order.get(i, 0.0), f.low, f.high)
            for i, (c, f) in enumerate(zip(guesses, facts, strict=True))
        ]

    def _in_order(self, places: Sequence[int], kinds: Sequence[Kind]) -> list[float]:
        """Of each column of dates or years, the fraction of the first rows' neighbours that rise, or fall, whichever is larger."""
        if not places:
            return []
        rows = cell_parsing.layered(
            self.source.relation, [cell_parsing.Cells(text_table.field_name(i), _MARKERS) for i in places]
        )
        moments = ", ".join(f"{cell_parsing.parsed(k, kind)} AS m{k}" for k, kind in enumerate(kinds))
        beside = ", ".join(f"m{k}, lag(m{k}) OVER (ORDER BY n) AS p{k}" for k in range(len(places)))
        counts = ", ".join(
            f"count(*) FILTER (m{k} >= p{k}), count(*) FILTER (m{k} <= p{k}), count(*) FILTER (m{k} IS NOT NULL AND p{k} IS NOT NULL)"
            for k in range(len(places))
        )
        numbered = f"SELECT *, row_number() OVER () AS n FROM {rows} LIMIT {_ORDER_ROWS}"
        result = self._all(f"SELECT {counts} FROM (SELECT {beside} FROM (SELECT {moments}, n FROM ({numbered})))")[0]
        triples = zip(result[::3], result[1::3], result[2::3], strict=True)
        return [max(up, down) / both if both else 0.0 for up, down, both in triples]

    def _as_target(self, c: ColumnGuess, why: str, task: Task) -> ColumnGuess:
        if task == "regression":
            return replace(c, kind="number", use="target", why=why, sensitive=False)
        return ColumnGuess(c.name, "category", "target", why, c.distinct, c.missing, c.markers)

    def _look(self, places: Sequence[int], own: Mapping[int, tuple[str, ...]]) -> list[column_scan.ColumnScan]:
        table = column_scan.Table(
            self.source.relation,
            self.source.sample or self.source.relation,
            [text_table.field_name(i) for i in places],
            self.source.columnar,
            separated_by_comma=self.source.delimiter in {"", ","},
        )
        native = {k: PLAIN for k, i in enumerate(places) if i in self.source.native}
        markers = [(*_MARKERS, *own.get(i, ())) for i in places]
        return column_scan.scan(
            self.db, table, markers, native, fixed=frozenset(native), label="own" if own else "counted"
        )

    # --- missing markers ------------------------------------------------------------------------------------------------
    def _markers(self, looks: Sequence[column_scan.ColumnScan]) -> list[str]:
        """Texts that mean missing everywhere."""
        everywhere = [m for m in _MARKERS if any(m in seen.missing for seen in looks)]
        for marker in everywhere:
            if marker in {"NA", "na", "-", "."}:
                where = [c for c, seen in zip(self.source.header, looks, strict=True) if marker in seen.missing]
                self.checks.append(f"{marker!r} is read as missing (in {_some(where)}): is it a value there?")
        return everywhere

    def _odd_texts(self, looks: Sequence[column_scan.ColumnScan]) -> dict[int, tuple[str, ...]]:
        """The few texts of columns that are numbers otherwise: they mean missing there."""
        own: dict[int, tuple[str, ...]] = {}
        for i, seen in enumerate(looks):
            n, numbers = seen.probes["n"], seen.probes["numbers"]
            if not 0.5 * n <= numbers < n or seen.probes["distinct_values"] <= 20:
                continue
            rows = self._rows([i], looks)
            texts = self._all(
                f"SELECT DISTINCT v0 FROM {rows} WHERE v0 IS NOT NULL AND d0 IS NULL LIMIT {_FEW_TEXTS + 1}"
            )
            if 0 < len(texts) <= _FEW_TEXTS and not any(any(d.isdigit() for d in str(t[0])) for t in texts):
                own[i] = tuple(sorted(str(t[0]) for t in texts))
                name = self.source.header[i]
                self.checks.append(f"{name}: numbers, but also {_some(own[i])}; read as missing in this column")
        return own

    # --- columns -----------------------------------------------------------------------------------------------------------
    def _rows(
        self,
        places: Sequence[int],
        looks: Sequence[column_scan.ColumnScan],
        own: Mapping[int, tuple[str, ...]] | None = None,
    ) -> str:
        columns = [
            cell_parsing.Cells(
                text_table.field_name(i), (*_MARKERS, *(own or {}).get(i, ())), number_format=looks[i].number_format
            )
            for i in places
        ]
        return cell_parsing.layered(self.source.relation, columns)

    def _facts(self, looks: Sequence[column_scan.ColumnScan]) -> list[_Facts]:
        """Distinct values, range, sentinels and odd dates of every column: those that were judged together in one statement."""
        listed = ", ".join(f"{s!r}::DOUBLE" for s in _SENTINELS)
        rest = f"d0 NOT IN ({listed})"
        select = [
            "count(DISTINCT v0)",
            "min(d0)",
            "max(d0)",
            f"min(d0) FILTER ({rest})",
            f"max(d0) FILTER ({rest})",
            f"sum(c) FILTER (regexp_full_match(v0, {quote(_MONTH_FIRST)}))",
            f"sum(c) FILTER (d0 IS NULL AND regexp_full_match(v0, {quote(DECORATED)}))",
            "min(v0) FILTER (d0 IS NULL AND regexp_matches(v0, '[0-9]'))",
            *(f"sum(c) FILTER (d0 = {s!r}::DOUBLE)" for s in _SENTINELS),
        ]
        ranked = (
            "SELECT g, list(v0 ORDER BY r) FROM (SELECT g, v0, row_number() OVER (PARTITION BY g ORDER BY sum(c) DESC, v0) AS r "
            "FROM {rows} WHERE v0 IS NOT NULL GROUP BY g, v0) WHERE r <= {most} GROUP BY g"
        )
        of_group: dict[tuple[str, int], _Facts] = {}
        for rows in sorted({look.rows for look in looks if look.rows}):
            common = dict(self._all(ranked.format(rows=rows, most=personal.SAMPLE)))
            for g, distinct, low, high, rest_low, rest_high, month, decorated, example, *often in self._all(
                f"SELECT g, {', '.join(select)} FROM {rows} GROUP BY g"
            ):
                sentinels = {s: int(n) for s, n in zip(_SENTINELS, often, strict=True) if n}
                of_group[rows, int(g)] = _Facts(
                    int(distinct),
                    low,
                    high,
                    rest_low,
                    rest_high,
                    int(month or 0),
                    int(decorated or 0),
                    example or "",
                    sentinels,
                    tuple(str(v) for v in common.get(g, ())),
                )
        nothing = _Facts(0, None, None, None, None, 0, 0, "", {}, ())
        return [of_group.get((look.rows, look.group), nothing) for look in looks]

    def _column(
        self, i: int, look: column_scan.ColumnScan, facts: _Facts, own: tuple[str, ...], rows: int
    ) -> ColumnGuess:
        column, kind, n = self.source.header[i], cell_parsing.infer(look.probes), look.probes["n"]
        numeric = kind in {"integer", "number"}
        nested = self.source.nested.get(column, "")
        reason = (
            f"cells of several values ({nested})"
            if nested
            else _ignore_reason(column, kind, n, facts.distinct, (facts.low, facts.high) if numeric else None)
        )
        looks_like = self._personal(column, kind, facts, ignored=bool(reason))
        free_text = (
            bool(reason) and not nested and not looks_like and kind in {"category", "text"} and _is_free_text(facts)
        )
        if free_text:
            reason = ""
        if numeric and look.fails["number"]:
            self.checks.append(
                f"{column}: {look.fails['number']} values are no numbers; their rows will be quarantined"
            )
        if numeric and not reason:
            self._sentinel(column, facts, n)
        if numeric and (looks := odd_looks.of_numbers(kind, facts.low, facts.high, facts.common)):
            self.checks.append(f"{column}: {looks}")
        if kind in {"category", "text"} and n and not nested:
            self._say_text(column, look, facts, reason)
        sensitive = (
            kind in {"category", "boolean"} and any(s in column.lower() for s in _SENSITIVE) and facts.distinct <= 20
        )
        why = "free text: models get its words" if free_text else reason or _kind_reason(kind, look, facts.distinct)
        return ColumnGuess(
            column,
            kind,
            "ignored" if reason else "feature",
            why,
            facts.distinct,
            rows - n,
            own,
            sensitive,
            looks_like,
            look.number_format if numeric else PLAIN,
            free_text,
        )

    def _personal(self, column: str, kind: Kind, facts: _Facts, *, ignored: bool) -> str:
        """As the report has it (data.personal); a person decides what becomes of the column."""
        detected = personal.detect(column, facts.common, kind=kind)
        if detected:
            advice = "leave it out of the file or replace it by a pseudonym"
            also = "" if ignored else ", or add it to data.ignore"
            self.checks.append(f"{column} looks like personal data ({detected}): {advice}{also}")
        return detected

    def _sentinel(self, column: str, facts: _Facts, n: int) -> None:
        """-999 and its kin, far from all other values, and often."""
        low, high = facts.rest_low, facts.rest_high
        if n < 20 or low is None or high is None:
            return
        for value, count in facts.sentinels.items():
            far = value < low - (high - low) or value > high + (high - low)
            if count > 1 and far:
                self.checks.append(
                    f"{column}: {value:g} occurs {count:,} times, all others lie in {low:g} … {high:g}: "
                    f"does it mean unknown? Then: columns: {{{column}: {{missing_markers: ['{value:g}']}}}}"
                )

    def _say_text(self, column: str, look: column_scan.ColumnScan, facts: _Facts, reason: str) -> None:
        """What looks like something better than text, and cannot be read as it without guessing."""
        n, probes = look.probes["n"], look.probes
        if looks := odd_looks.of_texts(facts.common):
            self.checks.append(f"{column}: {looks}")
        elif facts.month_first > 0.9 * n:
            self.checks.append(
                f"{column}: dates with the year last and slashes are read as text (which number is the month?); "
                "write them as 2024-12-31"
            )
        elif probes["dates"] + facts.month_first > 0.2 * n:
            self.checks.append(
                f"{column}: dates in several forms, or days that are none, are read as text; write 2024-12-31"
            )
        elif (
            probes["numbers"] + facts.decorated > 0.9 * n and facts.decorated and not odd_looks.are_dotted(facts.common)
        ):
            use = "is left out" if reason else "is read as text"
            self.checks.append(
                f"{column}: numbers with a sign, a unit or spaces, such as {shortened(facts.example)!r}: the column {use}; "
                "write plain numbers (1234.5)"
            )
        elif probes["comma"] and probes["groups"]:
            self.checks.append(f"{column}: numbers written both 1.234,5 and 1,234.5 are read as text; write one form")
        elif probes["overflows"]:
            self.checks.append(f"{column}: integers beyond 64 bits are read as text, as identifiers are")
        elif probes["beyond"]:
            self.checks.append(
                f"{column}: {probes['beyond']:,} of {n:,} numbers are beyond ±3.4e38, the range that models compute with; "
                "the column is read as text: correct them"
            )
        elif probes["numbers"] > 0.5 * n and not probes["codes"]:
            example = facts.example or next((t for t in facts.common if value_formats.number(t) is None), "")
            self.checks.append(
                f"{column}: {probes['numbers']:,} of {n:,} values are numbers, the others are not "
                f"({shortened(example)!r}): read as text"
            )

    def _say_formats(self, looks: Sequence[column_scan.ColumnScan]) -> None:
        """Which columns have decimal commas or groups of digits, and which of their texts could be read in two ways."""
        for number_format, words in ((COMMA, "a decimal comma"), (GROUPED, "commas between thousands")):
            names = [
                c
                for c, seen in zip(self.source.header, looks, strict=True)
                if seen.number_format == number_format and cell_parsing.infer(seen.probes) in {"integer", "number"}
            ]
            if names:
                self.checks.append(f"numbers with {words} ({number_format}): {_some(names)}")
        unsure = [
            c
            for i, (c, seen) in enumerate(zip(self.source.header, looks, strict=True))
            if seen.number_format == PLAIN and i not in self.source.native and self._may_be_thousands(i, looks)
        ]
        if unsure:
            self.checks.append(
                f"{_some(unsure)}: every value has three digits behind its point (1.234): read as fractions; if they are "
                "thousands, declare number_format: '1.234,5'"
            )

    def _may_be_thousands(self, i: int, looks: Sequence[column_scan.ColumnScan]) -> bool:
        probes = looks[i].probes
        if (
            self.source.delimiter in {"", ","}
            or probes["numbers"] < max(1, 0.9 * probes["n"])
            or probes["integers"] == probes["n"]
        ):
            return False
        tests = cell_parsing.point_probes(0)
        either, points = self._all(
            f"SELECT count(*) FILTER ({tests['either_point']}), count(*) FILTER ({tests['points']}) FROM {self._rows([i], looks)}"
        )[0]
        return bool(either and not points)

    def _classes(self, look: column_scan.ColumnScan) -> tuple[ClassCount, ...]:
        if not look.counts:
            return ()
        limit = infer_target.MOST_CLASSES + 1
        result = self._all(f"SELECT * FROM ({look.counts}) AS l(a, n) ORDER BY n DESC, a LIMIT {limit}")
        return tuple(ClassCount(str(label), int(count)) for label, count in result)

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.db.execute(sql).fetchall()
        return rows


def _ignore_reason(
    column: str, kind: Kind, n: int, distinct: int, span: tuple[float | None, float | None] | None
) -> str:
    """Why a column is of no use to a model; empty when it may be."""
    if distinct < 2:
        return "one value only" if distinct else "no value at all"
    words = column.lower().replace("-", "_").replace(" ", "_").split("_")
    called = column.lower() == text_table.UNNAMED or words[-1] in _IDENTIFIER_NAMES or column.endswith(("Id", "ID"))
    low, high = span or (None, None)
    counts = low is not None and high is not None and high - low == n - 1
    if kind == "integer" and distinct == n and n >= 20 and (called or counts):
        return "another value in every row: an identifier"
    unique, own = distinct >= 0.99 * n and n >= 20, distinct > 0.5 * n and n >= 50
    if kind in {"category", "text"} and (unique or own or (called and distinct > 0.2 * n)):
        return f"{distinct:,} values in {n:,} rows: an identifier or free text"
    return ""


def _is_free_text(facts: _Facts) -> bool:
    """Whether the texts are sentences that share words: those that training makes columns of (training.phrases)."""
    words = [set(_WORD.findall(t.lower())) for t in facts.common]
    if facts.distinct <= _FEWEST_TEXTS or sum(len(w) for w in words) < _FEWEST_WORDS * len(words):
        return False
    counted = Counter(word for w in words for word in w)
    return bool(counted) and max(counted.values()) >= max(5, _SHARED_WORD * len(words))


def _kind_reason(kind: Kind, look: column_scan.ColumnScan, distinct: int) -> str:
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
