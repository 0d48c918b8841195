"""One grammar of values, whichever way a value comes in."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge import value_formats
from dropforge.errors import InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest, Feature
from dropforge.inference.predictor import Predictor
from dropforge.ingest import cell_parsing, duckdb_connection
from dropforge.value_formats import COMMA, GROUPED, PLAIN, NumberFormat, days, moment, number

_MANY = st.integers(0, 99999).map(str)
_SIGNS = st.sampled_from(["", "+", "-", "--", "+-"])
_ODD = [
    "inf",
    "-Infinity",
    "+INF",
    "nan",
    "NaN",
    "-nan",
    "0x1F",
    "0b1",
    "1e400",
    "-1e400",
    "1e39",
    "-1e39",
    "3.4028234663852886e38",
    "1e-400",
    ".",
    "-",
    "+",
    "e5",
    ".5",
    "5.",
    "٣",
    "１",
    "1_000",
    "1,000",
    "1.000",
    "0,123",
    "1,5",
    "12,34,56",
    "1.234,5",
    "1,234.5",
    "1.234.567",
    "$5",
    "5%",
    "(5)",
    "−5",
    "007",
    "True",
    "1e5,5",
    ",5",
    "5,",
    "+-5",
    "1.234",
    "$1,234.50",
    "-$5",
    "$-5",
    "($5.25)",
    "$5$",
    "5 €",
    "5,25\u00a0€",
    "EUR 5",
    "5 kg",
    "12 %",
    "1 234,5",
    "1 234 567",
    "12 34",
    "1'234.50",
    "1\u202f234",
    "(1,234.5)",
    "(-5)",
    "((5))",
    "(5",
    "5-",
    "+5-",
    "–3.5",
    "$",
    "()",
    f"${'1' * 70}",
]
DECORATED = ("$1,234.5", "1.234,5 €", "1234.5%", "1234.5 kg", "(1,234.5)", "1 234,5")
NUMBERS = st.one_of(
    st.builds(lambda s, a, m, b: f"{s}{a}{m}{b}", _SIGNS, _MANY, st.sampled_from([*".,_ '", ""]), _MANY),
    st.builds(
        lambda a, b, c, m: f"{a}{m[0]}{b:03d}{m[1]}{c}",
        _MANY,
        st.integers(0, 999),
        _MANY,
        st.sampled_from([",.", ".,", ",,", ".."]),
    ),
    st.builds(
        lambda a, e, b: f"{a}{e}{b}", _MANY, st.sampled_from(["e", "E", "e+", "e-", "x", "d"]), st.integers(0, 400)
    ),
    st.floats(allow_nan=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(_ODD),
    st.builds(
        lambda a, u, b, n, c, v, d: f"{a}{u}{b}{n}{c}{v}{d}",
        st.sampled_from(["", "(", "-", "−"]),
        st.sampled_from(["", "$", "$ ", "EUR ", "%"]),
        st.sampled_from(["", "-", "+", " "]),
        st.sampled_from(["5", "1,234.5", "1.234,5", "1 234,5", "1'234", "0.125", "12 34", "1,5", "."]),
        st.sampled_from(["", " ", "\u00a0"]),
        st.sampled_from(["", "€", "%", "kg", "$"]),
        st.sampled_from(["", ")", "-"]),
    ),
    st.text(alphabet="0123456789.,eE+-_ \tinfaxINF", max_size=9),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A locked DuckDB."""
    with closing(duckdb_connection.connect(tmp_path_factory.mktemp("values"))) as connection:
        yield connection


def _in_file(db: Any, texts: list[str], kind: Any, number_format: NumberFormat) -> list[Any]:
    """What uploads, batch files, training and monitoring make of cells: the value, None when missing, "fault" when refused."""
    listed = ", ".join(f"({n}, {duckdb_connection.quote(t)})" for n, t in enumerate(texts))
    one = cell_parsing.Cells("f0", number_format=number_format)
    rows = cell_parsing.layered(f"(VALUES {listed}) AS t(n, f0)", [one], keep=("n",))
    faults = " OR ".join(f"({f})" for f in cell_parsing.faults(0, kind).values()) or "false"
    value = cell_parsing.parsed(0, kind)
    # as numbers: a moment's datetime would end at the year 9999
    shown = f"epoch_us({value})" if kind == "datetime" else value
    table = db.execute(f"SELECT {faults}, {shown} FROM {rows} ORDER BY n").fetchall()
    return ["fault" if bad else read for bad, read in table]


