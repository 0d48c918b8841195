"""Admission to report, on local files: the same code in the cloud and in `dropforge analyze`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dropforge import __version__
from dropforge.analysis import column_pairs, profile_comparison, profile_queries, row_counts
from dropforge.analysis.checks import pair_checks, relation_changes, rule_outcomes, run_checks
from dropforge.analysis.checks.pair_checks import CheckedPairs
from dropforge.analysis.checks.table_checks import CheckedTable
from dropforge.analysis.data_profile import Profile, shared_rows
from dropforge.analysis.report import suggested_preprocessing, time_section
from dropforge.analysis.report_model import ColumnReport, Intake, Provenance, Report, RuleOutcome
from dropforge.analysis.row_counts import RowCounts
from dropforge.analysis.shard_counts import ShardCounts
from dropforge.config.settings import Settings
from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest.admission import Admission
from dropforge.ingest.duckdb_connection import connect, quote
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge.ingest.parquet_snapshot import SNAPSHOT, Levels
from dropforge.ingest.shard_reading import CountRows
from dropforge.ingest.sharded_file import in_turn

_SMALL = 16_000_000


def intake_of(admission: Admission, key: str, earlier_rules: Sequence[Mapping[str, tuple[int, int]]] = ()) -> Intake:
    """What the report says about the reading of the file. `earlier_rules`: rows and violations by rule of earlier uploads."""
    return Intake(
        key=key,
        format=admission.format,
        delimiter=admission.delimiter,
        encoding=admission.encoding,
        bytes=admission.bytes,
        rows_in=admission.rows_in,
        rows_used=admission.rows_used,
        rows_quarantined=admission.rows_quarantined,
        reasons=admission.reason_counts,
        first_rejects=tuple(asdict(r) for r in admission.first_rejects[:20]),
        missing={c: m for c, m in admission.missing.items() if m},
        header=admission.header,
        extra_columns=admission.extra_columns,
        extra_strength={c.name: round(column_pairs.cramers_v(c.counts, c.width), 3) for c in admission.extra_counts},
        extra_agreement={c.name: round(column_pairs.agreement(c.counts, c.width), 4) for c in admission.extra_counts},
        absent_columns=admission.absent_columns,
        rules=rule_outcomes.compared([RuleOutcome(**asdict(r)) for r in admission.rules], earlier_rules),
        notes=tuple(asdict(n) for n in admission.notes),
    )


def profile_of(admission: Admission, workdir: Path, like: Profile | None, connection: Any = None) -> Profile:
    """Profile of the admitted rows, on the reference's bins when there is a reference.

    `connection`: the one they were admitted with, when it is still open; else the snapshot is read.
    """
    if connection is not None and admission.shards:
        return profile_queries.profile(connection, _shard_counts(admission, connection), like)
    if connection is not None:
        return profile_queries.build(connection, admission.table, admission.schema, like)
    return profile_of_snapshot(admission.snapshot, admission.schema, workdir, like)


def counting(like: Profile | None) -> CountRows:
    """What `admit` calls for each shard of a large file, so that profile_of need not read the rows again. `like`: as there."""

    def count(connection: Any, relation: str, schema: Schema, folder: Path) -> None:
        row_counts.write(connection, RowCounts(relation, schema), folder, like)

    return count


def _shard_counts(admission: Admission, connection: Any) -> ShardCounts:
    schema = admission.schema

    def count_pairs(axes: Sequence[column_pairs.Axis]) -> Iterator[list[list[int]]]:
        for folder in admission.shards:
            counts = RowCounts(f"read_parquet({quote(str(folder / SNAPSHOT))})", schema)
            yield row_counts.count_pairs(connection, counts, axes, admission.rows_used)

    return ShardCounts(schema, admission.shards, count_pairs)


def profile_of_snapshot(snapshot: Path, schema: Schema, workdir: Path, like: Profile | None = None) -> Profile:
    """Profile of rows that were admitted before, from their Parquet file."""
    own = connect(workdir)
    try:
        return profile_queries.build(own, profile_queries.in_memory(own, snapshot), schema, like)
    finally:
        own.close()


def compare_files(reference: Path, new: Path, settings: Settings) -> Report:
    """Two files, no cloud. Raises RejectedUpload, whose message names the file, when one of them cannot be used."""
    sizes = [file.stat().st_size for file in (reference, new)]
    if max(sizes) > settings.data.limits.shard_bytes:
        return _compare_large_files(reference, new, settings)
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix="dropforge-"))) for _ in "ab"]
        # Small files are done before a second thread is of use; the two of them are read at the same time anyway.
        threads = 1 if max(sizes) < _SMALL else None
        first, second = (stack.enter_context(closing(connect(f, threads=threads, ordered=False))) for f in folders)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        output = Future[tuple[Schema, Levels]]()
        old = pool.submit(_reference, reference, settings, folders[0], first, output)
        schema, levels = output.result()
        fresh = _admit(new, settings, schema, folders[1], second, ReadingOptions(keep=False, known=levels))
        earlier, before = old.result()
        now = profile_of(fresh, folders[1], before, second)
        return _compared(earlier, before, fresh, now, new.name, settings)


def _compare_large_files(reference: Path, new: Path, settings: Settings) -> Report:
    """One after the other, shard by shard: memory and disk are those of a shard and of the accepted rows."""
    admissions, profiles = list[Admission](), list[Profile]()
    for file in (reference, new):
        like = profiles[0] if profiles else None
        schema = admissions[0].schema if admissions else None
        with TemporaryDirectory(prefix="dropforge-") as folder, closing(connect(Path(folder))) as connection:
            # Kept: hashes of rows that tell equal rows of both files, whichever of them is small.
            options = ReadingOptions(read_shards=in_turn(counting(like)))
            admission = _admit(file, settings, schema, Path(folder), connection, options)
            profiles.append(profile_of(admission, Path(folder), like, connection))
            admissions.append(admission)
    return _compared(admissions[0], profiles[0], admissions[1], profiles[1], new.name, settings)


def _compared(
    earlier: Admission, before: Profile, fresh: Admission, now: Profile, key: str, settings: Settings
) -> Report:
    provenance = Provenance(dataset_id=fresh.dataset_id, reference_id=earlier.dataset_id)
    earlier_rules = [{r.name: (r.rows, r.violations) for r in earlier.rules}]
    return report(before, now, intake_of(fresh, key, earlier_rules), settings, provenance)


def _reference(
    file: Path, settings: Settings, folder: Path, connection: Any, schema_known: Future[tuple[Schema, Levels]]
) -> tuple[Admission, Profile]:
    """The new file is read as soon as the schema is there, while the reference is still being counted."""
    try:
        old = _admit(
            file,
            settings,
            None,
            folder,
            connection,
            ReadingOptions(keep=False, announce=lambda *known: schema_known.set_result(known)),
        )
        return old, profile_of(old, folder, None, connection)
    except BaseException as error:
        if not schema_known.done():
            schema_known.set_exception(error)
        raise


def _admit(
    file: Path,
    settings: Settings,
    reference: Schema | None,
    folder: Path,
    connection: Any,
    options: ReadingOptions,
) -> Admission:
    try:
        return admit(
            file,
            data=settings.data,
            reference=reference,
            workdir=folder,
            connection=connection,
            options=options,
        )
    except RejectedUpload as error:
        raise RejectedUpload(f"{file}: {error.message}", code=error.code, fix=error.fix) from None


def report(
    reference: Profile | None,
    new: Profile,
    intake: Intake,
    settings: Settings,
    provenance: Provenance,
    importance: Mapping[str, float] | None = None,
) -> Report:
    """Compare and judge. Without a reference the report describes the new data and says it is the reference.

    `importance`: of the served model, by column, any scale; drift is ranked by it.
    """
    compared = profile_comparison.compare_profiles(reference, new, intake, settings.data, settings.analysis)
    columns, ties = _weighed(compared.columns, importance or {}), compared.associations
    drifted = {c.name for c in columns if c.outcome == "drift"}
    result = run_checks.ranked(
        [
            *run_checks.findings(CheckedTable(new, reference, compared, intake, settings.data, settings.analysis)),
            *pair_checks.findings(CheckedPairs(ties, frozenset(drifted), settings.data, settings.analysis)),
            *relation_changes.presence_leaks(new, settings.data),
        ]
    )
    return Report(
        project=settings.project,
        verdict=run_checks.verdict(result, columns, settings.analysis, has_reference=reference is not None),
        intake=intake,
        provenance=provenance.model_copy(
            update={"code_version": __version__, "settings_sha256": settings.sha256, "target": settings.data.target}
        ),
        rows_reference=reference.rows if reference else None,
        duplicates=new.duplicates,
        conflicts=new.conflicts,
        shared_with_reference=shared_rows(reference, new)[0] if reference else None,
        columns=tuple(columns),
        associations=relation_changes.shown(ties, settings.data.target),
        matrix=relation_changes.matrix(ties, settings.data.target),
        over_time=time_section.time_report(reference, new, settings.data),
        findings=result,
        processing=suggested_preprocessing.block(result, settings),
    )


def _weighed(columns: list[ColumnReport], importance: Mapping[str, float]) -> list[ColumnReport]:
    """Drift that matters: effect times the column's share of what the served model relies on."""
    positive = {k: max(0.0, v) for k, v in importance.items()}
    total = sum(positive.values())
    if not total:
        return columns
    weighed = []
    for c in columns:
        share = positive.get(c.name, 0.0) / total if c.role == "feature" else None
        matters = None if share is None or c.effect_corrected is None else share * c.effect_corrected
        weighed.append(c.model_copy(update={"importance": share, "matters": matters}))
    return weighed
