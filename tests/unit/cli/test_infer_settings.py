"""What is decided about a table nobody described, on tables as they are found."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dropforge import value_formats
from dropforge.config.settings import load
from dropforge.errors import InvalidRequest, RejectedUpload
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge_cli import infer_columns, settings_writer
from dropforge_cli.infer_columns import ColumnFacts, ColumnGuess
from dropforge_cli.infer_settings import Guess, guess

Guessed = Callable[..., Guess]


def _rows(count: int = 300) -> list[dict[str, str]]:
    rng = random.Random(7)
    return [
        {
            "customer_id": f"C{i:05d}",
            "row": str(i + 1),
            "age": "" if i % 40 == 3 else str(rng.randint(18, 80)),
            "salary": "unknown" if i % 50 == 4 else f"{rng.uniform(900, 9000):.2f}",
            "joined": f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
            "left": f"{rng.randint(1, 28):02d}.{rng.randint(1, 12):02d}.2024",
            "seen": f"{rng.randint(1, 12)}/{rng.randint(13, 18)}/2024",
            "member": rng.choice(["true", "false"]),
            "gender": rng.choice(["f", "m", "?"]),
            "branch": "7",
            "zip": rng.choice(["01067", "10115", "80331"]),
            "points": "-999" if i % 30 == 1 else str(rng.randint(0, 50)),
            "churn": "yes" if rng.random() < 0.3 else "no",
        }
        for i in range(count)
    ]


def _table(delimiter: str = ",", *, header: bool = True) -> bytes:
    rows = _rows()
    lines = [delimiter.join(rows[0])] if header else []
    return ("\n".join([*lines, *(delimiter.join(r.values()) for r in rows)]) + "\n").encode()


@pytest.fixture
def guessed(tmp_path: Path) -> Guessed:
    """Guess about bytes."""

    def run(body: bytes, **given: str) -> Guess:
        (tmp_path / "work").mkdir()
        file = tmp_path / "my.csv"
        file.write_bytes(body)
        return guess(file, tmp_path / "work", **given)

    return run


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Guess:
    """What is guessed about the table of _rows."""
    folder = tmp_path_factory.mktemp("usual")
    (folder / "work").mkdir()
    (folder / "my.csv").write_bytes(_table())
    return guess(folder / "my.csv", folder / "work")


def test_every_kind_of_column_is_told(usual: Guess) -> None:
    """Numbers, dates with the year first or with dots, booleans, codes, texts: each read as what it is."""
    matches = {c.name: c.kind for c in usual.columns}
    assert matches == {
        "customer_id": "category",
        "row": "integer",
        "age": "integer",
        "salary": "number",
        "joined": "datetime",
        "left": "datetime",
        "seen": "category",
        "member": "boolean",
        "gender": "category",
        "branch": "integer",
        "zip": "category",
        "points": "integer",
        "churn": "category",
    }


def test_identifiers_and_constants_are_left_out_with_a_reason(usual: Guess) -> None:
    """A column that tells rows apart, counts them, or never changes is no feature."""
    assert usual.ignored == ("customer_id", "row", "branch")
    reasons = {c.name: c.reason for c in usual.columns}
    assert "identifier" in reasons["customer_id"]
    assert "identifier" in reasons["row"]
    assert reasons["branch"] == "one value only"


def test_missing_markers_are_found(usual: Guess) -> None:
    """Those every table uses hold everywhere; a text among numbers holds in its column; empty cells are counted."""
    by = {c.name: c for c in usual.columns}
    assert usual.markers == ("?",)
    assert by["salary"].markers == ("unknown",)
    assert (by["salary"].missing, by["age"].missing) == (6, 8)


def test_what_only_a_person_can_know_is_said(usual: Guess) -> None:
    """A number that may mean unknown, and dates whose month is a guess."""
    checks = usual.checks
    assert any("points: -999" in c for c in checks)
    assert any(c.startswith("seen: dates") for c in checks)


def test_target_and_positive_class(usual: Guess) -> None:
    """By name and place, the class that says yes; sensitive columns are marked."""
    assert (usual.target, usual.positive) == ("churn", "yes")
    assert usual.sensitive == ("gender",)


def test_a_target_named_is_taken(guessed: Guessed) -> None:
    """Whatever would have been guessed; of 1 and 2 the rarer class is the positive one."""
    result = guessed(b"kind,x\n" + b"".join(b"%d,%d\n" % (1 + (i % 4 == 0), i % 9) for i in range(80)), target="kind")
    assert (result.target, result.target_reason, result.positive) == ("kind", "named by you", "2")


@pytest.mark.parametrize(("classes", "metric"), [("ab", "roc_auc"), ("abc", "log_loss")])
def test_several_classes_are_tuned_and_ranked_by_log_loss(guessed: Guessed, classes: str, metric: str) -> None:
    """Two classes by the area under the curve; of more its mean would say nothing of how likely each class is."""
    rows = "".join(f"{i % 9},{classes[i * i % 7 % len(classes)]}\n" for i in range(90))
    written = load(settings_writer.write(guessed(f"x,kind\n{rows}".encode(), target="kind"), "demo", "my.csv"))
    assert (written.training.metric, written.promotion.metric) == (metric, metric)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(guessed: Guessed, delimiter: str) -> None:
    """Told by the rows: the same table whatever separates its cells."""
    assert guessed(_table(delimiter)).rows == 300


def test_decimal_commas(guessed: Guessed) -> None:
    """Semicolons and decimal commas are numbers."""
    result = guessed(b"x;y\n" + b"".join(b"%d,5;%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(60)))
    assert result.columns[0].kind == "number"


def test_a_file_without_header(guessed: Guessed) -> None:
    """Its first row is data: columns get names, and the settings say so."""
    result = guessed(_table(header=False))
    assert (result.rows, result.form.named, result.target) == (300, False, "column_13")
    assert result.form.csv.columns == tuple(f"column_{i}" for i in range(1, 14))


@pytest.mark.parametrize("name", ["my.parquet", "my.csv.gz"])
def test_other_formats(tmp_path: Path, name: str) -> None:
    """Parquet and gzipped CSV are looked at as CSV is."""
    import pandas as pd

    (tmp_path / "work").mkdir()
    table = pd.DataFrame(_rows())
    if name.endswith("parquet"):
        table["joined"] = pd.to_datetime(table["joined"])
        table.to_parquet(tmp_path / name)
    else:
        table.to_csv(tmp_path / name, index=False)
    result = guess(tmp_path / name, tmp_path / "work")
    kinds = {c.name: c.kind for c in result.columns}
    assert (result.rows, result.target, result.markers) == (300, "churn", ("?",))
    assert (kinds["joined"], kinds["member"], kinds["age"]) == ("datetime", "boolean", "integer")


def test_lists_and_objects_of_json_lines_are_left_out(tmp_path: Path) -> None:
    """With a reason; the settings that are written admit the file."""
    lines = [json.dumps({"tags": ["a", "b"][: i % 3], "at": {"x": i % 7}, "n": i % 9, "y": i % 2}) for i in range(90)]
    file = tmp_path / "my.jsonl"
    file.write_text("\n".join(lines) + "\n")
    (tmp_path / "work").mkdir()
    found = guess(file, tmp_path / "work", target="y")
    assert {c.name: c.reason for c in found.columns if c.use == "ignored"} == {
        "tags": "cells of several values (a list)",
        "at": "cells of several values (an object)",
    }
    (tmp_path / "admitted").mkdir()
    settings = load(settings_writer.write(found, "demo", "my.jsonl"))
    assert admit(file, data=settings.data, reference=None, workdir=tmp_path / "admitted").rows_used == 90


def test_row_numbers_without_a_name(guessed: Guessed) -> None:
    """The unnamed first column many tools write is an identifier, not an error."""
    result = guessed(b",x,y\n" + b"".join(b"%d,%d,%s\n" % (i, i % 9, b"ab"[i % 2 : i % 2 + 1]) for i in range(60)))
    assert result.ignored == ("column_1",)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"x\n1\n2\n", RejectedUpload, "one column only"),
        (b"", RejectedUpload, "empty"),
        (b"a,b\n" + b"".join(b"%d.5,%d\n" % (i, i) for i in range(400)), InvalidRequest, "no column is left"),
        (b"3,2,no,yes\n" + b"1,2,3,4,5\n" * 9, RejectedUpload, "no header"),
    ],
)
def test_what_is_no_table_to_learn_from_is_refused(
    guessed: Guessed, body: bytes, error: type[Exception], words: str
) -> None:
    """With the reason in words."""
    with pytest.raises(error, match=words):
        guessed(body)


def test_sentences_are_features_and_names_are_not(guessed: Guessed) -> None:
    """Texts that share words are left to training, which makes columns of them; other texts of many values are left out."""
    rng = random.Random(3)
    words = ["parcel", "late", "broken", "thanks", "invoice", "refund", "login", "please", "account", "again"]
    rows = [
        f"{' '.join(rng.sample(words, 6))} {i},{rng.choice(['Ada', 'Bob'])} {chr(97 + i % 26)}{i} Lee,T-{i:04d},{'ab'[i % 2]}"
        for i in range(150)
    ]
    result = guessed("\n".join(["message,name,ticket,label", *rows]).encode())
    assert {c.name: c.use for c in result.columns} == {
        "message": "feature",
        "name": "ignored",
        "ticket": "ignored",
        "label": "target",
    }
    assert _features(result) == ["message"]


def _features(result: Guess) -> list[str]:
    """Columns that models see by the settings that are written."""
    ignored = load(settings_writer.write(result, "mine", "my.csv")).data.ignore
    return [c.name for c in result.columns if c.name not in {*ignored, result.target}]


def test_a_number_with_many_values_is_no_class(guessed: Guessed) -> None:
    """As classes it is refused, with what to do."""
    with pytest.raises(InvalidRequest, match="more than 100") as caught:
        guessed(_table(), target="salary", task="classification")
    assert "--target" in caught.value.fix


def test_a_target_of_amounts_with_a_currency_is_estimated(guessed: Guessed) -> None:
    """By the settings that are written, the upload reads the amounts."""
    body = "size,price\n" + "".join(f"{'SML'[i % 3]},${i + 1000}.50\n" for i in range(300))
    guess = guessed(body.encode(), target="price")
    settings = load(settings_writer.write(guess, "demo", "my.csv"))
    assert (guess.task, settings.data.columns["price"].number_format) == ("regression", "$1234.5")


def test_a_target_of_amounts_in_several_units_is_said_to_be_one(guessed: Guessed) -> None:
    """Not that its classes are too many: what is wrong is how it is written."""
    body = "size,price\n" + "".join(f"{'SML'[i % 3]},{'$€'[i % 2]}{i + 1000}.50\n" for i in range(300))
    with pytest.raises(InvalidRequest, match=r"such as '\$1000.50'") as caught:
        guessed(body.encode(), target="price")
    assert "plain numbers" in caught.value.fix


def test_a_number_with_many_values_is_estimated(guessed: Guessed) -> None:
    """Naming it as target makes a regression."""
    assert guessed(_table(), target="salary").task == "regression"


def test_the_encoding_of_windows_is_read_and_said(guessed: Guessed) -> None:
    """A file that is not UTF-8 is cp1252, whose euro sign and dash latin-1 has not; what cp1252 has not is latin-1."""
    result = guessed(b"preis,y\n" + ("\u20ac50\u2013100,a\nZ\u00fcrich,b\n" * 30).encode("cp1252"))
    assert result.form.csv.encoding == "cp1252"
    assert any("cp1252" in c for c in result.checks)


def test_what_windows_cannot_have_written_is_latin_1(guessed: Guessed) -> None:
    """Byte 0x81 is no character of cp1252."""
    assert guessed(b"k,y\n" + b"\x81x,a\nz,b\n" * 30).form.csv.encoding == "latin-1"


def test_personal_data_is_flagged_for_a_person_to_decide(guessed: Guessed) -> None:
    """A column of e-mail addresses is marked and named among the checks; the others are not."""
    lines = [f"p{i}@mail.example,{i % 7},{'yes' if i % 3 else 'no'}" for i in range(60)]
    result = guessed(("contact,visits,left\n" + "\n".join(lines) + "\n").encode())
    assert {c.name: c.personal for c in result.columns} == {"contact": "e-mail addresses", "visits": "", "left": ""}
    assert any("contact looks like personal data (e-mail addresses)" in check for check in result.checks)


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("Sale_Price,area,Longitude,Latitude", "Sale_Price"),
        ("Demand,Temperature,area,Holiday", "Demand"),
        ("total,color,payment,borough", "total"),
        ("AtBat,Hits,Salary,NewLeague", "Salary"),
    ],
)
def test_a_number_with_a_name_of_money_or_amounts_is_the_target(guessed: Guessed, header: str, target: str) -> None:
    """Neither coordinates nor a class in the last column go before it."""
    rng = random.Random(3)
    classes = {"Holiday", "color", "payment", "borough", "NewLeague"}
    lines = [
        ",".join(rng.choice(["a", "b"]) if c in classes else f"{rng.uniform(1, 900):.4f}" for c in header.split(","))
        for _ in range(200)
    ]
    result = guessed("\n".join([header, *lines]).encode())
    assert (result.target, result.task) == (target, "regression")


def test_whole_numbers_of_a_scale_are_estimated_and_marked(guessed: Guessed) -> None:
    """A quality from 3 to 9 is ordered; the other reading stands under `To check`."""
    rng = random.Random(3)
    result = guessed(b"acid,quality\n" + b"".join(b"%.3f,%d\n" % (rng.random(), rng.randint(3, 9)) for _ in range(200)))
    assert (result.target, result.task) == ("quality", "regression")
    assert any("--task classification" in c for c in result.checks)


def test_a_header_that_names_a_column_twice_is_numbered_and_said(guessed: Guessed) -> None:
    """The second one gets a number; what `init` writes reads the file so."""
    result = guessed(
        b"size,size,kind\n" + b"".join(b"%d,%d,%s\n" % (i, i * 7 % 50, b"ab"[i % 2 : i % 2 + 1]) for i in range(60))
    )
    assert [c.name for c in result.columns] == ["size", "size_2", "kind"]
    assert result.form.csv.duplicate_names == "number"
    assert any("twice" in c for c in result.checks)


# --- leaks -----------------------------------------------------------------------------------------------------------------
def _leaking(change: Callable[[int, dict[str, str]], dict[str, str]]) -> bytes:
    rows = [change(i, row) for i, row in enumerate(_rows())]
    return ("\n".join([",".join(rows[0]), *(",".join(r.values()) for r in rows)]) + "\n").encode()


def test_a_column_that_is_filled_for_one_class_only_is_named(guessed: Guessed) -> None:
    """Such as the days since an account was closed; columns with a few missing cells are not."""

    def change(i: int, row: dict[str, str]) -> dict[str, str]:
        return {"closed_days": str(i % 97) if row["churn"] == "yes" else "", **row}

    expected = [c for c in guessed(_leaking(change)).checks if "gives churn away" in c]
    assert expected == [
        "whether closed_days is filled gives churn away: is it known before churn is? If not: data.ignore"
    ]


@pytest.mark.parametrize("names", [{"yes": "closed", "no": "open"}, {"yes": "3", "no": "8"}])
def test_a_column_that_says_the_class_is_named(guessed: Guessed, names: dict[str, str]) -> None:
    """In other words or as a number, but for a row or two."""

    def change(i: int, row: dict[str, str]) -> dict[str, str]:
        return {"state": names["no"] if i == 7 else names[row["churn"]], **row}

    expected = [c for c in guessed(_leaking(change)).checks if "churn away" in c]
    assert [c.split(" ")[0] for c in expected] == ["state"]


@pytest.mark.parametrize("header", ["age,income,visits", "income,age,visits", "age,visits,income"])
def test_a_name_that_features_have_too_is_sure_in_the_last_column_only(guessed: Guessed, header: str) -> None:
    """An income is predicted in some tables and one fact among others in as many."""
    values = {"age": "{0}", "income": "{1}.5", "visits": "{2}"}
    line = ",".join(values[name] for name in header.split(","))
    rows = "".join(line.format(20 + i % 50, i * 37 % 997, i % 7) + "\n" for i in range(300))
    result = guessed(f"{header}\n{rows}".encode())
    assert result.target == "income"
    assert any("guess" in c for c in result.checks) == (not header.endswith("income"))


def test_a_number_that_is_the_target_in_another_unit_is_named(guessed: Guessed) -> None:
    """The price in cents beside the price."""
    rng = random.Random(3)
    prices = [rng.randint(100, 9000) / 10 for _ in range(200)]
    body = "\n".join(
        ["size,cents,price", *(f"{rng.randint(1, 90)},{p * 100 + rng.randint(0, 3):.0f},{p}" for p in prices)]
    )
    result = guessed((body + "\n").encode())
    assert (result.target, result.task) == ("price", "regression")
    assert [c.split(" ")[0] for c in result.checks if "nearly price itself" in c] == ["cents"]


# --- proposals -------------------------------------------------------------------------------------------------------------
def test_a_proposed_rule_sets_aside_the_rows_it_says(guessed: Guessed, tmp_path: Path) -> None:
    """Every one of them, switched on by itself, in the form that settings.yaml has."""
    rows = [
        {**row, "ends": row["joined"], "starts": "2023-01-01", "code": f"AB-{i % 90:04d}"}
        for i, row in enumerate(_rows(400))
    ]
    rows[5]["ends"], rows[9]["code"], rows[11]["code"] = "2022-12-31", "AB-12", "ab-0001"
    lines = [",".join(r.values()) for r in rows]
    body = ("\n".join([",".join(rows[0]), *lines]) + "\n").encode()
    result = guessed(body, target="churn")
    proposals = {p.column or "order": p for p in result.rules}
    assert {"customer_id", "code", "zip", "order", "age"} <= set(proposals)
    assert "pattern" in proposals["code"].line
    text = settings_writer.write(result, "demo", "my.csv")
    for proposal in result.rules:
        data = yaml.safe_load(text)["data"]
        switched = yaml.safe_load(proposal.line)
        data |= {"columns": {**data["columns"], **switched}} if proposal.column else {"rules": [switched]}
        parsed = load(json.dumps({**yaml.safe_load(text), "data": data}))
        folder = tmp_path / f"try-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "my.csv").write_bytes(body)
        admission = admit(
            folder / "my.csv", data=parsed.data, reference=None, workdir=folder, options=ReadingOptions(keep=False)
        )
        assert admission.rows_quarantined == round(proposal.set_aside * 400), proposal.line


# --- what is not read as what it looks like --------------------------------------------------------------------------------
_MISTAKEN = [
    (["12-", "7-"], "the minus behind"),
    (["0x1F", "0xa0"], "hexadecimal"),
    (["0x1p3", "-0x1.8p4"], "hexadecimal"),
    (["10:05", "9:59 PM"], "times of day"),
    (["PT5M", "P1DT2H"], "durations"),
    (["100:05", "123:59:01"], "durations"),
    (["2024-W05", "2024-W06"], "weeks, quarters or months"),
    (["2024Q1", "2024-Q2"], "weeks, quarters or months"),
    (["1.2.24", "13.4.24"], "two digits for the year"),
    (["1 Jan 2024", "02-Feb-24"], "the month's name"),
    (["January 5, 24", "Mar 7 2024"], "the month's name"),
    (["2024-02-30", "2024-02-28"], "days that are none"),
    (["2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"], "days that are none"),
    (["٣", "٤٥"], "another script"),
    (["１", "２３"], "another script"),
    (["½", "¼"], "another script"),
    (["ZÃ¼rich", "Bern"], "wrong encoding"),
    (["20240105", "20231231"], "look like dates"),
    (["1700000000", "1700000100"], "seconds since 1970"),
    (["1700000000000", "1700000100000"], "milliseconds since 1970"),
    (["$5", "€6.50"], "a sign, a unit or spaces"),
    (["1\u00a0234", "5\u00a0678"], "a sign, a unit or spaces"),
    (["5%", "7 €"], "a sign, a unit or spaces"),
    (["12 m", "7 m"], "number_format: '1234.5 m'"),
    (["$5", "$6.50"], "amounts in $, read as numbers; one unit for the whole column ($1234.5)"),
    (["EUR 1.200,50", "EUR 7"], "amounts in EUR, read as numbers; one unit for the whole column (EUR1.234,5)"),
    (["5 %", "7.25 %"], "read as they stand there: 12% is 12 (1234.5%)"),
    (["(5.25)", "7"], "those in brackets are negative ((1234.5))"),
    (["1\u00a0234,50", "7,25"], "those in brackets are negative (1 234,5)"),
    (["1 h 20 min", "2 h 5 min"], "durations"),
    (["3d 4h", "10h30"], "durations"),
    (["<5", ">=10", "~7.5"], "a bound or a mark"),
    (["ca. 5", "about 7"], "a bound or a mark"),
    (["12*", "7*"], "a bound or a mark"),
    (["12*", "7"], "are numbers, the others are not"),
    (["#12", "#7"], "a bound or a mark"),
    (["12-15", "20 – 30", "5 to 7"], "ranges"),
    (["3:1", "12 of 20", "3/4"], "ratios"),
    (["5 1/2", "3 3/4"], "ratios"),
    (["No. 5", "No 17", "nr. 6"], "a bound or a mark"),
    (["1,23,456", "2,34,567"], "write plain numbers (1234.5) in one unit"),
    (["5 kg", "7 lb"], "write plain numbers (1234.5) in one unit"),
    (["1_000", "12_345"], "_ between digits"),
    (["48°12'", "7° 5′ N"], "decimal degrees"),
    (["2024.03.01", "2023.12.31"], "in this order"),
    (["13-04-2024", "01-12-2023"], "in this order"),
    (["March 2024", "Jan-24"], "months are read as text"),
    (["2024-03", "2023-12"], "weeks, quarters or months"),
]
_NAMED = {
    "order_date": (["44197", "44300", "45000"], "days as Excel counts them (44197 is 2021-01-01)"),
    "HireDate": (["44197.5", "44300.25"], "days as Excel counts them"),
    "month": (["202401", "202312", "202306"], "look like months"),
    "v": (["202401", "202312", "202306"], "look like months"),
    "closed on day": (["31122023", "1012024"], "look like dates"),
    "seen": (["20240105093000", "20231231235900"], "look like moments"),
    "wk": (["202401", "202353"], "look like weeks"),
    "fiscal quarter": (["20241", "20234"], "look like quarters"),
    "dep_time": ([str(h * 100 + m) for h in range(1, 24, 2) for m in (5, 58)], "look like hours and minutes"),
    "valid_to": (["2024-01-31", "2025-06-30", "9999-12-31"], "the years 9999 ("),
    "opened": (["31.01.2024", "30.06.2023", "01.01.1900"], "the years 1900 ("),
    "joined": (["2567-03-01", "2560-12-31"], "Buddhist calendar"),
    "Jahr": (["2567", "2560"], "Buddhist calendar"),
    "model_year": (["2019", "2020", "9999"], "does it mean unknown?"),
    "quarter": (["Q1 2024", "Q4/2023"], "weeks, quarters or months"),
    "paid": (["01/2024", "12/2023"], "weeks, quarters or months"),
    "time.1": (["1959.0", "1959.083", "1997.917"], "years with their fraction"),
    "sowing date": (["0", "3", "6"], "called a date"),
    "born": (["1921-03-01", "2004-12-31"], ""),
    "year_built": (["1871", "2001"], ""),
    "candidates": (["44197", "50000"], ""),
    "population": (["44197", "50000"], ""),
    "time": (["12", "75", "161", "99"], ""),
    "height": (["202457", "202312"], ""),
    "end": (["2024-01-31", "2031-06-30"], ""),
}
_RIGHT = [
    ["January 5, 2024", "Mar 7 2024"],
    ["1.2.3", "1.10"],
    ["1. No", "2. Yes"],
    ["10.0.0.1", "10.0.0.2"],
    ["AB-1", "CD-2"],
    ["12", "17"],
    ["yes", "no"],
    ["a:b", "c:d"],
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is said of each of these columns, by its name; they stand in one table."""
    columns = {f"v{k}": values for k, values in enumerate([*(values for values, _ in _MISTAKEN), *_RIGHT])}
    columns |= {name: values for name, (values, _) in _NAMED.items()}
    rng = random.Random(5)
    rows = [
        [rng.choice(values) for values in columns.values()] + [str(rng.randint(0, 9)), rng.choice(["no", "yes"])]
        for _ in range(80)
    ]
    folder = tmp_path_factory.mktemp("said")
    (folder / "work").mkdir()
    (folder / "my.csv").write_text("\n".join(";".join(r) for r in [[*columns, "a", "y"], *rows]) + "\n")
    checks = [c.split(": ", 1) for c in guess(folder / "my.csv", folder / "work").checks]
    return {name: [text for of, *rest in checks if of == name for text in rest] for name in columns}