def _in_request(text: str, kind: str, number_format: str) -> Any:
    feature = Feature("x", kind, number_format=number_format)
    predictor = Predictor(_manifest(feature), None)
    try:
        read = predictor.number(feature, text, 0)
    except InvalidRequest:
        return "fault"
    return None if math.isnan(read) else read


def _manifest(*features: Feature) -> BundleManifest:
    return BundleManifest(
        "demo", "m", "r", "d", "now", "y", features, (), "p", ("a", "b"), "b", 0.5, ""
    )  # fmt: skip


@pytest.mark.parametrize("number_format", [PLAIN, GROUPED, COMMA, *DECORATED])
@given(texts=st.lists(NUMBERS, min_size=1, max_size=60))
@example(texts=_ODD)
@hypothesis_settings(max_examples=25, deadline=None)
def test_a_number_is_one_value_in_files_and_requests(
    database: Any, number_format: NumberFormat, texts: list[str]
) -> None:
    """To the last bit; what is no number in one is none in the other; infinities are missing in both."""
    for text, filed in zip(texts, _in_file(database, texts, "number", number_format), strict=True):
        if number_format == PLAIN and "," in text:
            continue  # a file decides by all cells of the column what a comma is; see the next test
        sent = _in_request(text, "number", number_format)
        assert filed == sent, text
        if isinstance(filed, float):
            assert math.copysign(1, filed) == math.copysign(1, sent), text


@given(text=NUMBERS.filter(lambda t: "," in t))
@hypothesis_settings(max_examples=15, deadline=None)
def test_a_comma_of_a_request_is_read_as_a_file_of_this_cell_alone_reads_it(database: Any, text: str) -> None:
    """Where it can be one thing only; a thousand or a fraction is a guess, which a request does not make."""
    counts = dict.fromkeys(("comma", "groups", "either_comma", "either_point", "points"), 0)
    tests = {**cell_parsing.format_probes("v0"), **cell_parsing.point_probes("v0")}
    rows = cell_parsing.layered(f"(VALUES ({duckdb_connection.quote(text)})) AS t(f0)", [cell_parsing.Cells("f0")])
    row = database.execute(f"SELECT {', '.join(f'CAST({tests[k]} AS INTEGER)' for k in counts)} FROM {rows}").fetchone()
    decided = value_formats.choose_format(dict(zip(counts, row, strict=True)), PLAIN, separated_by_comma=True)
    filed = _in_file(database, [text], "number", decided)[0]
    ambiguous = bool(row[2]) and not row[0] and not row[1]
    assert _in_request(text, "number", PLAIN) == ("fault" if ambiguous else filed)


_TWO = st.integers(0, 61).map(lambda n: f"{n:02d}")
_SECONDS = st.one_of(
    st.just(""),
    _TWO.map(lambda s: f":{s}"),
    st.builds(lambda s, f: f":{s}.{f}", _TWO, st.text("0123456789", max_size=10)),
)
_CLOCKS = st.one_of(
    st.just(""),
    st.builds(
        lambda sep, h, m, s, half, zone: f"{sep}{h}:{m}{s}{half}{zone}",
        st.sampled_from(["T", " ", "t", "  "]),
        st.one_of(st.integers(0, 25).map(str), st.integers(0, 25).map(lambda n: f"{n:02d}")),
        _TWO,
        _SECONDS,
        st.sampled_from(["", "", "", " PM", "am", " Pm", "PM "]),
        st.sampled_from(
            [
                "",
                "",
                "",
                *["Z", " UTC", "+02:00", "-0530", "+02", " +14:00", " late", "+25:00", " Europe/Berlin", "-00:61"],
            ]
        ),
    ),
)
_DAY = (st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32))
MOMENTS = st.one_of(
    st.builds(lambda y, m, d, sep, c: f"{y:04d}{sep}{m:02d}{sep}{d:02d}{c}", *_DAY, st.sampled_from("-/"), _CLOCKS),
    st.builds(lambda y, m, d, c: f"{d:02d}.{m:02d}.{y:04d}{c}", *_DAY, _CLOCKS),
    st.builds(
        lambda form, y, m, d, c: form.format(y=f"{y:04d}", m=m, d=d) + c,
        st.sampled_from(["{d}-{m}-{y}", "{d} {m} {y}", "{m} {d}, {y}", "{m} {y}", "{m}-{y}", "{y} {m}", "{y}-{m}-{d}"]),
        st.integers(0, 9999),
        st.sampled_from(
            ["Jan", "FEB", "march", "Apr.", "May", "June", "jul", "August", "Sept", "Sep", "Octo", "Dez", "dec"]
        ),
        st.integers(0, 32),
        _CLOCKS,
    ),
    st.text(alphabet="0123456789-/:.TZ +PMamJuly,", max_size=22),
)
_ODD_MOMENTS = [
    "2024-03-01 24:00:00",
    "2024-03-01 24:00:00.5",
    "2024-03-01T10:00:00+02:00",
    "2024-03-01 10:00 PM",
    "2024-03-01 12:00 AM",
    "2024-03-01 9:05:00",
    "2024-03-01 10:00:00 late",
    "0000-01-01",
    "9999-12-31T23:00:00-05:00",
    "0001-01-01T00:00:00+05:00",
    "2024-03-01 10:00:00.123456789",
]


