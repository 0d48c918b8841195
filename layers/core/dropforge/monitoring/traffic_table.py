"""Rows of live traffic as a table: captured JSON lines and the Parquet made of earlier ones, each row once, with its label.

Parquet columns: prediction_id, row, at, prediction, `p.{class}` (schema.probability_columns), `x.{feature}` (as a file with
this column writes it), actual (NULL while not known), bundle_uri (of the model), shadow (scored after another had
answered), source (the object that the row came in).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge.datasets.table_schema import ROW_HASH, Schema, probability_columns
from dropforge.ingest import cell_parsing
from dropforge.ingest.duckdb_connection import name, quote
from dropforge.ingest.text_table import field_name

if TYPE_CHECKING:
    from dropforge.inference.bundle_manifest import BundleManifest

ROWS, TYPED, LABELS = "live", "live_typed", "late_labels"
_LINE = (
    "{prediction_id: 'VARCHAR', 'row': 'INTEGER', 'at': 'VARCHAR', label: 'VARCHAR', bundle_uri: 'VARCHAR', "
    "shadow: 'BOOLEAN', source: 'VARCHAR', "
    "probabilities: 'MAP(VARCHAR, DOUBLE)', features: 'MAP(VARCHAR, VARCHAR)'}"
)


def read_ground_truth(db: Any, lines: Path) -> int:
    """Late labels as a table, of several for one row the last one sent; returns how many rows have one."""
    columns = "{prediction_id: 'VARCHAR', 'row': 'INTEGER', label: 'VARCHAR', 'at': 'VARCHAR'}"
    db.execute(
        f'CREATE OR REPLACE TABLE {LABELS} AS SELECT prediction_id, "row", arg_max(label, "at") AS actual '
        f"FROM read_json({quote(str(lines))}, format = 'newline_delimited', columns = {columns}) GROUP BY ALL"
    )
    return int(db.execute(f"SELECT count(*) FROM {LABELS}").fetchone()[0])


def sources(db: Any, compacted: Path) -> dict[str, str]:
    """The objects whose rows are in the Parquet already, each with the bundle that answered."""
    rows = db.execute(f"SELECT DISTINCT source, bundle_uri FROM read_parquet({quote(str(compacted))})").fetchall()
    return {str(source): str(bundle) for source, bundle in rows}


def read(db: Any, lines: Path | None, compacted: Path | None, manifest: BundleManifest) -> int:
    """The rows of both as table `live`, in order of time; a row that came twice is one. Returns their number.

    `read_labels` comes first. `lines`: captured lines, each with the `source` it came from.
    """
    kinds = {
        "prediction_id": "VARCHAR",
        "row": "INTEGER",
        "at": "VARCHAR",
        "prediction": "VARCHAR",
        "bundle_uri": "VARCHAR",
    }
    kinds |= {
        "shadow": "BOOLEAN",
        "source": "VARCHAR",
        **dict.fromkeys(probability_columns(manifest.classes), "DOUBLE"),
    }
    kinds |= {f"x.{f.name}": "VARCHAR" for f in manifest.features}
    # No row, every column: a Parquet of an earlier version may lack one that came later.
    parts = [f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name(c)}' for c, kind in kinds.items())} WHERE false"]
    if compacted is not None:
        parts.append(f"SELECT * EXCLUDE (actual) FROM read_parquet({quote(str(compacted))})")
    if lines is not None:
        columns = zip(manifest.classes, probability_columns(manifest.classes), strict=True)
        chances = "".join(f", probabilities[{quote(c)}] AS {name(column)}" for c, column in columns)
        values = "".join(f", features[{quote(f.name)}] AS {name(f'x.{f.name}')}" for f in manifest.features)
        read = f"read_json({quote(str(lines))}, format = 'newline_delimited', columns = {_LINE})"
        predicted = "label AS prediction, bundle_uri, shadow, source"
        parts.append(f'SELECT prediction_id, "row", "at", {predicted}{chances}{values} FROM {read}')
    union = " UNION ALL BY NAME ".join(parts)
    first = 'QUALIFY row_number() OVER (PARTITION BY prediction_id, "row" ORDER BY "at", source) = 1'
    db.execute(
        f"CREATE OR REPLACE TABLE {ROWS} AS SELECT u.* REPLACE (coalesce(u.shadow, false) AS shadow), l.actual "
        f"FROM (SELECT * FROM ({union}) {first}) u "
        f'LEFT JOIN {LABELS} l USING (prediction_id, "row") ORDER BY u."at", u.prediction_id, u."row"'
    )
    return int(db.execute(f"SELECT count(*) FROM {ROWS}").fetchone()[0])


def write(db: Any, file: Path) -> Path:
    """Table `live` as Parquet."""
    db.execute(f"COPY {ROWS} TO {quote(str(file))} (FORMAT parquet, COMPRESSION zstd)")
    return file


def typed(db: Any, manifest: BundleManifest, schema: Schema) -> str:
    """Features (and the label as target) of table `live` by the kinds of `schema`, whose columns are features and the target;
    whole numbers as numbers.

    A value that is not of its kind counts as missing: the model read it by its own rules already.
    """
    features = {f.name: f for f in manifest.features}
    wanted = [c for c in schema.widened().columns if c.name != schema.target]
    plain = ", ".join(f"{name(f'x.{c.name}')} AS {field_name(i)}" for i, c in enumerate(wanted))
    rows = cell_parsing.layered(
        f'(SELECT prediction_id, "row", actual, {plain} FROM {ROWS})',
        [
            cell_parsing.Cells(
                field_name(i),
                features[c.name].missing_markers,
                c.numeric,
                c.number_format,
            )
            for i, c in enumerate(wanted)
        ],
        keep=("prediction_id", '"row"', "actual"),
    )
    typed = [f"CAST({cell_parsing.parsed(i, c.kind)} AS {c.physical}) AS {name(c.name)}" for i, c in enumerate(wanted)]
    typed += [f"actual AS {name(schema.target)}", f'hash(prediction_id, "row") AS {name(ROW_HASH)}']
    db.execute(f"CREATE OR REPLACE TABLE {TYPED} AS SELECT {', '.join(typed)} FROM {rows}")
    return TYPED


def answers(db: Any, table: str, relation: str, manifest: BundleManifest, label: str = "") -> str:
    """Predictions of a relation with `p.{class}` columns as a table: prediction (from `label`, or decided) and probability
    (of the positive class; of the likeliest one where there is none); of a regression the number alone, from `label` or `predicted`.
    """
    if manifest.regression is not None:
        db.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT TRY_CAST({label or 'predicted'} AS DOUBLE) AS prediction, "
            f"CAST(row_number() OVER () AS UBIGINT) AS {name(ROW_HASH)} FROM {relation}"
        )
        return table
    chances = [name(column) for column in probability_columns(manifest.classes)]
    if manifest.positive_class:
        score = chances[manifest.classes.index(manifest.positive_class)]
        other = next(c for c in manifest.classes if c != manifest.positive_class)
        decided = (
            f"CASE WHEN {score} >= {manifest.threshold!r} THEN {quote(manifest.positive_class)} ELSE {quote(other)} END"
        )
    else:
        score = f"greatest({', '.join(chances)})"
        listed = ", ".join(quote(c) for c in manifest.classes)
        decided = f"list_extract([{listed}], list_position([{', '.join(chances)}], {score}))"
    # The rows' identity is of no use here, but a profile wants one.
    db.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT CAST({label or decided} AS VARCHAR) AS prediction, "
        f"CAST({score} AS DOUBLE) AS probability, CAST(row_number() OVER () AS UBIGINT) AS {name(ROW_HASH)} FROM {relation}"
    )
    return table


def facts(db: Any, manifest: BundleManifest) -> dict[str, Any]:
    """Counts of table `live`: requests, first and last time, labels as predicted, rows whose label is known."""
    classes = manifest.classes
    usable = (
        "TRY_CAST(actual AS DOUBLE) IS NOT NULL"
        if manifest.regression is not None
        else f"actual IN ({', '.join(quote(c) for c in classes)})"
    )
    row = db.execute(
        f'SELECT count(DISTINCT prediction_id), min("at"), max("at"), count(actual), '
        f"count(*) FILTER (actual IS NOT NULL AND NOT ({usable})), "
        f"count(*) FILTER (shadow), count(actual) FILTER (NOT shadow) FROM {ROWS}"
    ).fetchone()
    counts = dict(db.execute(f"SELECT prediction, count(*) FROM {ROWS} GROUP BY 1").fetchall())
    return {
        "requests": int(row[0]),
        "first_at": row[1],
        "last_at": row[2],
        "labelled": int(row[3]),
        "labels_of_no_class": int(row[4]),
        "shadow_rows": int(row[5]),
        "answered_labelled": int(row[6]),
        "predictions": {c: int(counts.get(c, 0)) for c in classes},
    }


def score(db: Any, manifest: BundleManifest) -> dict[str, Any] | None:
    """Accuracy, and for binary targets the area under the ROC curve (Mann-Whitney, ties count half), of the labelled rows;
    of a regression rmse and mae.

    None while there are none; roc_auc is None while one class is absent.
    """
    if manifest.regression is not None:
        apart = "TRY_CAST(actual AS DOUBLE) - TRY_CAST(prediction AS DOUBLE)"
        n, squared, absolute = db.execute(
            f"SELECT count({apart}), avg(pow({apart}, 2)), avg(abs({apart})) FROM {ROWS}"
        ).fetchone()
        return {"rows": int(n), "rmse": float(squared) ** 0.5, "mae": float(absolute)} if n else None
    known = ", ".join(quote(c) for c in manifest.classes)
    rows = f"(SELECT * FROM {ROWS} WHERE actual IN ({known}))"
    n, right = db.execute(f"SELECT count(*), count(*) FILTER (actual = prediction) FROM {rows}").fetchone()
    if not n:
        return None
    auc = None
    if manifest.positive_class:
        p = name(probability_columns(manifest.classes)[manifest.classes.index(manifest.positive_class)])
        positive = f"actual = {quote(manifest.positive_class)}"
        ranked = f"(SELECT actual, rank() OVER (ORDER BY {p}) + (count(*) OVER (PARTITION BY {p}) - 1) / 2.0 AS r FROM {rows})"
        ranks, pos = db.execute(
            f"SELECT sum(r) FILTER ({positive}), count(*) FILTER ({positive}) FROM {ranked}"
        ).fetchone()
        if 0 < pos < n:
            auc = float((ranks - pos * (pos + 1) / 2) / (pos * (n - pos)))
    return {"rows": int(n), "accuracy": right / n, "roc_auc": auc}
