"""The report as one typed value. HTML, JSON, command line and API render this; none of them computes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dropforge.analysis.timeline import Unit

Severity = Literal["info", "warn", "critical"]
Outcome = Annotated[
    Literal["drift", "no_drift", "insufficient_data", "not_compared"],
    BeforeValidator(lambda v: "insufficient_data" if v == "too_few_rows" else v),  # as reports of version 2 have it
]
VerdictWord = Literal["pass", "warn", "block", "reference"]

SCHEMA_VERSION = 2


class Fact(BaseModel):
    """Base of the report's values: immutable; fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RuleOutcome(Fact):
    """How the rows fared under one rule of data.columns or data.rules. `before`: pass rates of earlier uploads, oldest first."""

    name: str
    expect: str
    action: str
    columns: tuple[str, ...] = ()
    rows: int
    violations: int
    tolerance: float = 0.0
    before: tuple[float, ...] = ()
    z: float | None = Field(
        default=None, description="change of the share of violations, in standard errors; positive: more of them"
    )

    @property
    def pass_rate(self) -> float:
        """Fraction of the rows that hold it, 0 to 1; 1 where there are no rows."""
        return 1.0 - self.violations / self.rows if self.rows else 1.0

    @property
    def moved(self) -> bool:
        """Whether the fraction of violations changed by more than four standard errors."""
        return self.z is not None and abs(self.z) > 4.0

    @property
    def exceeded(self) -> bool:
        """Whether a rule that only watches has more violations than it tolerates."""
        return self.action != "quarantine" and self.violations > self.tolerance * self.rows


class Intake(Fact):
    """What admission did with the file."""

    key: str
    format: str
    delimiter: str = ""
    encoding: str = ""
    bytes: int = 0
    rows_in: int
    rows_used: int
    rows_quarantined: int
    reasons: dict[str, int] = Field(default_factory=dict)
    first_rejects: tuple[dict[str, Any], ...] = ()
    missing: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="column → marker → cells, as found in the file"
    )
    header: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()
    extra_strength: dict[str, float] = Field(
        default_factory=dict, description="of columns that the reference lacks: Cramér's V with the target"
    )
    extra_agreement: dict[str, float] = Field(
        default_factory=dict,
        description="of columns that the reference lacks: fraction of rows of the most frequent class of their value",
    )
    absent_columns: tuple[str, ...] = ()
    rules: tuple[RuleOutcome, ...] = ()
    notes: tuple[dict[str, Any], ...] = ()


class Bars(Fact):
    """Two distributions over the same bins, as shares of the rows that are not missing."""

    labels: tuple[str, ...]
    reference: tuple[float, ...] = ()
    new: tuple[float, ...] = ()


class ColumnReport(Fact):
    """One column of the upload beside the reference. Shares are of all rows; effects have no unit."""

    name: str
    kind: str
    role: Literal["feature", "target", "ignored"]
    rows: int
    missing_share: float
    missing_share_reference: float | None = None
    distinct: int
    summary: dict[str, float | str | None] = Field(default_factory=dict)
    summary_reference: dict[str, float | str | None] = Field(default_factory=dict)
    outcome: Outcome = "not_compared"
    test: str = ""
    p_value: float | None = None
    significant: bool = Field(
        default=False, description="corrected for all tests of the report (weighted Benjamini-Hochberg)"
    )
    effect: float | None = Field(
        default=None, description="normalised Wasserstein (numeric) or total variation, observed"
    )
    effect_expected: float | None = Field(default=None, description="its mean at these sizes without any drift")
    effect_corrected: float | None = None
    smallest_detectable: float | None = Field(default=None, description="effect found with 80 % power at these sizes")
    psi: float | None = None
    others: dict[str, bool] = Field(
        default_factory=dict, description="drift by the published default rules of other tools, for comparison"
    )
    importance: float | None = Field(
        default=None, description="share of the served model's permutation importance, 0 to 1"
    )
    matters: float | None = Field(default=None, description="corrected effect times importance")
    bars: Bars = Bars(labels=())


class TimePoints(Fact):
    """One value a period; None where too few rows have one. Starts and ends in seconds since 1970 (UTC), ascending."""

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    values: tuple[float | None, ...] = ()
    errors: tuple[float | None, ...] = Field(default=(), description="standard errors; none of counts")


class TimeSeries(Fact):
    """Something of the rows by period: their number, a fraction (0 to 1) or a mean."""

    title: str
    kind: Literal["rows", "fraction", "mean", "missing"]
    column: str = Field(default="", description="that it is about; empty for rows")
    reference: TimePoints = TimePoints()
    new: TimePoints = TimePoints()


