"""Admission to report, on local files: the same code in the cloud and in `dropforge analyze`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dropforge import __version__
from dropforge.analysis import checks, compare, profile, relations
from dropforge.analysis.facts import Intake, Provenance, Report
from dropforge.analysis.profile import Profile
from dropforge.data.admission import Admission
from dropforge.data.engine import connect
from dropforge.settings import Settings


def intake_of(admission: Admission, key: str) -> Intake:
    """What the report says about the reading of the file."""
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
        absent_columns=admission.absent_columns,
        notes=tuple(asdict(n) for n in admission.notes),
    )


def profile_of(admission: Admission, workdir: Path, like: Profile | None) -> Profile:
    """Profile of the admitted rows, on the reference's bins when there is a reference."""
    connection = connect(workdir)
    try:
        return profile.build(connection, admission.snapshot, admission.schema, like)
    finally:
        connection.close()


def report(
    reference: Profile | None, new: Profile, intake: Intake, settings: Settings, provenance: Provenance
) -> Report:
    """Compare and judge. Without a reference the report describes the new data and says it is the reference."""
    columns = compare.columns(reference, new, settings.data, settings.analysis, intake)
    ties = relations.associations(reference, new, settings.analysis)
    drifted = {c.name for c in columns if c.outcome == "drift"}
    about_ties = relations.findings(ties, drifted, settings.data, settings.analysis)
    found = checks.ranked(
        [*checks.findings(reference, new, columns, intake, settings.data, settings.analysis), *about_ties]
    )
    return Report(
        project=settings.project,
        verdict=checks.verdict(found, settings.analysis, has_reference=reference is not None),
        intake=intake,
        provenance=provenance.model_copy(
            update={"code_version": __version__, "settings_sha256": settings.sha256, "target": settings.data.target}
        ),
        rows_reference=reference.rows if reference else None,
        duplicates=new.duplicates,
        columns=tuple(columns),
        associations=relations.shown(ties, settings.data.target),
        findings=found,
    )