@pytest.mark.parametrize("place", range(len(_MISTAKEN)), ids=[values[0] for values, _ in _MISTAKEN])
def test_what_is_not_read_as_what_it_looks_like_is_said(said: dict[str, list[str]], place: int) -> None:
    """Under the column's name, with what to write instead."""
    (check,) = said[f"v{place}"]
    assert _MISTAKEN[place][1] in check


@pytest.mark.parametrize("name", _NAMED)
def test_numbers_and_dates_that_the_name_of_the_column_makes_others_are_said(
    said: dict[str, list[str]], name: str
) -> None:
    """Days as Excel counts them, months, times of day, years far from all others; and no number that only could be one."""
    expected = _NAMED[name][1]
    assert len(said[name]) == bool(expected)
    assert expected in "".join(said[name])


@pytest.mark.parametrize("place", range(len(_RIGHT)), ids=[values[0] for values in _RIGHT])
def test_what_is_read_as_what_it_looks_like_is_not_said(said: dict[str, list[str]], place: int) -> None:
    """Versions, addresses and codes are texts; numbers are numbers."""
    assert said[f"v{len(_MISTAKEN) + place}"] == []


def test_a_number_format_is_advised_only_where_it_reads_every_text(said: dict[str, list[str]]) -> None:
    """Several units have none, nor have groups of two digits."""
    advised = {
        place: form[1]
        for place in range(len(_MISTAKEN))
        for check in said[f"v{place}"]
        if (form := re.search(r"number_format: '([^']+)'", check))
    }
    assert len(advised) >= 2
    for place, form in advised.items():
        assert all(value_formats.number(text, form) is not None for text in _MISTAKEN[place][0]), _MISTAKEN[place]


