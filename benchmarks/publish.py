"""The measured figures as docs/benchmarks.md and its pictures: python benchmarks/publish.py, after the benchmarks.

The figures come from benchmarks/results/*.json alone, each with the day it was measured inside.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks" / folder) for folder in ("", "training", "analysis", "tables")]
import recorded  # noqa: E402 - a folder of scripts, no package
import scale_model  # noqa: E402 - a folder of scripts, no package
import section  # noqa: E402 - a folder of scripts, no package
import table_results  # noqa: E402 - a folder of scripts, no package
from recorded import Recorded  # noqa: E402 - a folder of scripts, no package

RESULTS = ROOT / "benchmarks" / "results"
COLOURS = {"dropforge": "#2f6fde", "evidently": "#8b96a5", "ydata-profiling": "#c9cdd3"}
NAMES = {
    "adult": "Adult, 32,561 + 16,281 rows, 15 columns",
    "adult_2x1m": "Adult resampled, 1,000,000 + 1,000,000 rows",
    "census_kdd": "Census-Income (KDD), 199,523 + 99,762 rows, 42 columns",
    "adult_10m_1m": "Adult resampled, 10,000,000 + 1,000,000 rows",
}


def main() -> None:
    for file, text in pages().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every page and picture that the result files give, by its file."""
    pictures = ROOT / "docs" / "pictures"
    files: dict[Path, str] = {}
    parts: list[str] = []
    analysis, alarms = _results("analysis"), _results("false_alarms")
    if analysis and alarms:
        files[pictures / "analysis.svg"] = picture(analysis.figures)
        files[ROOT / "docs" / "comparison.md"] = comparison(analysis, alarms)
        parts.append(page(analysis, alarms))
    if measured := _results("clean_samples"):
        parts.append(clean_samples(measured))
    if measured := _results("silent_changes"):
        parts.append(silent_changes(measured))
    if measured := _results("serving"):
        parts.append(serving(measured))
    if measured := _results("batch"):
        parts.append(batch(measured))
    if measured := _results("training"):
        files[pictures / "training.svg"] = section.picture(measured.figures)
        parts.append(section.section(measured.figures, _results("workers"), _results("warm_start"), measured.sentence))
    parts += tables(files)
    if measured := _results("gate"):
        parts.append(section.gate(measured))
        files[ROOT / "docs" / "how-to" / "promote-and-roll-back.md"] = promotion(measured)
    for name, part in (("coverage", section.coverage), ("intervals", section.intervals), ("budget", section.budget)):
        if measured := _results(name):
            parts.append(part(measured))
    if measured := _results("uploads"):
        parts.append(uploads(measured))
        files[ROOT / "docs" / "adr" / "0001-upload-index.md"] = upload_index(measured)
    files |= scale(_results("shards"), _results("beyond_memory"))
    files[ROOT / "docs" / "benchmarks.md"] = "\n\n".join(part.strip() for part in parts) + "\n"
    return files


def tables(files: dict[Path, str]) -> list[str]:
    """The parts about tables of many kinds; their picture is added to `files`."""
    parts = []
    if measured := _results("tables"):
        files[ROOT / "docs" / "pictures" / "tables.svg"] = table_results.picture(measured.figures)
        parts.append(table_results.section(measured.figures, measured.sentence))
    if measured := _results("temporal"):
        parts.append(table_results.next_periods(measured.figures, measured.sentence))
    return parts


def _results(name: str) -> Recorded | None:
    """Figures of one benchmark; None when it has not run."""
    return recorded.read(RESULTS / f"{name}.json")


