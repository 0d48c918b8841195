"""docs/pictures/architecture.svg from the text below: boxes on a grid, arrows between them. `make docs`."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).with_name("architecture.svg")
# name: (column, row, title, second line, kind)
BOXES = {
    "client": (0, 0, "file", "CSV or Parquet", "outside"),
    "bucket": (1, 0, "S3 incoming/", "or POST /upload_data", "store"),
    "analyze": (2, 0, "analyze", "admit · quarantine · compare", "function"),
    "report": (3, 0, "report", "verdict: pass, warn, block", "store"),
    "flow": (2, 1, "Step Functions", "one job for each model", "flow"),
    "train": (1, 1, "training", "tune · fit · check · export", "container"),
    "conclude": (3, 1, "conclude", "gate · register · challenger", "function"),
    "mlflow": (3, 2, "MLflow", "runs, versions, aliases", "store"),
    "control": (2, 2, "control", "set_model · rollback · ledger", "function"),
    "active": (1, 2, "S3 serving/", "active version, ONNX bundle", "store"),
    "predict": (1, 3, "predict", "ONNX, no MLflow, no pickle", "function"),
    "caller": (0, 3, "your program", "POST /predict", "outside"),
    "person": (3, 3, "a person", "sets Production", "outside"),
}
ARROWS = [
    ("client", "bucket", ""),
    ("bucket", "analyze", ""),
    ("analyze", "report", ""),
    ("analyze", "flow", "unless blocked"),
    ("flow", "train", "task token"),
    ("flow", "conclude", ""),
    ("conclude", "mlflow", ""),
    ("person", "mlflow", "alias"),
    ("mlflow", "control", "resolve"),
    ("control", "active", "one write"),
    ("active", "predict", ""),
    ("caller", "predict", ""),
]
W, H, GAP_X, GAP_Y, PAD = 190, 62, 66, 52, 16
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2933 } .small { font-size: 11.5px; fill: #52606d }
  rect { stroke-width: 1.5; rx: 8 } .outside { fill: none; stroke: #9aa5b1; stroke-dasharray: 4 3 }
  .store { fill: #e6f0fa; stroke: #3e7cb1 } .function { fill: #fdf1dc; stroke: #c77d0a }
  .flow, .container { fill: #e9f5ec; stroke: #3a8a55 } path { fill: none; stroke: #52606d; stroke-width: 1.5 }
  marker path { fill: #52606d; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .small { fill: #9aa5b1 } .store { fill: #15293d } .function { fill: #3a2a0d }
    .flow, .container { fill: #14301d } path { stroke: #9aa5b1 } marker path { fill: #9aa5b1 } }
"""


def draw() -> str:
    """The picture; reads well in light and dark."""
    width = 4 * W + 3 * GAP_X + 2 * PAD
    height = 4 * H + 3 * GAP_Y + 2 * PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="A file goes into S3, is analysed, trained on, registered; a person sets the alias, predict answers">',
        f"<style>{STYLE}</style>",
        '<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
    ]
    parts += [_arrow(*arrow) for arrow in ARROWS]
    parts += [_box(*box) for box in BOXES.values()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _corner(column: int, row: int) -> tuple[int, int]:
    return PAD + column * (W + GAP_X), PAD + row * (H + GAP_Y)


def _box(column: int, row: int, title: str, below: str, kind: str) -> str:
    x, y = _corner(column, row)
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{W}" height="{H}"/>'
        f'<text x="{x + W / 2}" y="{y + 27}" text-anchor="middle" font-weight="600">{escape(title)}</text>'
        f'<text class="small" x="{x + W / 2}" y="{y + 46}" text-anchor="middle">{escape(below)}</text>'
    )


def _arrow(start: str, end: str, label: str) -> str:
    (c1, r1), (c2, r2) = BOXES[start][:2], BOXES[end][:2]
    (x1, y1), (x2, y2) = _corner(c1, r1), _corner(c2, r2)
    if r1 == r2:
        right = c2 > c1
        a, b, y = (x1 + W, x2, y1 + H / 2) if right else (x1, x2 + W, y1 + H / 2)
        path, at = f"M{a} {y}H{b - 2 if right else b + 2}", ((a + b) / 2, y - 6)
    else:
        down = r2 > r1
        x, a, b = x1 + W / 2, (y1 + H if down else y1), (y2 if down else y2 + H)
        path, at = f"M{x} {a}V{b - 2 if down else b + 2}", (x + 8, (a + b) / 2 + 4)
    anchor = "middle" if r1 == r2 else "start"
    words = (
        f'<text class="small" x="{at[0]}" y="{at[1]}" text-anchor="{anchor}">{escape(label)}</text>' if label else ""
    )
    return f'<path d="{path}" marker-end="url(#end)"/>{words}'


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