class TimeReport(Fact):
    """The upload and the reference over time, by the periods of one datetime column."""

    column: str
    unit: Unit = Field(description="length of the reference's periods, of the upload's without a reference")
    unit_new: Unit = Field(description="length of the upload's periods; its rows are given per `unit`")
    outside: tuple[int, int] = Field(
        default=(0, 0), description="rows dated before, and after, the periods that are shown"
    )
    series: tuple[TimeSeries, ...]


class Association(Fact):
    """How strongly two columns belong together (Cramér's V over coarse bins, bias-corrected), and whether that changed."""

    first: str
    second: str
    strength: float
    pearson: float | None = Field(
        default=None, description="two numbers, or a number and a binary target's positive class"
    )
    spearman: float | None = Field(default=None, description="two numbers: rank correlation over coarse bins")
    ratio: float | None = Field(default=None, description="correlation ratio η of a number given the target's class")
    strength_reference: float | None = None
    p_value: float | None = Field(
        default=None, description="that the association is the same, whatever the single columns did"
    )
    effect: float = Field(
        default=0.0, description="share of rows in other cells than the reference's association predicts, beyond chance"
    )
    significant: bool = Field(
        default=False, description="the test rejects that it is the same, corrected for all tests"
    )
    changed: bool = Field(default=False, description="significant, and of enough rows to be drift")


class Matrix(Fact):
    """Strength of association of every pair of these columns, shape [columns, columns], 1 on the diagonal."""

    columns: tuple[str, ...] = ()
    strengths: tuple[tuple[float, ...], ...] = ()


class Finding(Fact):
    """Something a person should know, with evidence and what to do about it."""

    kind: str
    severity: Severity
    columns: tuple[str, ...]
    title: str
    evidence: str
    suggestion: str
    weight: float = 0.0
    processing: dict[str, Any] | None = Field(
        default=None, description="the step for settings.yaml that follows the suggestion"
    )
    change: bool = Field(
        default=False, description="says that the file differs from the reference, not what the file is like"
    )


class Verdict(Fact):
    """pass, warn, block or reference, with its reasons."""

    word: VerdictWord
    reasons: tuple[str, ...]
    headline: str = Field(default="", description="the verdict and the findings in one sentence")


class Provenance(Fact):
    """Which upload, data sets and settings the report is about."""

    upload_id: str = ""
    dataset_id: str = ""
    reference_id: str = ""
    target: str = ""
    settings_sha256: str = ""
    code_version: str = ""
    run_url: str = ""
    created_at: str = ""


class FindingKey(Fact):
    """Which finding it is: its kind, and the columns it is about."""

    kind: str
    columns: tuple[str, ...] = ()


class ReportSummary(Fact):
    """An earlier report, as far as the next one compares itself with it. `quarantined`: fraction of the file's rows."""

    upload_id: str
    key: str
    created_at: str = ""
    verdict: VerdictWord
    rows: int
    quarantined: float = 0.0
    drifted: tuple[str, ...] = ()
    findings: tuple[FindingKey, ...] = ()


class Report(Fact):
    """Everything the analysis says about one upload."""

    schema_version: int = SCHEMA_VERSION
    project: str
    verdict: Verdict
    intake: Intake
    provenance: Provenance
    rows_reference: int | None = None
    duplicates: int = 0
    conflicts: int = 0
    shared_with_reference: float | None = Field(
        default=None, description="share of the distinct rows that the reference has too, estimated from a sketch"
    )
    columns: tuple[ColumnReport, ...]
    associations: tuple[Association, ...] = Field(
        default=(), description="changed pairs, then the strongest; those with the target first"
    )
    matrix: Matrix = Matrix()
    over_time: TimeReport | None = Field(default=None, description="where there is a datetime column")
    findings: tuple[Finding, ...]
    previous: ReportSummary | None = Field(default=None, description="the report of the upload before this one")
    processing: str = Field(default="", description="a `processing:` block for settings.yaml, from the findings")

    @property
    def top_actions(self) -> tuple[Finding, ...]:
        """The findings for the first screen, weightiest first; information alone asks for nothing."""
        asking = [f for f in self.findings if f.severity != "info"]
        return tuple(asking[:5])

    @property
    def drifted(self) -> tuple[ColumnReport, ...]:
        """Names of the columns that drifted."""
        return tuple(c for c in self.columns if c.outcome == "drift")
