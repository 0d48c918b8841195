"""Columns that look like personal data: by their values where these have a form or check digits, else by name and values.

Check digits come from python-stdnum: nine of ten random numbers fail each of them, so that a column of numbers in which
nearly all values pass is no accident.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

SAMPLE: Final = 200  # values looked at
_ENOUGH = 0.8  # fraction of the values that must have the form
_CHECKED = 0.9  # the same for forms with check digits
_DISTINCT = 5  # different values that a form with check digits must have

_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[A-Za-z]{2,24}")
_PHONE = re.compile(r"(?:\+|00)\d[\d ()./-]{6,18}\d|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?: ?x\d+)?")
_LOCAL_PHONE = re.compile(r"\+?[\d ()./-]{7,20}")
_SSN = re.compile(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_NINO = re.compile(r"(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]")
_NAME = re.compile(r"[^\W\d_]+\.?(?:[ ,'’.-]+[^\W\d_]+\.?)*")
_STREET = re.compile(
    r"\d+[a-zA-Z]? (?:[\w.'-]+ )+(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|way|place|pl)\b.*"
    r"|(?:[\w.'-]+ )*[\w.'-]*(?:stra(?:ß|ss)e|str\.|weg|platz|gasse|allee|laan|straat) ?\d+.*"
    r"|\d+,? (?:bis |ter )?(?:rue|avenue|boulevard|place|chemin|impasse|quai) .+"
    r"|(?:calle|via|viale|piazza|avenida|rua|plaza) .+\d+.*",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?=.*\d)(?=.*[^\W\d_]).{5,}")

_NAMED_PERSON = re.compile(
    r"(?:first|last|given|family|middle|full|sur|maiden|fore|birth|customer|client|patient|employee|person|contact|holder|"
    r"owner|passenger|user|account|applicant)[ _.-]?names?$|^(?:name|nachname|vorname|prenom|prénom|nom|apellidos?|cognome|"
    r"nome|nombre|surname|lastname|firstname)$",
    re.IGNORECASE,
)
_NAMED_ADDRESS = re.compile(
    r"address|street|strasse|straße|anschrift|adresse|direccion|indirizzo|postal_line", re.IGNORECASE
)
_NAMED_PHONE = re.compile(r"phone|mobile|telefon|(?:^|[_ .-])(?:tel|cell|fax|handy)(?:$|[_ .-])", re.IGNORECASE)
_NAMED_BIRTH = re.compile(
    r"(?:^|[_ .-])dob$|birth.?da(?:te|y)|date.?of.?birth|geburtsdatum|naissance|nacimiento", re.IGNORECASE
)
_NAMED_ID = re.compile(
    r"ssn|social.?sec|passport|national.?id|tax.?id|(?:^|_)(?:nino|bsn|dni|nie|cpf|pesel|nir|ahv|avs|nin|ppsn)(?:$|_)",
    re.IGNORECASE,
)

# National numbers with two check digits, a check letter or a birth date inside: module of python-stdnum, digits and letters.
_NATIONAL: Final = (
    ("es.dni", 9), ("es.nie", 9), ("it.codicefiscale", 16), ("fr.nir", 15), ("br.cpf", 11), ("ch.ssn", 13),
    ("se.personnummer", 10), ("se.personnummer", 12), ("pl.pesel", 11), ("fi.hetu", 10), ("be.nn", 11), ("no.fodselsnummer", 11),
    ("dk.cpr", 10), ("cn.ric", 18), ("za.idnr", 13), ("de.idnr", 11), ("pt.cc", 12), ("bg.egn", 10), ("ro.cnp", 13),
    ("in_.aadhaar", 12), ("cz.rc", 10),
)  # fmt: skip
# One check digit and no birth date: the column's name must say the same.
_NAMED_NATIONAL: Final = (("nl.bsn", 9), ("gb.nhs", 10), ("us.ssn", 9), ("ie.pps", 8), ("ca.sin", 9), ("au.tfn", 9))
_MARKS = re.compile(r"[ .\-/+]")


def detect(column: str, values: Sequence[str], *, kind: str = "text") -> str:
    """What the column looks like (`e-mail addresses`, `IBANs`, …); empty when it does not look like personal data.

    `values`: different values of the column as texts, the first SAMPLE are looked at; `kind`: as in a schema.
    """
    if kind == "datetime":
        return "dates of birth" if _NAMED_BIRTH.search(column) else ""
    sample = [v.strip() for v in values[:SAMPLE] if v.strip()]
    if kind == "boolean" or len(sample) < 3 or (kind == "number" and all("." in v for v in sample)):
        return ""  # no number that names somebody has a fraction
    tests = (*_FORMS, *_TEXT_FORMS) if kind in {"category", "text"} else _FORMS
    return next((label for label, test in tests if test(column, sample)), "")


def _are_emails(_: str, sample: Sequence[str]) -> bool:
    return _share(sample, lambda v: bool(_EMAIL.fullmatch(v)))


def _are_ips(_: str, sample: Sequence[str]) -> bool:
    return _share(sample, _is_ip)


def _are_ibans(_: str, sample: Sequence[str]) -> bool:
    bare = _bare(sample)
    return len({*bare}) >= _DISTINCT and _share(
        bare, lambda v: 15 <= len(v) <= 34 and v[:2].isalpha() and _valid("iban", v), _CHECKED
    )


def _are_cards(_: str, sample: Sequence[str]) -> bool:
    bare = _bare(sample)
    return len({*bare}) >= _DISTINCT and _share(
        bare, lambda v: 13 <= len(v) <= 19 and v.isdigit() and v[0] in "3456" and _valid("luhn", v), _CHECKED
    )


def _are_national(column: str, sample: Sequence[str]) -> bool:
    if _share(sample, lambda v: bool(_SSN.fullmatch(v) or _NINO.fullmatch(v))):
        return True
    bare = _bare(sample)
    if len({*bare}) < _DISTINCT:
        return False
    named = _NAMED_NATIONAL if _NAMED_ID.search(column) else ()
    length = max(map(len, bare), key=[len(v) for v in bare].count)
    return any(
        _share(bare, partial(_is_national, module), _CHECKED) for module, n in (*_NATIONAL, *named) if n == length
    )


def _is_national(module: str, value: str) -> bool:
    return any(c.isdigit() for c in value) and _valid(module, value)


def _are_phones(column: str, sample: Sequence[str]) -> bool:
    if _share(sample, lambda v: bool(_PHONE.fullmatch(v))):
        return True
    return bool(_NAMED_PHONE.search(column)) and _share(
        sample, lambda v: bool(_LOCAL_PHONE.fullmatch(v)) and 7 <= sum(c.isdigit() for c in v) <= 15
    )


def _are_names(column: str, sample: Sequence[str]) -> bool:
    return bool(_NAMED_PERSON.search(column)) and _share(sample, lambda v: bool(_NAME.fullmatch(v)) and not v.islower())


def _are_addresses(column: str, sample: Sequence[str]) -> bool:
    if _share(sample, lambda v: bool(_STREET.fullmatch(v))):
        return True
    return bool(_NAMED_ADDRESS.search(column)) and _share(sample, lambda v: bool(_ADDRESS.fullmatch(v)))


_Test = Callable[[str, Sequence[str]], bool]
_FORMS: Final[tuple[tuple[str, _Test], ...]] = (
    ("e-mail addresses", _are_emails),
    ("IP addresses", _are_ips),
    ("IBANs", _are_ibans),
    ("payment card numbers", _are_cards),
    ("national identification numbers", _are_national),
    ("phone numbers", _are_phones),
)
_TEXT_FORMS: Final[tuple[tuple[str, _Test], ...]] = (
    ("names of persons", _are_names),
    ("postal addresses", _are_addresses),
)


def _bare(sample: Sequence[str]) -> list[str]:
    """Without the marks that people group digits by."""
    return [_MARKS.sub("", v) for v in sample]


def _share(values: Sequence[str], test: Callable[[str], bool], enough: float = _ENOUGH) -> bool:
    """Whether enough of the values pass; stops as soon as too many have failed."""
    allowed = int(len(values) * (1 - enough))
    for value in values:
        if not test(value):
            allowed -= 1
            if allowed < 0:
                return False
    return True


def _is_ip(value: str) -> bool:
    if value.count(".") != 3 and ":" not in value:
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _valid(module: str, value: str) -> bool:
    """Check digits by python-stdnum, loaded for values of the right length alone."""
    return bool(importlib.import_module(f"stdnum.{module}").is_valid(value))