def comparison(analysis: Recorded, alarms: Recorded) -> str:
    """docs/comparison.md with the measured cells of its first table written anew; its other text is a person's."""
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    systems = ("dropforge", "evidently", "ydata-profiling")
    million = {f["system"]: f for f in analysis.figures if f["dataset"] == "adult_2x1m"}
    by_rows = {a["new_rows"]: a for a in alarms.figures}
    rows = {
        "1,000,000 + 1,000,000 rows: time": [f"{million[s]['wall_s']:.2f} s" for s in systems],
        "… peak memory": [f"{million[s]['peak_mb']:,.0f} MB" for s in systems],
        "… size of the report": [f"{million[s]['report_kb']:,.0f} kB" for s in systems],
        "false alarms: 50 clean rows, any column called drifted": [
            f"{by_rows[50]['columns']:.0%}",
            f"{by_rows[50]['evidently']:.0%}",
            "–",
        ],
    }
    for label, cells in rows.items():
        line = re.compile(rf"^\| {re.escape(label)} \|.*$", re.MULTILINE)
        if not line.search(text):
            raise SystemExit(f"docs/comparison.md has no row `{label}`")
        text = line.sub(f"| {label} | {' | '.join(cells)} |", text)
    return text


def promotion(measured: Recorded) -> str:
    """docs/how-to/promote-and-roll-back.md with its measured paragraph written anew; its other text is a person's."""
    file = ROOT / "docs" / "how-to" / "promote-and-roll-back.md"
    line = re.compile(r"^Measured on simulated uploads: .*$", re.MULTILINE)
    text = file.read_text(encoding="utf-8")
    if not line.search(text):
        raise SystemExit(f"{file.name} has no line `Measured on simulated uploads: …`")
    return line.sub(lambda _: section.promotions(measured), text)


def clean_samples(measured: Recorded) -> str:
    """The section about samples without drift of several tables."""
    figures = measured.figures
    lines = [
        "| table | columns | values a column | reference rows | new rows | reports | a column flagged | any change named |"
    ]
    lines.append("|---|---:|---|---:|---:|---:|---:|---:|")
    for f in figures:
        low, high = f["values"]
        lines.append(
            f"| {f['table']} | {f['columns']} | {low:,} to {high:,} | {f['reference_rows']:,} | {f['new_rows']:,} | {f['runs']} "
            f"| {f['flagged']} | {f['any_change']} |"
        )
    for size in dict.fromkeys(f["size"] for f in figures):
        of_size = [f for f in figures if f["size"] == size]
        runs = sum(f["runs"] for f in of_size)
        flagged, named = (sum(f[k] for f in of_size) for k in ("flagged", "any_change"))
        lines.append(
            f"| all | | | | {size:,} | {runs} | {flagged} ({flagged / runs:.1%}) | {named} ({named / runs:.1%}) |"
        )
    return f"""
## Columns of many values, nothing changed

`make bench-clean-samples`: disjoint random samples of one table, so that nothing drifted. A table that ends earlier gives fewer
new rows than asked for. {measured.sentence}

{chr(10).join(lines)}
"""


def silent_changes(measured: Recorded) -> str:
    """The section about changes that pass every check of form."""
    figures = measured.figures
    cases = figures["changes"]
    names = list(dict.fromkeys(c["change"] for c in cases))
    lines = ["| change | reported with its fraction of rows | not | as |", "|---|---:|---|---|"]
    for name in names:
        own = [c for c in cases if c["change"] == name]
        missed = ", ".join(f"{c['table']} ({c['rows']:,} rows)" for c in own if not c["with_share"])
        kinds = ", ".join(f"`{k}`" for k in dict.fromkeys(c["kind"] for c in own if c["with_share"]))
        lines.append(
            f"| {name.replace('_', ' ')} | {sum(c['with_share'] for c in own)} of {len(own)} | {missed} | {kinds} |"
        )
    return f"""
## Changes that pass every check of form

`make bench-silent-changes`: each of {len(names)} changes made in one half of a table, compared with the other half. It counts when a
finding names the column (or is of the change's own kind), is not there without the change, and says a fraction of rows.
Beside them {figures["clean_files"]} unchanged halves: {figures["false_findings"]} findings of change, in {figures["with_any"]}
of the files.
{measured.sentence}

{chr(10).join(lines)}
"""