@given(texts=st.lists(MOMENTS, min_size=1, max_size=60))
@example(texts=_ODD_MOMENTS)
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_moment_is_one_instant_in_files_and_requests(database: Any, texts: list[str]) -> None:
    """Zones and halves of the day are applied in both, or the text is no moment in both."""
    for text, filed in zip(texts, _in_file(database, texts, "datetime", PLAIN), strict=True):
        sent = _in_request(text, "datetime", PLAIN)
        assert sent == (filed if filed in {"fault", None} else days(filed)), text


@given(
    texts=st.lists(
        st.one_of(
            st.sampled_from(["true", "FALSE", "t", "F", "yes", "No", "y", "n", "1", "0", "1.0", "on", "ja"]),
            st.text(max_size=5),
        )
    )
)
@hypothesis_settings(max_examples=20, deadline=None)
def test_a_boolean_is_one_value_in_files_and_requests(database: Any, texts: list[str]) -> None:
    """The same words are true and false."""
    texts = [t for t in texts if "\0" not in t] or ["T"]  # a file with NUL is refused as a whole
    for text, filed in zip(texts, _in_file(database, texts, "boolean", PLAIN), strict=True):
        assert _in_request(text, "boolean", PLAIN) == (float(filed) if isinstance(filed, bool) else filed), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T10:00:00+02:00", "2024-03-01T08:00"),
        ("2024-03-01 10:00 PM", "2024-03-01T22:00"),
        ("2024-03-01 12:30 am", "2024-03-01T00:30"),
        ("2024-03-01 10:00:00 UTC", "2024-03-01T10:00"),
        ("01.03.2024 9:05", "2024-03-01T09:05"),
        ("2024/03/01 24:00:00", "2024-03-02T00:00"),
        ("1-Mar-2024", "2024-03-01"),
        ("01 march 2024 9:05", "2024-03-01T09:05"),
        ("March 1, 2024 10:00 PM", "2024-03-01T22:00"),
        ("Mar-2024", "2024-03-01"),
        ("2024 Sept", "2024-09-01"),
        ("2024-Dec-31", "2024-12-31"),
        ("Marc 2024", None),
        ("31-Feb-2024", None),
        ("1-Mar-24", None),
        ("2024-03-01 10:00:00 late", None),
        ("2024-03-01 13:00 PM", None),
        ("2024-02-30", None),
    ],
)
def test_moments_mean_what_they_say(text: str, expected: str | None) -> None:
    """An offset is applied, PM is the second half of the day, 24:00 is the next midnight."""
    assert moment(text) == (None if expected is None else moment(expected))
    assert expected is None or moment(expected) is not None


@pytest.mark.parametrize(
    ("text", "number_format", "expected"),
    [
        ("1.234,5", COMMA, 1234.5),
        ("2.941,00", COMMA, 2941.0),
        ("1.234", COMMA, 1234.0),
        ("0.123", COMMA, 0.123),
        ("3.11", COMMA, 3.11),
        ("1,5", COMMA, 1.5),
        ("1,234.5", GROUPED, 1234.5),
        ("1,5", GROUPED, None),
        ("1,5", PLAIN, None),
        ("1_000", PLAIN, None),
        ("0x1F", PLAIN, None),
        ("٣", PLAIN, None),
        ("+5", PLAIN, 5.0),
        ("1e5", PLAIN, 1e5),
        ("$1,234.50", "$1,234.5", 1234.5),
        ("1,234.50", "$1,234.5", 1234.5),
        ("-$5", "$1,234.5", -5.0),
        ("$-5", "$1,234.5", -5.0),
        ("($5.25)", "$1,234.5", -5.25),
        ("€5", "$1,234.5", None),
        ("$5$", "$1,234.5", None),
        ("(-$5)", "$1,234.5", None),
        ("$5", PLAIN, None),
        ("1.234,50 €", "1.234,5 €", 1234.5),
        ("1\u00a0234,50\u00a0€", "1.234,5 €", 1234.5),
        ("12 %", "1234.5%", 12.0),
        ("1e1", "1234.5%", 10.0),
        ("5 kg", "1234.5 kg", 5.0),
        ("5kg", "1234.5 kg", 5.0),
        ("5 g", "1234.5 kg", None),
        ("12 34", "1 234.5", None),
        ("1'234.5", "1 234.5", 1234.5),
        ("5-", "(1234.5)", -5.0),
        ("−5", "(1234.5)", -5.0),
    ],
)
def test_numbers_mean_what_their_format_says(text: str, number_format: NumberFormat, expected: float | None) -> None:
    """A text that a format does not have is no number, never half a one."""
    assert number(text, number_format) == expected


