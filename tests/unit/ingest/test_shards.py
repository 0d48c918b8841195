"""A large text file read by shards comes to what it comes to when it is read at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from tests.conftest import repeats
from tests.unit.ingest.conftest import settings

from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Provenance
from dropforge.config.settings import Settings
from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import distinct_texts, shard_plan
from dropforge.ingest.admission import Admission
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge.ingest.sharded_file import in_turn

from ...differences import differences

Read = tuple[Admission, Profile, dict[str, Any]]


def _read(text: bytes, given: Settings, folder: Path, shards: int, before: Read | None = None) -> Read:
    """Admission, profile and report of the text in so many shards (about)."""
    folder.mkdir(parents=True)
    file = folder / "upload.csv"
    file.write_bytes(text)
    limits = given.data.limits.model_copy(update={"shard_bytes": max(1, len(text) // shards)})
    data = given.data.model_copy(update={"limits": limits})
    reference: Schema | None = before[0].schema if before else None
    like = before[1] if before else None
    with closing(connect(folder)) as db:
        admission = admit(
            file,
            data=data,
            reference=reference,
            workdir=folder,
            connection=db,
            options=ReadingOptions(read_shards=in_turn(build_report.counting(like)) if shards > 1 else None),
        )
        profile = build_report.profile_of(admission, folder, like, db)
    assert (len(admission.shards) > 1) == (shards > 1)
    report = build_report.report(
        like,
        profile,
        build_report.intake_of(admission, "upload.csv"),
        given,
        Provenance(dataset_id=admission.dataset_id),
    )
    return admission, profile, report.model_dump(mode="json")


def _facts(admission: Admission) -> dict[str, Any]:
    """Everything of an admission but places, and hashes of files whose bytes depend on their writer."""
    left_out = {"snapshot", "snapshot_sha256", "rejects_csv", "table", "shards"}
    facts = {k: v for k, v in asdict(replace(admission)).items() if k not in left_out}
    return {**facts, "schema": admission.schema, "rejects": admission.rejects_csv.read_text()}


def _plain(seed: int, count: int = 600) -> list[str]:
    rng = random.Random(seed)
    return [
        f"{rng.randint(18, 80)},{rng.choice(['Bern', 'Oslo', 'Rome'])},{rng.gauss(5, 2):.3f},2024-{rng.randint(1, 12):02d}-01,"
        f"{'yes' if i % 3 else 'no'}"
        for i in range(count)
    ]


def _quoted(seed: int) -> bytes:
    """Line ends, delimiters and quotes inside quotes; an inch mark; rows of a wrong form and of a wrong kind; duplicates far apart."""
    rng = random.Random(seed)
    rows = [
        f'{i % 90},"city {rng.randint(1, 4)}\nof ""{i % 7}"", there",{rng.random():.4f},{5 + i % 3}" x,{"yes" if i % 3 else "no"}'
        for i in range(500)
    ]
    rows += rng.sample(rows, 60)
    for at in (40, 300, 520):
        rows.insert(at, "1,2,3")
        rows.insert(at + 7, 'old,"city\n1",0.5,6,yes')
    return ("age,city,score,size,label\n" + "\n".join(rows) + "\n").encode()


def _german(seed: int) -> bytes:
    """Decimal commas that decide only together with the rest of the file, amounts in one currency and in two, in cp1252 with mixed
    line ends."""
    rng = random.Random(seed)
    rows = [
        f"{rng.randint(1, 9)},{rng.randint(100, 999)};Zürich {rng.randint(1, 3)};{rng.choice('-?x')};{rng.randint(1, 9)}.234 €;"
        f"{'€$'[i // 390]}{i};{'ja' if i % 2 else 'nein'}"
        for i in range(400)
    ]
    rows[350] = "12,5;Zürich 1;x;(1.234,50 €);€ 7;ja"
    return "".join(
        r + ("\r\n" if i % 5 else "\n") for i, r in enumerate(["price;city;note;amount;mixed;label", *rows])
    ).encode("cp1252")


def _codes(seed: int) -> bytes:
    """Free text, identifiers that repeat in two places of the file, a class of one row, spaces."""
    rng = random.Random(seed)
    rows = [
        f"{i:06d}, {rng.choice('abc')} ,note {rng.randint(1, 10**6)},{rng.choice(['', '5', '7'])},{'yes' if i % 3 else 'no'}"
        for i in range(1500)
    ]
    rows[1400] = "000003" + rows[1400][6:]
    rows[900] = rows[900].rsplit(",", 1)[0] + ",yse"
    return ("id,kind,note,grade,label\n" + "\n".join(rows)).encode()


def _lines(header: str, rows: list[str]) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


def _parquet(seed: int) -> bytes:
    """Seven row groups of every type, with missing cells and repeated rows; the second file has texts among its whole numbers."""
    age = "i % 70" if seed == 1 else "CASE WHEN n IN (3000, 9000, 9001) THEN 'old' ELSE CAST(i % 70 AS VARCHAR) END"
    with TemporaryDirectory() as folder, closing(duckdb.connect()) as db:
        file = Path(folder, "t.parquet")
        db.execute(
            f"COPY (SELECT {age} AS age, CASE WHEN i % 11 > 0 THEN (hash(i + {seed}) % 9973)::DOUBLE / 7 END AS score, "
            f"TIMESTAMP '2024-01-01' + to_hours((hash(i) % 9000)::BIGINT) AS day, 'city ' || (hash(i * {seed}) % 5) AS city, "
            "CASE WHEN hash(n) % 3 = 0 THEN 'yes' ELSE 'no' END AS label FROM "
            "(SELECT n, CASE WHEN n % 50 = 0 THEN n // 2 ELSE n END AS i FROM range(14000) r(n))) "
            f"TO '{file}' (FORMAT parquet, ROW_GROUP_SIZE 2048)"
        )
        return file.read_bytes()


HEADER = "age,city,score,day,label"
TABLES: dict[str, tuple[Callable[[int], bytes], dict[str, Any]]] = {
    "plain": (lambda seed: _lines(HEADER, _plain(seed)), {}),
    "quoted": (_quoted, {}),
    "german": (_german, {"csv": {"encoding": "cp1252"}}),
    "codes": (
        _codes,
        {"columns": {"id": {"role": "identifier"}, "grade": {"min": 6}}, "limits": {"max_quarantined_share": 0.9}},
    ),
    "rules": (
        lambda seed: _lines(HEADER, _plain(seed)),
        {
            "rules": [
                {"name": "young", "expect": "age < 80", "action": "quarantine"},
                {"name": "old", "expect": "age > 20", "action": "warn"},
            ]
        },
    ),
    "parquet": (_parquet, {}),
    "regression": (
        lambda seed: _lines(
            "a,b,label", [f"{i % 7},{i % 50 / 9:.3f},{(i * 7919 + seed) % 997 / 10}" for i in range(700)]
        ),
        {"task": "regression"},
    ),
}


# "rules" has the rows of "plain". Where a cut falls among quotes is test_shards_hold_every_record_once.
CASES = [(table, 4 if table == "quoted" else 2) for table in TABLES if table != "plain"]
CASES += [(table, shards) for table in TABLES for shards in (2, 3, 7, 100)] * repeats(0, 1)


@pytest.mark.repeated
@pytest.mark.parametrize(("table", "shards"), CASES)
def test_report_of_shards_is_that_of_the_file(tmp_path: Path, table: str, shards: int) -> None:
    """However a file is cut, admission, rejects, dataset id, profile and report are the same, of a first file and of a later one."""
    text, given = TABLES[table][0], settings(**TABLES[table][1])
    whole: Read | None = None
    for seed in (1, 2):
        before, whole = whole, _read(text(seed), given, tmp_path / f"whole-{seed}", 1, whole)
        cut = _read(text(seed), given, tmp_path / f"cut-{seed}", shards, before)
        assert not differences(_facts(whole[0]), _facts(cut[0]))
        assert not differences(whole[1].model_dump(), cut[1].model_dump())
        assert not differences(whole[2], cut[2])
        assert whole[0].rows_in == whole[0].rows_used + whole[0].rows_quarantined


def test_columns_that_the_reference_lacks_are_described_the_same(tmp_path: Path) -> None:
    """A new column and an absent one give the same notes and counts when the file is cut."""
    given = settings()
    first = _read(_lines(HEADER, _plain(1)), given, tmp_path / "first", 1)
    text = _lines(
        "age,city,extra,label",
        [",".join([*r.split(",")[:2], str(i % 4), r[-3:].strip(",")]) for i, r in enumerate(_plain(2))],
    )
    whole = _read(text, given, tmp_path / "whole", 1, first)
    cut = _read(text, given, tmp_path / "cut", 5, first)
    assert whole[0].extra_counts
    assert not differences(_facts(whole[0]), _facts(cut[0]))
    assert not differences(whole[2], cut[2])


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["1,2"] * 80, "too_many_bad_rows"),
        (["old,Bern,1,2024-01-01,yes"] * 80, "type_changed"),
        (["1,Bern,1,2024-01-01,no"] * 15_000, "over_row_budget"),
    ],
)
def test_a_file_that_is_refused_is_refused_by_shards(tmp_path: Path, rows: list[str], code: str) -> None:
    """The reason, the lines it names and the advice are those of the whole file."""
    given = settings(limits={"max_rows": 15_000})
    first = _read(_lines(HEADER, _plain(1)), given, tmp_path / "first", 1)
    errors = []
    for shards in (1, 5):
        with pytest.raises(RejectedUpload) as raised:
            _read(_lines(HEADER, [*_plain(2), *rows]), given, tmp_path / str(shards), shards, first)
        errors.append((raised.value.code, raised.value.message, raised.value.fix))
    assert errors[0] == errors[1]
    assert errors[0][0] == code


@pytest.mark.repeated
@pytest.mark.parametrize("seed", range(repeats(20, 300)))
def test_shards_hold_every_record_once(tmp_path: Path, seed: int) -> None:
    """Shards in order are the file, each begins with a record, and its line is the one that its first byte stands on."""
    rng = random.Random(seed)
    cells = ["1", "", "x", '"a\nb"', '"a,""b"""', '  "q\n\n"', '6" inch', '"\n"', '""']
    records = [",".join(rng.choice(cells) for _ in range(3)) for _ in range(rng.randint(1, 60))]
    head = ["\n" * rng.randint(0, 2) + "a,b,c"] if rng.random() < 0.8 else []
    text = "\n".join([*head, *records]) + "\n" * rng.randint(0, 1)
    file = tmp_path / "t.csv"
    file.write_text(text)
    header_lines = sum(h.count("\n") + 1 for h in head)
    plan = shard_plan.plan_text(file, ",", header_lines=header_lines, quotes=True, shard_bytes=rng.randint(1, 60))
    body = text.encode()
    starts = {body.index(b"a,b,c") + 6} if head else {0}
    at = min(starts)
    for record in records:
        starts.add(at)
        at += len(record) + 1
    assert b"".join(body[s.start : s.end] for s in plan.shards) == body[plan.header_end :]
    for shard in plan.shards:
        assert shard.start in starts
        assert shard.line == body[: shard.start].count(b"\n") + 1
        assert plan.line_of(shard, plan.header_lines + 1) == shard.line


@pytest.mark.parametrize("count", [0, 1, 17, 1000, 50_000])
def test_distinct_texts_are_estimated_as_duckdb_does(count: int) -> None:
    """The estimate from the registers of overlapping parts is DuckDB's own of the whole."""
    with closing(duckdb.connect()) as db:
        db.execute(f"CREATE TABLE t AS SELECT (i * 7)::VARCHAR AS v, i FROM range({count}) r(i)")
        state = "SELECT approx_count_distinct(v) EXPORT_STATE FROM t WHERE i % 5 IN ({})"
        parts = [db.execute(state.format(some)).fetchone()[0]["registers"] for some in ("0, 1, 2", "2, 3", "4, 0")]
        assert (
            distinct_texts.estimate(distinct_texts.united(parts))
            == db.execute("SELECT approx_count_distinct(v) FROM t").fetchone()[0]
        )
