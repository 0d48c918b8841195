"""One text, one value, whichever reader meets it."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge import keys, value_formats
from dropforge.batch import scoring_table
from dropforge.config import settings as settings_module
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.deployment.active_model import Active
from dropforge.errors import InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.inference.predictor import Prediction, Predictor
from dropforge.ingest import duckdb_connection
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit
from dropforge.monitoring import traffic_table
from dropforge.monitoring.capture import Capture
from dropforge.serving import request_formats
from dropforge.value_formats import COMMA, GROUPED, PLAIN
from dropforge_cli import settings_writer
from dropforge_cli.infer_settings import guess
from dropforge_local.memory import MemoryStore
from dropforge_training.data import training_table

from .test_value_formats import MOMENTS, NUMBERS

FAULT = "fault"  # the reader refuses the text; None: it is missing
_MARKERS = ("?", "n/a", "-999")
# An example takes half a second, and the smallest of a failure would take minutes.
_WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
_ROWS = 60  # that every reader takes, beside the texts
_TRUTHS = st.sampled_from(
    ["true", "FALSE", "t", "F", "yes", "No", "y", "n", "1", "0", "1.0", "on", "ja", " true ", "TRUE"]
)
_WORDS = st.one_of(
    st.sampled_from(
        [
            "true",
            "True",
            "7",
            "7.0",
            " 7",
            "1e3",
            "NaN",
            "None",
            "?",
            "n/a",
            "null",
            "é",
            "e\u0301",
            "a  b",
            "x,y",
            'q"q',
            "'",
            "007",
        ]
    ),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6),
)
_NEARLY_MISSING = st.sampled_from(
    ["", " ", "?", " n/a ", "N/A", "nan", "NaN ", "null", "-999", "-999.0 ", "-999.5", "999"]
)
COLUMNS = {
    "number": ("number", PLAIN, NUMBERS),
    "number, groups": ("number", GROUPED, NUMBERS),
    "number, decimal comma": ("number", COMMA, NUMBERS),
    "number, dollars": ("number", "$1,234.5", NUMBERS),
    "number, euros": ("number", "1.234,5 €", NUMBERS),
    "number, percent": ("number", "1234.5%", NUMBERS),
    "integer": ("integer", PLAIN, NUMBERS),
    "boolean": ("boolean", PLAIN, _TRUTHS),
    "datetime": ("datetime", PLAIN, MOMENTS),
    "category": ("category", PLAIN, _WORDS),
}
_USUAL = {"number": "7", "integer": "7", "boolean": "true", "datetime": "2024-03-01", "category": "word"}


def _table(texts: list[str], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["n", "v", "y"])
    writer.writerows([n, text, ("no", "yes")[n % 2]] for n, text in enumerate(texts))
    return out.getvalue().encode()


def _settings(kind: str, number_format: str) -> Settings:
    column = {"type": kind, **({"number_format": number_format} if kind in {"number", "integer"} else {})}
    data = {
        "target": "y",
        "missing_markers": list(_MARKERS),
        "columns": {"v": column, "n": {"type": "number"}},
        "limits": {"max_quarantined_share": 1},
    }
    models = [{"name": "m", "class": "a.b:C"}]
    return settings_module.load(json.dumps({"project": "demo", "data": data, "models": models}))


class _Readers:
    """Every reader of the system, for the column `v` of one file. Each gives a value for each line: None when missing, FAULT."""

    def __init__(self, texts: list[str], parsed: Settings, folder: Path) -> None:
        self.texts = texts
        self.settings = parsed
        self.folder = folder
        self.file = folder / "u.csv"
        self.file.write_bytes(_table(texts))
        (folder / "admitted").mkdir()
        self.admission: Admission = admit(self.file, data=parsed.data, reference=None, workdir=folder / "admitted")
        self.column: Column = self.admission.schema.column("v")
        numeric = self.column.kind in {"number", "integer", "boolean", "datetime"}
        markers = training_table.markers_of(parsed, "v")
        self.feature = Feature("v", self.column.kind, missing_markers=markers, number_format=self.column.number_format)
        self.manifest = BundleManifest(
            "demo", "m", "r", "d", "now", "y", (self.feature,),
            (GraphInput("t", "float32" if numeric else "string", ("v",)),), "p", ("no", "yes"), "yes", 0.5, "",
        )  # fmt: skip
        self.predictor = Predictor(self.manifest, None)

    def values(self, read: dict[int, Any]) -> list[Any]:
        return [self._plain(read[n]) if n in read else FAULT for n in range(len(self.texts))]

    def _plain(self, value: Any) -> Any:
        """As models get it: a double, a text, None."""
        if value is None or pd.isna(value):
            return None
        if self.column.kind == "datetime":
            return value if isinstance(value, float) else int(np.datetime64(value, "us").astype("int64")) / 1e6 / 86_400
        return str(value) if self.column.kind in {"category", "text"} else float(value)

    def upload(self) -> list[Any]:
        shown = "epoch_us(v) / 1e6 / 86400" if self.column.kind == "datetime" else "v"
        with closing(duckdb.connect()) as db:
            rows = db.execute(f"SELECT n, {shown} FROM read_parquet('{self.admission.snapshot}')").fetchall()
        return self.values({int(n): v for n, v in rows})

    def training(self) -> list[Any]:
        store = MemoryStore()
        manifest = DatasetStore(store, "b").save(self.admission, source="s3://b/incoming/u.csv", created_at="now")
        (self.folder / "training").mkdir()
        data = training_table.load(store, manifest, self.settings, self.folder / "training")
        x = pd.concat([data.train.x, data.heldout.x])
        return self.values({int(n): v for n, v in zip(x["n"], x["v"].astype(object), strict=True)})

    def batch(self) -> list[Any]:
        (self.folder / "batch").mkdir()
        features = (self.feature, Feature("n", "number"))
        with (
            closing(duckdb_connection.connect(self.folder / "batch")) as db,
            scoring_table.opened(
                self.file,
                workdir=self.folder / "batch",
                connection=db,
                data=self.settings.data,
                contract=scoring_table.ModelContract(features),
            ) as opened,
        ):
            opened.read()
            read: dict[int, Any] = {}
            for chunk in opened.chunks(1000):
                values = chunk["v"]
                if isinstance(values, tuple):
                    levels, codes = values
                    values = [levels[int(c)] for c in codes]
                read |= {int(n): v for n, v in zip(chunk["n"], values, strict=True)}
        return self.values(read)

    def request(self, sent: list[Any]) -> list[Any]:
        return [self._request(value) for value in sent]

    def _request(self, value: Any) -> Any:
        try:
            if self.column.kind in {"category", "text"}:
                warnings: list[dict[str, Any]] = []
                return self.predictor.given_text(self.feature, value, 0, warnings)
            return self._plain(self.predictor.number(self.feature, value, 0))
        except InvalidRequest:
            return FAULT

    def json_request(self) -> list[Any]:
        body = json.dumps({"records": [{"v": text} for text in self.texts]}).encode()
        return self.request([record["v"] for record in request_formats.parse(body, "application/json", 10_000)])

    def csv_request(self, delimiter: str = ",") -> list[Any]:
        records = request_formats.parse(_table(self.texts, delimiter), "text/csv", 10_000)
        return self.request([record["v"] for record in records])

    def monitoring(self, sent: list[Any]) -> list[Any]:
        """Of values that were answered; those refused never come so far."""
        answered = {n: v for n, v in enumerate(sent) if self._request(v) != FAULT}
        store = MemoryStore()
        capture = Capture(store, "b", logging.getLogger("test"), clock=lambda: 0.0)
        records = [{"v": v} for v in answered.values()]
        chances = np.full((len(records), 2), 0.5)
        result = Prediction(["no"] * len(records), chances, [], {})
        active = Active("m", "1", "", "r", "s3://b/x", "")
        capture.record("p", (active, self.predictor), records, result, share=1.0)
        capture.flush()
        lines, labels = self.folder / "lines.jsonl", self.folder / "labels.jsonl"
        (stored,) = store.list(keys.captured_folder("b", "1970-01-01"))
        captured = [json.loads(line) for line in store.get(stored.uri).body.splitlines()]
        lines.write_text("".join(json.dumps({**line, "source": "o"}) + "\n" for line in captured))
        labels.touch()
        schema = Schema(columns=(self.column, Column(name="y", kind="category")), target="y")
        shown = "epoch_us(v) / 1e6 / 86400" if self.column.kind == "datetime" else "v"
        with closing(duckdb_connection.connect(self.folder)) as db:
            traffic_table.read_ground_truth(db, labels)
            traffic_table.read(db, lines, None, self.manifest)
            table = traffic_table.typed(db, self.manifest, schema)
            same = f'{duckdb_connection.name(ROW_HASH)} = hash(prediction_id, "row")'
            rows = db.execute(f'SELECT "row", {shown} FROM {table} JOIN {traffic_table.ROWS} ON {same}').fetchall()
        numbers = list(answered)
        return self.values({numbers[int(row)]: v for row, v in rows})


def _grammar(column: Column, text: str, markers: tuple[str, ...]) -> Any:
    """What docs/reference/values.md says of a text."""
    text = text.strip(value_formats.BLANKS)
    if not text or text.lower() == "nan" or text in markers:
        return None
    if column.kind in {"category", "text"}:
        return text
    if column.kind == "boolean":
        truth = value_formats.boolean(text)
        return FAULT if truth is None else float(truth)
    if column.kind == "datetime":
        moment = value_formats.moment(text)
        return FAULT if moment is None else value_formats.days(moment)
    number = value_formats.number(text, column.number_format)
    if number is None or value_formats.is_beyond(number, text):
        return FAULT
    return None if math.isinf(number) else number


def _is_whole(value: float) -> bool:
    return value == int(value) and -(2**63) <= value < 2**63


@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
@hypothesis_settings(max_examples=2, deadline=None, phases=_WITHOUT_SHRINKING)
def test_a_text_is_one_value_to_every_reader(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Upload, training, batch, /predict by JSON and by CSV, and monitoring: the same value, missing, or refused in all."""
    kind, number_format, texts = COLUMNS[name]
    drawn = data.draw(st.lists(st.one_of(texts, _NEARLY_MISSING), min_size=20, max_size=60))
    if number_format == PLAIN and kind in {"number", "integer"}:
        # A comma where the column has none: files decide by the whole column, requests by the text (test_value_formats).
        drawn = [text.replace(",", "") for text in drawn]
    rows = [*drawn, *[_USUAL[kind]] * _ROWS]
    readers = _Readers(rows, _settings(kind, number_format), tmp_path_factory.mktemp("readers"))
    expected = [_grammar(readers.column, t, readers.feature.missing_markers) for t in rows]
    # A file of whole numbers refuses fractions; a request and a batch file are of the same column widened.
    whole = [FAULT if kind == "integer" and isinstance(v, float) and not _is_whole(v) else v for v in expected]
    assert readers.upload() == whole
    assert readers.training() == whole
    assert readers.batch() == expected
    assert readers.json_request() == expected
    assert readers.csv_request() == expected
    assert readers.monitoring(rows) == expected


