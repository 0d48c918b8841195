"""The findings' remedies as a `processing:` block: ready to paste into settings.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dropforge.analysis.report_model import Finding
from dropforge.config.settings import Settings

_ORDER = ("missing", "cast", "merge", "drop", "rare", "clip", "log")


def block(findings: Iterable[Finding], settings: Settings) -> str:
    """YAML text, empty when nothing is suggested. Steps that settings.yaml has already are left out.

    A column that is dropped needs no other step; of two columns that say the same only one is dropped.
    """
    have = [step.model_dump(exclude_unset=True, mode="json") for step in settings.processing]
    dropped = {c for step in have for c in step.get("drop", ())} | set(settings.data.ignore)
    stored: set[str] = set()
    steps: list[tuple[dict[str, Any], str]] = []
    for finding in sorted(findings, key=_order):
        step = finding.processing
        if step is None or step in have or settings.data.target in _columns(step):
            continue
        if "drop" in step:
            if set(step["drop"]) & (dropped | stored):
                continue
            dropped |= set(step["drop"])
            stored |= set(finding.columns) - dropped
        steps.append((step, finding.title))
    lines = [
        f"  - {_flow(step)}  # {' '.join(title.split())}"
        for step, title in sorted(steps, key=lambda s: _ORDER.index(next(iter(s[0]))))
        if "drop" in step or not _columns(step) & dropped
    ]
    return "\n".join(["processing:", *lines]) + "\n" if lines else ""


def _order(finding: Finding) -> tuple[bool, float]:
    """What is dropped is decided first, the weightiest first."""
    return "drop" not in (finding.processing or {}), -finding.weight


def _columns(step: dict[str, Any]) -> set[str]:
    value = next(iter(step.values()))
    return set(value) if isinstance(value, list) else {value["column"]}


def _flow(step: dict[str, Any]) -> str:
    """JSON is YAML, and quotes every text that YAML would read as something else."""
    return json.dumps(step, ensure_ascii=False)[1:-1].replace('"', "", 2)
