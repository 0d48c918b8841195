"""Live traffic judged by the same engine as uploads: features against the reference, predictions against the held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dropforge.analysis import profile_comparison, profile_queries
from dropforge.analysis.checks import run_checks
from dropforge.analysis.checks.table_checks import CheckedTable
from dropforge.analysis.column_pairs import Pairs
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import ColumnReport, Finding, Intake, Verdict
from dropforge.config.settings import Settings
from dropforge.datasets.table_schema import Column, Schema
from dropforge.ingest.duckdb_connection import quote
from dropforge.monitoring import traffic_table

if TYPE_CHECKING:
    from dropforge.inference.bundle_manifest import BundleManifest

PREDICTIONS: Final = Schema(
    columns=(Column(name="prediction", kind="category"), Column(name="probability", kind="number")), target="prediction"
)
NUMBERS: Final = Schema(columns=(Column(name="prediction", kind="number"),), target="prediction")  # of a regression
# What can be said of requests: repeated rows, rare categories and the like are matters of a training set.
_REPORTED: Final = frozenset(
    (
        "drift", "target_drift", "target_drift_severe", "shift", "new_category", "vanished_category", "out_of_range",
        "missing_increase", "missing_decrease", "frequent_value", "time_of_day", "time_gap", "encoding_damage",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """Reports of the features (and of the target, where labels are known) and of the predictions; what follows from them."""

    features: tuple[ColumnReport, ...]
    predictions: tuple[ColumnReport, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict


def judge(
    db: Any,
    rows: int,
    manifest: BundleManifest,
    settings: Settings,
    reference: tuple[Schema, Profile] | None,
    heldout: Path | None,
) -> Judged:
    """Of the rows in data.live's table. `heldout`: Parquet with the model's probabilities of its held-out rows (`p.{class}`).

    What there is nothing to compare with is left out.
    """
    features, result = _features(db, rows, manifest, settings, reference) if reference else ([], [])
    predictions, about = _predictions(db, rows, manifest, settings, heldout) if heldout else ([], [])
    output = run_checks.ranked([*about, *result])
    columns = [*features, *predictions]
    return Judged(
        tuple(features),
        tuple(predictions),
        output,
        run_checks.verdict(output, columns, settings.analysis, has_reference=True),
    )


def _features(
    db: Any, rows: int, manifest: BundleManifest, settings: Settings, reference: tuple[Schema, Profile]
) -> tuple[list[ColumnReport], list[Finding]]:
    schema, profile = reference
    used = {f.name for f in manifest.features} | {schema.target}
    schema = Schema(columns=tuple(c for c in schema.columns if c.name in used), target=schema.target).widened()
    like = profile.model_copy(update={"columns": tuple(c for c in profile.columns if c.name in used), "pairs": Pairs()})
    new = profile_queries.build(db, traffic_table.typed(db, manifest, schema), schema, like)
    reports, findings = _compared(like, new, rows, settings)
    labelled = any(c.name == schema.target and c.present for c in new.columns)
    # Labels come late: rows without one are no sign of anything.
    return (
        [c for c in reports if c.name != schema.target or labelled],
        [f for f in findings if schema.target not in f.columns or (labelled and not f.kind.startswith("missing_"))],
    )


def _predictions(
    db: Any, rows: int, manifest: BundleManifest, settings: Settings, heldout: Path
) -> tuple[list[ColumnReport], list[Finding]]:
    before = traffic_table.answers(db, "answers_before", f"read_parquet({quote(str(heldout))})", manifest)
    now = traffic_table.answers(db, "answers_now", traffic_table.ROWS, manifest, label="prediction")
    schema = NUMBERS if manifest.regression is not None else PREDICTIONS
    like = profile_queries.build(db, before, schema).model_copy(update={"pairs": Pairs()})
    return _compared(like, profile_queries.build(db, now, schema, like), rows, settings)


def _compared(like: Profile, new: Profile, rows: int, settings: Settings) -> tuple[list[ColumnReport], list[Finding]]:
    intake = Intake(key="live traffic", format="jsonl", rows_in=rows, rows_used=rows, rows_quarantined=0)
    compared = profile_comparison.compare_profiles(like, new, intake, settings.data, settings.analysis)
    result = run_checks.findings(CheckedTable(new, like, compared, intake, settings.data, settings.analysis))
    return compared.columns, [f for f in result if f.kind in _REPORTED]