@pytest.mark.parametrize(
    ("sent", "known", "read"),
    [
        (True, ("true", "false", "unknown"), "true"),
        (False, ("True", "False"), "False"),
        (1.0, ("1", "2"), "1"),
        (7, ("7.0",), "7.0"),
        (7, ("7",), "7"),
        ("true", ("true",), "true"),
        (" 1.0 ", ("1", "1.0"), "1.0"),
    ],
)
def test_a_json_value_is_the_category_its_text_names(sent: Any, known: tuple[str, ...], read: str) -> None:
    """JSON has no way to write True or 1.0 as a file did: of the ways there are, the one that training saw is taken."""
    feature = Feature("x", "category", known)
    warnings: list[dict[str, Any]] = []
    assert Predictor(_manifest(feature), None).text(feature, sent, 0, warnings) == read
    assert warnings == []


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("boolean", 0.5), ("boolean", 2), ("datetime", 1709251200000), ("number", 1e39), ("number", True)],
)
def test_a_json_value_of_no_meaning_is_refused(kind: str, sent: Any) -> None:
    """Half a truth, milliseconds since some day, and what float32 has no room for: an upload refuses them too."""
    feature = Feature("x", kind)
    with pytest.raises(InvalidRequest) as caught:
        Predictor(_manifest(feature), None).number(feature, sent, 0)
    assert caught.value.fix


def test_fresh_values_at_the_exact_extremes_do_not_warn() -> None:
    """Limits that an older bundle rounded to float32 are compared with what is rounded to them."""
    feature = Feature("x", "number", minimum=64.37000274658203, maximum=5254.07)
    predictor = Predictor(_manifest(feature), None)
    warnings: list[dict[str, Any]] = []
    for value in (64.37, 5254.07, 70):
        predictor._number(feature, value, 0, warnings)
    assert warnings == []
    predictor._number(feature, 64.3, 0, warnings)
    predictor._number(feature, 5254.2, 0, warnings)
    assert [w["code"] for w in warnings] == ["out_of_range"] * 2


@given(
    rows=st.lists(
        st.lists(
            st.builds(
                lambda before, quoted, body, after: f'{before}"{body}"{after}' if quoted else body.replace('"', ""),
                st.sampled_from(["", " "]),
                st.booleans(),
                st.text(alphabet="ab, ", max_size=5),
                st.sampled_from(["", " "]),
            ),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=5,
    )
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_csv_has_one_grammar_in_files_and_requests(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """Spaces around quotes, delimiters inside them: the same cells."""
    from dropforge.config.settings import DataSettings
    from dropforge.ingest import csv_text, text_table

    plain = [[c if '"' in c else c.replace(",", "") for c in row] for row in rows]
    text = "h,i\n" + "".join(f"{a},{b}\n" for a, b in plain)
    folder = tmp_path_factory.mktemp("csv")
    file = Path(folder) / "u.csv"
    file.write_text(text)
    with closing(duckdb_connection.connect(folder)) as db:
        source = text_table.open_source(file, folder, db, DataSettings(target="h"), None)
        filed = db.execute(f"SELECT * FROM {source.relation}").fetchall()
    assert [[(c or "").strip() for c in row] for row in filed] == [
        [c.strip() for c in row] for row in csv_text.rows(text, ",")[1:]
    ]


@pytest.mark.parametrize("wrong", ["", "$", "1234,5", "$1234.5$", "(1234.5", "5 kg", "1234.5 kg/m 2", "12,34.5"])
def test_a_format_that_shows_no_way_to_write_a_number_is_refused(wrong: str) -> None:
    """The message shows forms that are taken."""
    with pytest.raises(ValueError, match=r"write 1234\.5 as the column would") as refused:
        value_formats.written(wrong)
    shown = str(refused.value).rsplit(": ", 1)[1].split(", ")
    assert [value_formats.number("1234.5", form) for form in shown] == [1234.5] * len(shown)