@pytest.mark.parametrize(
    ("kind", "number_format", "spelled"),
    [
        ("number", PLAIN, ["-999", "-999.0", "-999.00", " -999 "]),
        ("number", COMMA, ["-999", "-999,0", "-999,00"]),
        ("integer", PLAIN, ["-999", "-999.0"]),
        ("category", PLAIN, ["-999", "-999.0"]),
    ],
)
def test_a_marker_that_is_a_number_is_missing_in_every_spelling(
    tmp_path: Path, kind: str, number_format: str, spelled: list[str]
) -> None:
    """A table of floats is written with -999.0 where one of integers has -999; requests send the number itself."""
    readers = _Readers([*spelled, *[_USUAL[kind]] * _ROWS], _settings(kind, number_format), tmp_path)
    missing = [None] * len(spelled)
    for read in (readers.upload(), readers.training(), readers.batch(), readers.json_request()):
        assert read[: len(spelled)] == missing
    if kind != "category":
        assert readers.request([-999, -999.0, -998.5]) == [None, None, -998.5]


def test_a_truth_is_no_number_that_means_missing(tmp_path: Path) -> None:
    """Python's True equals 1: a number column refuses it all the same."""
    readers = _Readers([_USUAL["number"]] * _ROWS, _settings("number", PLAIN), tmp_path)
    feature = Feature("v", "number", missing_markers=("1",))
    predictor = Predictor(replace(readers.manifest, features=(feature,)), None)
    assert math.isnan(predictor.number(feature, 1, 0))
    with pytest.raises(InvalidRequest):
        predictor.number(feature, True, 0)


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_marker_that_is_a_number_is_missing_in_parquet(tmp_path: Path, kind: str) -> None:
    """Its doubles are compared as numbers."""
    file = tmp_path / "u.parquet"
    values = [-999.0, *[float(n % 7) for n in range(_ROWS)]]
    pd.DataFrame(
        {"n": range(len(values)), "v": values, "y": [("no", "yes")[n % 2] for n in range(len(values))]}
    ).to_parquet(file)
    (tmp_path / "admitted").mkdir()
    admission = admit(file, data=_settings(kind, PLAIN).data, reference=None, workdir=tmp_path / "admitted")
    with closing(duckdb.connect()) as db:
        rows = db.execute(f"SELECT n FROM read_parquet('{admission.snapshot}') WHERE v IS NULL").fetchall()
    assert rows == [(0,)]


