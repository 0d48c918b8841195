"""settings.yaml as one frozen, validated object.

Parsed once per process; every mistake names the key, its line and the fix.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from dropforge import metrics, safe_patterns, value_formats
from dropforge.config.finding_names import FindingName
from dropforge.config.frozen import Frozen
from dropforge.config.preprocessing_settings import ProcessingStep
from dropforge.config.yaml_errors import Location, dotted, explain, parse_with_lines
from dropforge.errors import SettingsError
from dropforge.metrics import Task

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _known_number_format(value: Any) -> Any:
    if isinstance(value, str):
        value_formats.written(value)
    return value


NumberFormat = Annotated[str, BeforeValidator(_known_number_format)]
ColumnType = Literal["integer", "number", "category", "text", "boolean", "datetime"]
ThresholdRule = Literal["max_f1", "max_youden", "max_mcc", "cost"]


def _known_metric(value: Any) -> Any:
    if value not in metrics.TUNED and not (isinstance(value, str) and metrics.is_own(value)):
        known = ", ".join(metrics.TUNED)
        raise ValueError(
            f"{value!r} is no metric; use one of {known}, or a function of your own: package.module:function"
        )
    return value


Metric = Annotated[str, BeforeValidator(_known_metric)]


class ColumnOverride(Frozen):
    """What a person knows better than the inference."""

    type: ColumnType | None = Field(None, description="what the column is, whatever its cells look like")
    min: float | None = Field(None, description="of a number; rows below it are quarantined")
    max: float | None = Field(None, description="of a number; rows above it are quarantined")
    categories: tuple[str, ...] | None = Field(
        None, min_length=1, description="older name of `values`, for categories and texts"
    )
    values: tuple[str | float | bool, ...] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="the only values allowed; rows with another one are quarantined",
    )
    pattern: str | None = Field(
        None, description="regular expression that a whole text matches; rows with another text are quarantined"
    )
    not_null: bool = Field(False, description="rows without a value are quarantined")
    unique: bool = Field(
        False, description="rows whose value another row of the file has too are quarantined, all of them"
    )
    role: Literal["feature", "ignored", "identifier", "sensitive"] = Field(
        "feature",
        description="ignored: no feature; identifier: no feature, not_null and unique; sensitive: a slice of the evaluation",
    )
    number_format: NumberFormat | None = Field(
        None,
        description="how a text file writes 1234.5 in this column, such as `1.234,5`, `$1,234.5`, `1234.5 kg`; "
        "none: decided over each whole file",
    )
    missing_markers: tuple[str, ...] | None = Field(
        None,
        description="read as missing in this column, instead of data.missing_markers; -999 also where it is -999.0",
    )

    @field_validator("pattern")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is not None:
            safe_patterns.check(value)
        return value

    @model_validator(mode="after")
    def _is_possible(self) -> ColumnOverride:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no value fits")
        if self.categories is not None and self.values is not None:
            raise ValueError("`categories` is the older name of `values`; write `values` only")
        return self


class RowRuleSettings(Frozen):
    """What is expected of every row, and what becomes of one that is otherwise."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w .-]{0,59}$", description="in reports, quarantined rows and answers")
    expect: str = Field(
        min_length=1,
        max_length=2000,
        description="condition in SQL over the row's columns; missing values violate nothing",
    )
    action: Literal["quarantine", "warn", "block"] = Field(
        "quarantine",
        description="quarantine: the row is quarantined; warn: the verdict warns; block: nothing is trained on the upload",
    )
    tolerance: Share = Field(0.0, description="of warn and block: the share of rows that may violate it")

    @model_validator(mode="after")
    def _tolerance_has_a_meaning(self) -> RowRuleSettings:
        if self.tolerance and self.action == "quarantine":
            raise ValueError(
                "tolerance is of warn and block; how many rows may be quarantined says data.limits.max_quarantined_share"
            )
        return self


