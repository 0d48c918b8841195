"""A model card as one self-contained HTML page: no script, no address of any other machine, every value escaped."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
.bar{display:inline-block;height:.7rem;background:#3a6ea5}p.note{color:#555}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}p.note{color:#aaa}}
"""


def render(card: dict[str, Any]) -> str:
    """The page of a card as `card.card` makes it."""
    title = f"{card['model']} - {card['project']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table(
            ("", ""), [(k, _text(card[k])) for k in ("run_id", "dataset_id", "target", "train_rows", "heldout_rows")]
        ),
        "<h2>Held-out metrics</h2>",
        _table(("metric", "value", "95 % interval"), [_metric(k, v, card) for k, v in card["metrics"].items()]),
        "<h2>Confusion</h2>",
        _confusion(card["confusion"]),
        *_slices(card["slices"]),
        f"<h2>Permutation importance ({escape(card['importance']['metric'])} lost)</h2>",
        _importance(card["importance"]["columns"]),
        "<h2>Parameters</h2>",
        _table(("parameter", "value"), [(k, _text(v)) for k, v in card["params"].items()]),
        "<h2>Serving bundle</h2>",
        _table(("check", "value"), [(k, _text(v)) for k, v in card["parity"].items()]),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _metric(name: str, value: float, card: dict[str, Any]) -> tuple[str, ...]:
    low_high = card["intervals"].get(name)
    return name, _text(value), f"{_text(low_high[0])} to {_text(low_high[1])}" if low_high else ""


def _confusion(confusion: dict[str, Any]) -> str:
    head = ("true \\ predicted", *confusion["classes"])
    rows = zip(confusion["classes"], confusion["counts"], strict=True)
    return _table(head, [(name, *(str(c) for c in counts)) for name, counts in rows])


def _slices(slices: list[dict[str, Any]]) -> list[str]:
    if not slices:
        return []
    scores = [k for k in dict.fromkeys(k for s in slices for k in s) if k not in {"column", "value", "rows"}]
    rows = [(f"{s['column']} = {s['value']}", str(s["rows"]), *(_text(s.get(k, "")) for k in scores)) for s in slices]
    note = '<p class="note">Slices of few rows are counted, not scored.</p>'
    return ["<h2>Slices by sensitive columns</h2>", _table(("slice", "rows", *scores), rows), note]


def _importance(columns: list[dict[str, Any]]) -> str:
    if not columns:
        return '<p class="note">Too few rows of some class.</p>'
    largest = max(*(c["mean"] for c in columns), 1e-12)  # something to divide by when nothing matters
    rows = "".join(
        f"<tr><td>{escape(c['column'])}</td><td>{c['mean']:.4f} ± {c['std']:.4f}</td>"
        f'<td style="text-align:left"><span class="bar" style="width:{max(c["mean"], 0) / largest * 16:.2f}rem"></span></td></tr>'
        for c in columns
    )
    return f"<table><tr><th>column</th><th>loss</th><th></th></tr>{rows}</table>"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