@given(data=st.data())
@hypothesis_settings(max_examples=3, deadline=None, phases=_WITHOUT_SHRINKING)
def test_init_reads_a_text_as_the_upload_by_its_settings_does(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """For any column the kind and the way of writing numbers that init says are those of the upload, whose values the grammar has."""
    folder = tmp_path_factory.mktemp("init")
    usual = data.draw(
        st.sampled_from([0, _ROWS, 1200])
    )  # texts that hide odd ones: none, some, so many that they are quarantined
    texts = {
        name: [*data.draw(st.lists(st.one_of(own, _NEARLY_MISSING), min_size=20, max_size=20)), *[_USUAL[kind]] * usual]
        for name, (kind, _, own) in COLUMNS.items()
    }
    file = folder / "u.csv"
    others = {"size": [str(n % 7) for n in range(20 + usual)], "y": [("no", "yes")[n % 2] for n in range(20 + usual)]}
    file.write_bytes(_columns({**texts, **others}))
    (folder / "guess").mkdir()
    guessed = guess(file, folder / "guess", target="y")
    parsed = settings_module.load(settings_writer.write(guessed, "demo", "u.csv"))
    limits = parsed.data.limits.model_copy(update={"max_quarantined_share": 1.0})
    (folder / "admitted").mkdir()
    admission = admit(
        file,
        data=parsed.data.model_copy(update={"limits": limits}),
        reference=None,
        workdir=folder / "admitted",
    )
    expected = {}
    for said in guessed.columns:
        column = admission.schema.column(said.name)
        if said.name in texts:
            assert said.kind == column.kind, said.name
            assert said.number_format == column.number_format or not column.numeric, said.name
            expected[said.name] = [
                _admitted_as(column, t, training_table.markers_of(parsed, said.name)) for t in texts[said.name]
            ]
    lines = [n for n in range(20 + usual) if not any(values[n] is FAULT for values in expected.values())]
    assert admission.rows_used == len(lines)
    assert _snapshot(admission, list(expected)) == {c: [values[n] for n in lines] for c, values in expected.items()}


def _columns(texts: dict[str, list[str]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(texts)
    writer.writerows(zip(*texts.values(), strict=True))
    return out.getvalue().encode()


def _admitted_as(column: Column, text: str, markers: tuple[str, ...]) -> Any:
    value = _grammar(column, text, markers)
    return FAULT if column.kind == "integer" and isinstance(value, float) and not _is_whole(value) else value


def _snapshot(admission: Admission, columns: list[str]) -> dict[str, list[Any]]:
    """By column its values in the order of the file, as _grammar has them."""
    shown = []
    for c in columns:
        quoted, kind = duckdb_connection.name(c), admission.schema.column(c).kind
        numeric = kind in {"integer", "number", "boolean"}
        shown.append(
            f"epoch_us({quoted}) / 1e6 / 86400"
            if kind == "datetime"
            else f"CAST({quoted} AS DOUBLE)"
            if numeric
            else quoted
        )
    with closing(duckdb.connect()) as db:
        rows = db.execute(f"SELECT {', '.join(shown)} FROM read_parquet('{admission.snapshot}')").fetchall()
    return dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)) if rows else {c: [] for c in columns}


@pytest.mark.parametrize(
    ("kind", "number_format", "sent"),
    [
        ("number", PLAIN, [1.5, 7, -0.0, 1e-7, 1e22, 123456789.125, None]),
        ("number", COMMA, [1.234, 1234.5, 1e-7, 7, -0.125, None]),
        ("number", GROUPED, [1.234, 1234567.5, 7, None]),
        ("number", "1.234,5 €", [1.234, 1234.5, "1.234,50 €", 7, None]),
        ("number", "$1,234.5", [1.234, "$1,234.50", "($5)", 7, None]),
        ("number", PLAIN, [value_formats.LocalText("1,234"), value_formats.LocalText("-0,5"), "1.234,5", "1,234.5"]),
        ("boolean", PLAIN, [True, False, 1, 0, 1.0, None]),
        ("category", PLAIN, [True, 7, 7.0, 7.5, 1e22, None, "x"]),
    ],
)
def test_monitoring_sees_the_value_that_the_model_was_given(
    tmp_path: Path, kind: str, number_format: str, sent: list[Any]
) -> None:
    """JSON writes numbers and truths in ways that files of this column do not; its texts may have a comma of their own."""
    readers = _Readers([_USUAL[kind]] * _ROWS, _settings(kind, number_format), tmp_path)
    readers.texts = [""] * len(sent)
    given_to_model = readers.request(sent)
    assert FAULT not in given_to_model
    assert readers.monitoring(sent) == given_to_model