class CsvSettings(Frozen):
    """How text files are read and written."""

    delimiter: Literal["auto", ",", ";", "\t", "|"] = "auto"
    encoding: str = Field(
        "utf-8",
        description="of text files: a name that Python knows, such as cp1252, cp1250, cp1251, latin-1, shift_jis",
    )
    columns: tuple[str, ...] = ()
    duplicate_names: Literal["reject", "number"] = Field(
        "reject", description="a header that names a column twice is rejected, or the second one is called name_2"
    )
    escape_formulas: bool = Field(
        True, description="an apostrophe before texts of written CSV files that a spreadsheet would run (=, +, -, @ …)"
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "a".encode(value)
            name = codecs.lookup(value).name
        except (LookupError, ValueError):
            raise ValueError(f"{value!r} is no encoding of text; utf-8, utf-16, cp1252 and latin-1 are usual") from None
        return name if name in {"utf-8", "utf-16"} else value


class Limits(Frozen):
    """Budgets that keep one upload within one function."""

    max_bytes: int = Field(2_000_000_000, gt=0)
    max_rows: int = Field(20_000_000, gt=0)
    max_columns: int = Field(2000, gt=0)
    max_field_bytes: int = Field(1_000_000, gt=0)
    shard_bytes: int = Field(
        256_000_000,
        gt=0,
        description="a text file with more bytes, or a Parquet file that unpacks to more, is analysed in pieces of about this size, "
        "in bounded memory",
    )
    max_quarantined_share: Share = 0.05


class PartsSettings(Frozen):
    """Which files under incoming/ are parts of one table, and when that is complete."""

    folders: Literal["auto", "all", "none"] = Field(
        "auto",
        description="files that are joined to one upload: auto: those named as writers of tables name parts (part-…, column=value/…); "
        "all: every file of a folder below incoming/; none: every file is an upload",
    )
    quiet_minutes: float = Field(
        90, ge=0, le=1440, description="without a _SUCCESS, a folder is complete when no part has come for so long"
    )
    success_minutes: float = Field(
        0.5, ge=0, le=60, description="with a _SUCCESS, when nothing has come for so long: parts may arrive after it"
    )


class DataSettings(Frozen):
    """What the columns are, and which rows are accepted."""

    target: str = Field(min_length=1)
    task: Task = Field(
        "classification", description="whether the target is a class, or a number to estimate: regression"
    )
    positive_class: str | None = None
    missing_markers: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    weight: str | None = Field(
        None,
        min_length=1,
        description="column of numbers that says how much a row counts, in fits and in scores; no feature then",
    )
    ignore: tuple[str, ...] = ()
    monotone: dict[str, Literal["increasing", "decreasing"]] = Field(
        default_factory=dict,
        description="columns with which the prediction, or the positive class's probability, may only rise, or only fall",
    )
    columns: dict[str, ColumnOverride] = Field(default_factory=dict)
    rules: tuple[RowRuleSettings, ...] = Field((), max_length=200, description="conditions that every row must meet")
    csv: CsvSettings = CsvSettings()
    sheet: str | None = Field(
        None,
        min_length=1,
        description="of Excel workbooks: which sheet is read; none: the first visible one that holds a table",
    )
    reference: str = Field("first", pattern=r"^(first|[0-9a-f]{16})$")
    history: Literal["append", "replace", "window"] = "append"
    window: int = Field(4, gt=0)
    parts: PartsSettings = PartsSettings()
    limits: Limits = Limits()

    @model_validator(mode="before")
    @classmethod
    def _roles_are_lists(cls, value: Any) -> Any:
        """A column's role stands in `ignore` and `sensitive`, where everything else looks."""
        if not isinstance(value, dict) or not isinstance(value.get("columns"), dict):
            return value
        roles = {str(c): o.get("role") for c, o in value["columns"].items() if isinstance(o, dict)}
        for key, wanted in (("ignore", {"ignored", "identifier"}), ("sensitive", {"sensitive"})):
            listed = value.get(key) or ()
            more = [c for c, role in roles.items() if role in wanted and c not in listed]
            if more and isinstance(listed, list | tuple):
                value = {**value, key: [*listed, *more]}
        return value

    @model_validator(mode="after")
    def _rule_names_differ(self) -> DataSettings:
        names = [r.name for r in self.rules]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two rules are named {', '.join(twice)}; names must differ")
        return self

    @model_validator(mode="after")
    def _target_is_no_other_column(self) -> DataSettings:
        if self.target in self.ignore:
            raise ValueError("the target cannot be in `ignore`")
        if self.target == self.weight:
            raise ValueError("the target cannot be the `weight` of its rows")
        if self.task == "regression" and self.positive_class is not None:
            raise ValueError("a regression has no positive_class; remove it, or set task: classification")
        return self


class AnalysisSettings(Frozen):
    """When a comparison warns or blocks."""

    false_discovery_rate: Share = 0.05
    effect_threshold: Share = 0.1
    near_constant_share: Share = 0.95
    strong_correlation: Share = 0.9
    warn_on: tuple[FindingName, ...] = (
        "drift",
        "joint_drift",
        "labels_weakened",
        "new_category",
        "missing_increase",
        "column_added",
        "type_changed",
        "leakage",
    )
    block_on: tuple[FindingName, ...] = ("column_removed", "target_drift_severe")
    approve_on: tuple[Literal["reference", "pass", "warn"], ...] = Field(
        (),
        description="verdicts with which an upload waits for `dropforge uploads approve`; reference: the first upload",
    )


class Budget(Frozen):
    """Tuning ends at whichever comes first."""

    trials: int = Field(20, gt=0, description="sets of parameters tried, by all workers together")
    seconds: float = Field(
        60,
        gt=0,
        description="wall time of a worker's whole job, up to the exported model; a trial in flight is ended early",
    )
    money: float | None = Field(None, gt=0, description="of all workers, in the currency and at the prices of `cost`")


class ModelSettings(Frozen):
    """One model to train, with its budget."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="registered as `{project}-{name}`")
    import_path: str = Field(
        alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="`package.module:Class` of a Candidate"
    )
    budget: Budget = Budget()
    workers: int = Field(1, ge=1, le=100, description="jobs that tune one study together")
    bag: int = Field(
        1,
        ge=1,
        le=20,
        description="ensemble size: members of the last fit, those that predict best together (tree_ensemble, xgboost)",
    )
    serve: Literal["onnx", "python"] = Field(
        "onnx", description="exported to ONNX, or, where a step cannot be, run by Python in a function of its own"
    )
    search: dict[str, Any] = Field(default_factory=dict, description="narrower ranges for the search, by parameter")


class TriggerSettings(Frozen):
    """When accepted uploads are trained: those of a burst together, once."""

    quiet_minutes: float = Field(
        0.2, ge=0, le=1440, description="train when no file has arrived for so long; 0: after every accepted file"
    )
    min_new_rows: int = Field(
        1, ge=1, description="and so many accepted rows wait for it; fewer wait for the next upload"
    )


class SplitSettings(Frozen):
    """Which rows no model sees before it is judged, and how tuning splits the others. It shall be as the model will be used."""

    by: Literal["random", "time", "group"] = Field(
        "random",
        description="random: rows by their hash; time: the newest rows are held out; group: whole groups are held out",
    )
    time: str | None = Field(
        None, min_length=1, description="column that orders the rows (dates or numbers), for by: time"
    )
    group: str | None = Field(None, min_length=1, description="column whose equal values stay together, for by: group")
    holdout: float | str | None = Field(
        None, description='fraction of the rows (of groups: of the groups), or by time also a span such as "30 days"'
    )

    @field_validator("holdout", mode="before")
    @classmethod
    def _fraction_or_span(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 0.9
        span = isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,4} (minutes|hours|days|weeks)", value)
        if value is not None and not number and not span:
            raise ValueError(
                f"{value!r} is neither a fraction between 0 and 0.9 nor a span of minutes, hours, days or weeks such as '30 days'"
            )
        return value

    @model_validator(mode="after")
    def _columns_fit(self) -> SplitSettings:
        if self.by != "random" and getattr(self, self.by) is None:
            raise ValueError(f"by: {self.by} needs `{self.by}`, the name of a column")
        for column in ("time", "group"):
            if self.by != column and getattr(self, column) is not None:
                raise ValueError(f"`{column}` has no effect with by: {self.by}; remove it, or set by: {column}")
        if isinstance(self.holdout, str) and self.by != "time":
            raise ValueError(f"holdout {self.holdout!r} is a span of time; set by: time, or a fraction such as 0.2")
        return self

    @property
    def column(self) -> str | None:
        """The column that orders or groups the rows."""
        return self.time or self.group


class TrainingSettings(Frozen):
    """How models are tuned, fitted and calibrated."""

    metric: Metric = Field(
        "roc_auc",
        description="what tuning optimises; of a regression rmse unless set; also package.module:function of your own",
    )
    holdout_share: float = Field(
        0.2, gt=0.0, lt=0.9, description="older name of `split.holdout`, which goes first where it is set"
    )
    seed: int = 20260101
    calibration: Literal["auto", "none", "temperature", "sigmoid", "isotonic"] = "auto"
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="how much a row of each class counts in fits: balanced, or {class: weight}; scores count rows alike",
    )
    derived_columns: bool = Field(
        True,
        description="whether models also get parts of dates, days between dates, target means of categories with 20 values and more",
    )
    phrases: int = Field(
        50,
        ge=0,
        le=500,
        description="columns for words and pairs of words of texts, over all text columns that are not ignored",
    )
    target_transform: Literal["auto", "none", "log1p"] = Field(
        "auto",
        description="of a regression: fit on sign(y)·ln(1 + |y|) (log1p), on the target (none), or what scores better (auto)",
    )
    rows_in_memory: int = Field(
        3_000_000,
        ge=100,
        description="most rows that a job holds in memory: of more it searches, calibrates and evaluates on a sample, chosen by the "
        "rows' hashes; XGBoost is then fitted on all training rows, read in batches, other models on the sample",
    )
    trigger: TriggerSettings = TriggerSettings()


class PromotionSettings(Frozen):
    """When a challenger is better than the active model."""

    metric: Metric = Field(
        "roc_auc", description="by which candidates are ranked and compared; of a regression rmse unless set"
    )
    minimum_gain: float = 0.0
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1.0,
        description="that no challenger is worse: for all candidates and all uploads on the same held-out rows together",
    )
    maximum_slice_loss: float = Field(
        0.02, ge=0.0, description="in units of the metric; of rmse and mae a fraction of the active model's"
    )
    auto_promote: bool = Field(False, description="whether a challenger is activated at once, without approval")


class Costs(Frozen):
    """What a wrong label costs, in any unit; used by `threshold: cost`."""

    false_positive: float = Field(1.0, gt=0)
    false_negative: float = Field(1.0, gt=0)


class PredictionRange(Frozen):
    """Of a regression: predictions and interval ends outside are set to the nearest end, in units of the target."""

    minimum: float | None = Field(None, description="no prediction is smaller; 0 for prices and counts")
    maximum: float | None = Field(None, description="no prediction is larger")

    @model_validator(mode="after")
    def _not_empty(self) -> PredictionRange:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is not below maximum {self.maximum:g}")
        return self


class CaptureSettings(Frozen):
    """What is kept of live traffic, for monitoring."""

    sample: Share = Field(0.0, description="fraction of requests captured with their responses; 0: none")


class ServingSettings(Frozen):
    """What the prediction API accepts and captures."""

    alias: str = Field("Production", pattern=r"^[A-Za-z][\w-]{0,63}$")
    max_rows: int = Field(1000, gt=0)
    max_body_bytes: int = Field(5_000_000, gt=0, le=6_000_000)
    max_milliseconds: float | None = Field(
        None,
        gt=0,
        description="that one row may take in the prediction API's predictor, on one core of the machine that trains: trials are "
        "selected by an estimate, the last fit is measured and has as many members as keep to it, one at least; none: no limit. "
        "`init` writes 2",
    )
    threshold: float | ThresholdRule = 0.5
    costs: Costs = Costs()
    prediction: PredictionRange = PredictionRange()
    capture: CaptureSettings = CaptureSettings()
    rules: Literal["warn", "refuse", "off"] = Field(
        "warn",
        description="of requests whose rows violate the rules that the model's data were held to: answered with a warning, "
        "or refused; in force from the next `dropforge set-model` on",
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_or_rule(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        if not number and value not in get_args(ThresholdRule):
            raise ValueError(
                f"{value!r} is neither a number from 0 to 1 nor one of {', '.join(get_args(ThresholdRule))}"
            )
        return value


Days = Annotated[int | None, Field(gt=0)]


class RetentionSettings(Frozen):
    """Days after which what lies below a prefix of the data bucket is deleted, with its older versions; none: kept."""

    incoming: Days = Field(None, description="raw uploads; their accepted rows stay in datasets/")
    batch: Days = Field(None, description="files to be scored")
    predictions: Days = Field(None, description="files of predictions")
    quarantine: Days = Field(None, description="rows that could not be read")
    captured: Days = Field(None, description="requests captured for monitoring; CaptureDays of the stack holds as well")


class CostSettings(Frozen):
    """List prices in `currency`, for estimates only. `as_of`: the day they were looked up."""

    as_of: date = date(2025, 1, 1)
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="of every price")
    region: str = Field("us-east-1", description="the prices are of this region")
    lambda_gb_second: float = Field(0.0000166667, ge=0, description="a function's memory for a second")
    lambda_million_requests: float = Field(0.20, ge=0, description="a million calls of functions")
    api_million_requests: float = Field(3.50, ge=0, description="a million requests to the API")
    s3_gb_month: float = Field(0.023, ge=0, description="a gigabyte stored for a month")
    s3_thousand_writes: float = Field(0.005, ge=0, description="a thousand objects written")
    s3_thousand_reads: float = Field(0.0004, ge=0, description="a thousand objects read")
    workflow_thousand_transitions: float = Field(0.025, ge=0, description="a thousand steps of the workflow")
    logs_gb: float = Field(0.50, ge=0, description="a gigabyte of log lines taken in")
    fargate_vcpu_hour: float = Field(0.04048, ge=0, description="a training container's core for an hour")
    fargate_gb_hour: float = Field(0.004445, ge=0, description="its gigabyte for an hour")
    worker_hour: float | None = Field(
        None, ge=0, description="a worker of your own for an hour; none: a Fargate task of the template"
    )


_SOURCE_KEYS: Final = {  # by kind: the key it needs, and those it may have besides
    "delta": ("uri",),
    "iceberg": ("uri",),
    "postgres": ("query", "increment", "secret"),
    "athena": ("query", "increment", "database", "workgroup"),
}


class SourceSettings(Frozen):
    """A table of another system, for `dropforge pull`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$", description="what `dropforge pull` is given")
    kind: Literal["delta", "iceberg", "postgres", "athena"] = Field(
        description="a Delta table, an Iceberg table, a query of a Postgres database, or a query on Athena"
    )
    uri: str = Field(
        "",
        description="of a Delta or Iceberg table: its address, s3://… or a path; of Iceberg also glue:database.table",
    )
    query: str = Field("", description="of postgres and athena: a SELECT")
    increment: str = Field(
        "",
        description="of postgres and athena: a column of the query that only grows, by which new rows are known; empty: all rows",
    )
    secret: str = Field(
        "",
        description="of postgres: a secret of Secrets Manager with host, port, dbname, username, password; empty: libpq's environment",
    )
    database: str = Field("", description="of athena: where tables without a database of their own are looked up")
    workgroup: str = Field(
        "primary",
        description="of athena: the workgroup, whose limits and prices hold; its limit of bytes per query is what bounds the cost",
    )

    @model_validator(mode="after")
    def _names_its_table(self) -> SourceSettings:
        needed, *also = _SOURCE_KEYS[self.kind]
        if not getattr(self, needed):
            raise ValueError(f"a source of kind {self.kind} needs `{needed}`")
        unused = self.model_fields_set - {"name", "kind", needed, *also}
        if unused:
            raise ValueError(f"`{min(unused)}` has no effect on a source of kind {self.kind}; remove it")
        return self

    @property
    def place(self) -> str:
        """What is read: another one is pulled from its beginning."""
        return self.uri or f"{self.query.strip()} {self.increment}" + (f" {self.database}" if self.database else "")


class Settings(Frozen):
    """The whole of settings.yaml. `sha256` names the exact text it came from."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{1,38}$")
    data: DataSettings
    analysis: AnalysisSettings = AnalysisSettings()
    processing: tuple[ProcessingStep, ...] = ()
    models: tuple[ModelSettings, ...] = Field(min_length=1)
    split: SplitSettings = SplitSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    serving: ServingSettings = ServingSettings()
    retention: RetentionSettings = RetentionSettings()
    cost: CostSettings = CostSettings()
    sources: tuple[SourceSettings, ...] = Field((), max_length=100, description="what `dropforge pull` brings")
    sha256: str = ""
    _location: Location = PrivateAttr(default=Location("settings.yaml", {}))

    def place(self, *path: str | int) -> str:
        """Where a key stands, for errors found after reading: `settings.yaml:12: models.0.search.max_depth`."""
        return f"{self._location.source}:{self._location.line(path)}: {dotted(path)}"

    @model_validator(mode="after")
    def _target_does_not_split(self) -> Settings:
        if self.split.column == self.data.target:
            raise ValueError(
                f"split.{self.split.by}: {self.data.target} is the target; rows cannot be split by what is predicted"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_metrics(cls, value: Any) -> Any:
        """A regression is tuned and compared by its own default metric where none is set."""
        if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
            return value
        if value["data"].get("task") != "regression":
            return value
        for part in ("training", "promotion"):
            section = value.get(part) or {}
            if isinstance(section, dict) and "metric" not in section:
                value = {**value, part: {**section, "metric": metrics.DEFAULT["regression"]}}
        return value

    @model_validator(mode="after")
    def _metrics_fit_the_task(self) -> Settings:
        for part, metric in (("training", self.training.metric), ("promotion", self.promotion.metric)):
            if not metrics.fits(metric, self.data.task):
                known = ", ".join(n for n in metrics.TUNED if metrics.fits(n, self.data.task))
                raise ValueError(
                    f"{part}.metric {metric} is not of a {self.data.task}; choose one of {known}, or correct data.task"
                )
        return self

    @model_validator(mode="after")
    def _target_is_not_processed(self) -> Settings:
        if any(self.data.target in step.columns for step in self.processing):
            raise ValueError(f"`processing` changes features only; {self.data.target} is the target")
        return self

    @model_validator(mode="after")
    def _model_names_differ(self) -> Settings:
        names = [m.name for m in self.models]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two models are named {', '.join(twice)}; names must differ")
        return self


def load(text: str | bytes, source: str = "settings.yaml") -> Settings:
    """Parse and validate the text of a settings.yaml.

    Raises SettingsError whose message has one line per mistake: `settings.yaml:12: data.target: …; fix: …`.
    """
    raw = text.encode() if isinstance(text, str) else text
    value, lines = parse_with_lines(raw, source)
    if isinstance(value, dict) and "sha256" in value:
        raise SettingsError(f"{source}:{lines[('sha256',)]}: sha256 is computed, not set", fix="remove the key")
    try:
        parsed = Settings.model_validate(value)
    except ValidationError as error:
        # A list whose items are wrong also reports itself as too short; the items say it better.
        real = [e for e in error.errors() if not (e["type"] == "too_short" and e["input"])]
        mistakes = [explain(Location(source, lines), e, Settings) for e in real]
        raise SettingsError(
            "\n".join(mistakes),
            code="settings_invalid",
            fix="correct the lines named; `dropforge settings check` validates the file",
        ) from None
    settings = parsed.model_copy(update={"sha256": hashlib.sha256(raw).hexdigest()})
    settings._location = Location(source, lines)
    return settings