def serving(measured: Recorded) -> str:
    """The section about predictions."""
    figures = measured.figures
    table = ["| system | rows | callers | start to first answer | p50 | p99 | a second | resident |"]
    table.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for f in figures:
        cold = "" if f["cold_s"] is None else f"{f['cold_s']:.2f} s"
        memory = "" if f["rss_mb"] is None else f"{f['rss_mb']:.0f} MB"
        table.append(
            f"| {f['system']} | {f['rows']} | {f['concurrency']} | {cold} | {f['p50_ms']:.2f} ms | {f['p99_ms']:.2f} ms "
            f"| {f['per_s']:,.0f} | {memory} |"
        )
    return f"""
## Predictions

`make bench-serving`: the prediction function under Lambda's own runtime client (awslambdaric, against a Runtime API server on loopback
that speaks the documented protocol) beside `mlflow models serve` of the same model version, one after the other on the same two cores.
At eight callers Lambda runs eight instances, and so does the function here; MLflow has its one server.
{measured.sentence}

{chr(10).join(table)}
"""


def batch(measured: Recorded) -> str:
    """The section about files under `batch/`."""
    figures = measured.figures
    table = ["| model | rows | system | wall | peak memory | labels differing |", "|---|---:|---|---:|---:|---:|"]
    table += [
        f"| {f['model']} | {f['rows']:,} | {f['system']} | {f['seconds']:.2f} s | {f['rss_mb']:.0f} MB "
        f"| {f.get('labels_differing', '')} |"
        for f in figures
    ]
    return f"""## Files of many rows

`make bench-batch`: rows of Adult drawn with replacement. The pipeline's predict_proba gets typed rows in memory; the batch step reads
the file, checks every cell, scores, and writes the file of predictions. Best of three (1,000,000 rows: once). {measured.sentence}

{chr(10).join(table)}
"""


def _upload_lines(figures: Sequence[dict[str, Any]]) -> str:
    table = [
        "| question | code | uploads | requests to S3 | median | p95 | times asked |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    table += [
        f"| {f['question']} | {f['code']} | {f['uploads']:,} | {f['requests']:,} | {f['median_ms']:,.0f} ms "
        f"| {f['p95_ms']:,.0f} ms | {f['repeats']} |"
        for f in sorted(figures, key=lambda f: (f["question"], f["code"] != "before"))
    ]
    return "\n".join(table)


def uploads(measured: Recorded) -> str:
    """The section about lists of many uploads."""
    return f"""
## Lists of many uploads

`make bench-uploads`: the product's own functions with the S3 adapter over an emulator on loopback that holds the records; *before* is
the code without the index (e7b3e57). The emulator is one Python process that answers a few hundred requests a second, so the numbers
of requests hold elsewhere and the times do not. {measured.sentence}

{_upload_lines(measured.figures)}
"""


def upload_index(measured: Recorded) -> str:
    """docs/adr/0001-upload-index.md with its measured table written anew; its other text is a person's."""
    text = (ROOT / "docs" / "adr" / "0001-upload-index.md").read_text(encoding="utf-8")
    head, begin, rest = text.partition("<!-- measured -->\n")
    _, end, tail = rest.partition("<!-- /measured -->\n")
    if not begin or not end:
        raise SystemExit("docs/adr/0001-upload-index.md has no place for its figures")
    return f"{head}{begin}{_upload_lines(measured.figures)}\n\n{measured.sentence}\n{end}{tail}"


def scale(shards: Recorded | None, beyond: Recorded | None) -> dict[Path, str]:
    """docs/scale.md with its measured tables written anew; its other text is a person's."""
    file = ROOT / "docs" / "scale.md"
    text = file.read_text(encoding="utf-8")
    if shards is not None:
        document = yaml.safe_load((ROOT / "settings.yaml").read_text(encoding="utf-8"))
        text = _filled(text, "measured", scale_model.section(shards.figures, shards.sentence, document["cost"]))
    if beyond is not None:
        text = _filled(text, "beyond memory", beyond_memory_table(beyond))
    return {file: text}


def _filled(text: str, place: str, tables: str) -> str:
    """The text with `tables` between the marks of the place."""
    head, begin, rest = text.partition(f"<!-- {place} -->\n")
    _, end, tail = rest.partition(f"<!-- /{place} -->\n")
    if not begin or not end:
        raise SystemExit(f"docs/scale.md has no place for its figures: {place}")
    return f"{head}{begin}{tables}{end}{tail}"


