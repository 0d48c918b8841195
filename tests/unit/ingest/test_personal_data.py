"""Which columns look like personal data, and which only look a little like it."""

from __future__ import annotations

import random

import pytest

from dropforge.ingest.personal_data import detect
from dropforge.ingest.text_encoding import is_damaged, repaired

_RNG = random.Random(1)


@pytest.mark.parametrize(
    ("column", "values", "kind", "expected"),
    [
        ("contact", [f"a{i}@x{i}.org" for i in range(9)], "text", "e-mail addresses"),
        ("x", ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "FR1420041010050500013M02606",
               "CH9300762011623852957", "NL91ABNA0417164300"], "text", "IBANs"),
        ("x", ["4111111111111111", "5500000000000004", "4012888888881881", "5105105105105100", "6011111111111117"],
         "integer", "payment card numbers"),
        ("x", [f"+41 44 {_RNG.randrange(10**7):07d}" for _ in range(9)], "text", "phone numbers"),
        ("mobile_no", [f"{_RNG.randrange(10**8, 10**9)}" for _ in range(9)], "integer", "phone numbers"),
        ("x", ["10.1.2.3", "2001:db8::1", "192.168.0.9", "172.16.4.4"], "text", "IP addresses"),
        ("x", ["123-45-6789", "234-56-7890", "345-67-8901"], "text", "national identification numbers"),
        ("x", ["54362315K", "12345678Z", "87654321X", "00000000T", "11111111H"], "text", "national identification numbers"),
        ("Surname", ["Hargrave", "Hill", "O'Brien", "Boni", "van der Berg"], "category", "names of persons"),
        ("street", ["12 High Street", "5 Main St", "77 Elm Avenue, Boston"], "text", "postal addresses"),
        ("x", ["Hauptstraße 5", "Lindenweg 12", "Bahnhofstrasse 3a"], "text", "postal addresses"),
        ("date_of_birth", [], "datetime", "dates of birth"),
        # Not personal data, though near it.
        ("customer_id", [f"{_RNG.randrange(10**8, 10**9)}" for _ in range(200)], "integer", ""),
        ("serial", [f"{_RNG.randrange(4 * 10**15, 5 * 10**15)}" for _ in range(200)], "integer", ""),
        ("code", [f"{_RNG.randrange(10**10, 10**11)}" for _ in range(200)], "integer", ""),
        ("version", ["1.2.3", "1.2.4", "2.0.1"], "text", ""),
        ("name", ["toyota corolla", "ford pinto", "vw golf"], "text", ""),
        ("product_name", ["Lamp", "Chair", "Table"], "category", ""),
        ("Surname", ["s12", "s13", "s77"], "category", ""),
        ("ordered_at", [], "datetime", ""),
        ("city", ["Bern", "Oslo", "Rome"], "category", ""),
    ],
)  # fmt: skip
def test_a_column_is_named_for_what_its_values_are(column: str, values: list[str], kind: str, expected: str) -> None:
    """Form and check digits decide; a name alone never does, and random numbers do not pass."""
    assert detect(column, values, kind=kind) == expected


@pytest.mark.parametrize(
    ("text", "was"),
    [("ZÃ¼rich", "Zürich"), ("KÃ¶ln â€“ Mitte", "Köln – Mitte"), ("naÃ¯ve", "naïve"), ("Å\x81Ã³dÅº", "Łódź")],
)
def test_a_wrongly_decoded_text_is_found_and_repaired(text: str, was: str) -> None:
    """UTF-8 read as Windows-1252 or Latin-1 goes back to what it was."""
    assert is_damaged(text)
    assert repaired(text) == was


@pytest.mark.parametrize(
    "text", ["Zürich", "SÃO PAULO", "Ærø", "naïve", "北京市", "Ελλάδα", "±5 °C", "plain", "£20 – €30"]
)
def test_texts_of_other_languages_are_not_damaged(text: str) -> None:
    """Letters beyond ASCII alone are no sign of damage."""
    assert not is_damaged(text)
    assert is_damaged(text + "\N{REPLACEMENT CHARACTER}")