_WORDS = [
    (["yes", "no"], "two categories"),
    (["Ja", "Nein"], "two categories"),
    (["ON", "OFF"], "two categories"),
    (["да", "нет"], "two categories"),
    (["✓", "✗"], "two categories"),
    (["✔\ufe0f", "-"], "two categories"),
    (["TRUE.", "FALSE."], "two categories"),
    (["true", "FALSE."], "two categories"),
    (["はい", "いいえ"], "two categories"),
    (["Y", "y", "N"], "in several spellings"),
    (["true", "false", "TRUE."], "in several spellings"),
    (["yes", "no", "perhaps"], "beside other texts"),
    (["Bern", "BERN", "Basel"], "different categories"),
    (["new  york", "new york", "Rome"], "different categories"),
    (["✓", ""], "if empty means no, write no"),
    (["x", ""], "if empty means no, write no"),
    (["true", "false"], ""),
    (["TRUE", "False"], ""),
    (["red", "green"], ""),
    (["m", "f"], ""),
    (["D", "J", "N", "Y"], ""),
    (["1", "0"], ""),
]


def test_words_for_yes_and_no_spellings_and_marks_are_said() -> None:
    """Each is read as text and said, whatever the language; booleans, numbers and plain categories are not."""
    rng = random.Random(5)
    columns = [[rng.choice(values) for _ in range(80)] for values, _ in _WORDS]
    facts = [
        ColumnFacts(len({*c} - {""}), None, None, None, None, 0, 0, "", {}, tuple(sorted({*c} - {""}))) for c in columns
    ]
    guesses = [
        ColumnGuess(
            f"v{i}.",
            {"true": "boolean", "TRUE": "boolean", "1": "integer"}.get(values[0] if not expected else "", "category"),  # type: ignore[arg-type] # kinds
            "ignored" if f.distinct < 2 else "feature",
            "",
            f.distinct,
            c.count(""),
            rows=80,
        )
        for i, ((values, expected), c, f) in enumerate(zip(_WORDS, columns, facts, strict=True))
    ]
    for i, (_, expected) in enumerate(_WORDS):
        said = " | ".join(infer_columns.words_for_values([guesses[i]], [facts[i]], "y"))
        assert expected in said if expected else not said, (i, said)
    assert infer_columns.words_for_values(guesses[:1], facts[:1], "v0.") == []


def test_words_for_yes_and_no_stand_under_to_check(guessed: Guessed) -> None:
    """Once for all columns that have them, and never for the target."""
    lines = [
        f"{i % 7};{('Ja', 'Nein')[i * 3 % 2]};{('on', 'off')[i % 3 % 2]};{('no', 'yes')[i % 5 % 2]}" for i in range(80)
    ]
    checks = guessed(("\n".join(["a;v;w;y", *lines]) + "\n").encode()).checks
    assert [c for c in checks if "yes and no" in c] == [
        "words for yes and no are read as two categories, which serve models as well: v, w"
    ]