def beyond_memory_table(measured: Recorded) -> str:
    """A line for each number of rows."""
    lines = [
        "| rows | in memory | fit on the sample | ROC AUC | peak memory | fit on all | ROC AUC | peak memory | disk |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for f in measured.figures:
        each = [
            f"{f[f'{of}_fit_s']:.0f} s | {f[f'{of}_auc']:.4f} | {f[f'{of}_peak_mb']:,} MB" for of in ("sample", "all")
        ]
        lines.append(f"| {f['rows']:,} | {f['sample_rows']:,} | {each[0]} | {each[1]} | {f['disk_mb']:,} MB |")
    return "\n".join([*lines, "", measured.sentence, ""])


def page(analysis: Recorded, verdicts: Recorded) -> str:
    """The head of the document and its parts about comparing two files."""
    figures, alarms = analysis.figures, verdicts.figures
    speed = [
        "| data | system | wall | of Dropforge's | peak memory | report |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(f["dataset"] for f in figures):
        rows = [f for f in figures if f["dataset"] == name]
        own = next(f["wall_s"] for f in rows if f["system"] == "dropforge")
        for f in rows:
            ratio = "" if f["system"] == "dropforge" else f"{f['wall_s'] / own:.1f}×"
            title = NAMES[name] if f["system"] == "dropforge" else ""
            speed.append(
                f"| {title} | {f['system']} | {f['wall_s']:.2f} s | {ratio} | {f['peak_mb']:.0f} MB | {f['report_kb']:,.0f} kB |"
            )
    verdict = ["| new rows | any column flagged | any relation flagged | Evidently's rule | 0.5 SD shift found |"]
    verdict.append("|---:|---:|---:|---:|---:|")
    verdict += [
        f"| {a['new_rows']:,} | {a['columns']:.0%} | {a['relations']:.0%} | {a['evidently']:.0%} | {a['found']:.0%} |"
        for a in alarms
    ]
    return f"""# Measured

Written by `benchmarks/publish.py` from the benchmarks' figures; each part says when they were measured.

## Comparing two files

`make bench-analysis`: whole processes, the same CSV files, the same two cores, one after the other. Evidently 0.7.23 runs its
drift preset alone; ydata-profiling 4.18.4 profiles both files and compares them; Dropforge runs `dropforge analyze`.
{analysis.sentence}

{chr(10).join(speed)}

![Wall time of the three systems](pictures/analysis.svg)

## Is the verdict right?

`make bench-verdict`: {alarms[0]["runs"]} disjoint random samples of Adult for each size against 5,000 reference rows, so that nothing
drifted; and the same with `age` shifted by half a standard deviation. Evidently's rule is its published default on the same
counts. {verdicts.sentence}

{chr(10).join(verdict)}
"""


def picture(figures: Sequence[dict[str, Any]]) -> str:
    """Bars of wall time, one group a data set, each group on its own scale."""
    groups = [n for n in NAMES if sum(f["dataset"] == n for f in figures) > 1]
    parts, y = [], 8
    for name in groups:
        rows = [f for f in figures if f["dataset"] == name]
        longest = max(f["wall_s"] for f in rows)
        parts.append(f'<text x="8" y="{y + 14}" font-weight="600">{escape(NAMES[name])}</text>')
        y += 24
        for f in rows:
            width = max(2.0, 420 * f["wall_s"] / longest)
            parts.append(f'<text x="128" y="{y + 13}" text-anchor="end">{f["system"]}</text>')
            parts.append(
                f'<rect x="136" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{COLOURS[f["system"]]}"/>'
            )
            parts.append(f'<text x="{142 + width:.0f}" y="{y + 13}">{f["wall_s"]:.1f} s</text>')
            y += 24
        y += 12
    style = "<style>text{font:12px system-ui,sans-serif;fill:#444}@media (prefers-color-scheme:dark){text{fill:#ccc}}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {y}">{style}{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
