"""How often the gate promotes without a gain, and how often it finds a real one: python gate_simulation.py [--json FILE].

The product's own functions decide: comparison.compare on held-out rows, gate.judge and gate.choose on what it stores, looks.take
for the looks. Models are simulated: each gives a row a score, the row's common part plus one of its own, so that all models
of equal noise have the same AUC in the population and a held-out set knows them as well as it would real ones.

no gain: histories of uploads with K candidates each, all as good as the active model, on one held-out set that is used again and
again. `stays`: nobody promotes, the active model stays; `promotes`: a challenger becomes the active model. Share of the uploads
with a challenger; also by `per candidate`, the rule without correction (each candidate at 1 - confidence, every time).
gain: a look at 10,000 rows with a true gain of 0.005 AUC in one of K candidates; share of the draws in which it is found.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from dropforge.config.settings import PromotionSettings
from dropforge.messages import JobResult
from dropforge.metrics.weighted_rows import Rows
from dropforge.registry import gate_looks, promotion_gate
from dropforge_local.memory import MemoryStore
from dropforge_training.evaluate import metrics, paired_bootstrap

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

RULE = PromotionSettings(metric="roc_auc", minimum_gain=0.0, confidence=0.95)
CANDIDATES = 3
UPLOADS = 300


class HeldOutSet:
    """A held-out set and models of a wanted AUC on it: score = signal + common + own, a normal variate each.

    With d' = Φ⁻¹(AUC)·√2 between the classes in units of the noise; `common` is the part of the noise's variance that all
    models share, as models trained on the same rows do.
    """

    def __init__(self, rng: np.random.Generator, rows: int, positives: float, common: float) -> None:
        self.rng, self.common = rng, common
        self.y = (rng.random(rows) < positives).astype(np.int64)
        self.y[:2] = 0, 1
        self.shared = rng.normal(0, np.sqrt(common), rows)
        self.sketch = np.unique(rng.integers(0, 2**63, rows))[:200].tolist()

    def model(self, auc: float = 0.9) -> Rows:
        distance = NormalDist().inv_cdf(auc) * np.sqrt(2)
        noise = self.shared + self.rng.normal(0, np.sqrt(1 - self.common), len(self.y))
        p = 1 / (1 + np.exp(-(distance * self.y + noise - distance / 2)))
        return Rows(self.y, (p >= 0.5).astype(np.int64), np.column_stack([1 - p, p]), 1)


def compare(served: Rows, candidates: list[Rows], seed: int) -> tuple[list[JobResult], dict[str, dict[str, Any]]]:
    """What the candidates' jobs would store."""
    results, compared = [], {}
    for number, rows in enumerate(candidates):
        name = f"m{number}"
        slices = paired_bootstrap.compare(
            RULE.metric, rows, served, {}, paired_bootstrap.Resampling(RULE.confidence, seed, RULE.minimum_gain)
        )
        compared[name] = {
            "metric": RULE.metric,
            "minimum_gain": RULE.minimum_gain,
            "served": {"run_id": "active"},
            "reason": "",
            "slices": slices,
        }
        results.append(
            JobResult(
                model=name,
                run_id=name,
                model_source="s",
                bundle_uri="s3://b/k",
                bundle_sha256="0",
                predictions_uri="s3://b/p",
                metrics={RULE.metric: metrics.score(RULE.metric, rows)},
            )
        )
    return results, compared


def decide(served: Rows, candidates: list[Rows], look: int, seed: int) -> tuple[promotion_gate.Choice, list[float]]:
    """The gate's choice, and the p-value of each candidate."""
    results, compared = compare(served, candidates, seed)
    judged = promotion_gate.judge(results, compared, "active", RULE, look)
    return promotion_gate.choose(results, judged, RULE), [c["slices"][0]["p_value"] for c in compared.values()]


def history(seed: int, *, rows: int, positives: float, promotes: bool) -> dict[str, float]:
    """Shares of UPLOADS uploads without a gain that had a challenger, by the gate and by the uncorrected rule."""
    rng = np.random.default_rng(seed)
    held_out, store = HeldOutSet(rng, rows, positives, common=0.7), MemoryStore()
    active, run, result, uncorrected = held_out.model(), 0, 0, 0
    for number in range(UPLOADS):
        look = gate_looks.take(store, "b", f"run{run}", f"upload{number}", held_out.sketch)
        candidates = [held_out.model() for _ in range(CANDIDATES)]
        choice, p = decide(active, candidates, look, seed)
        uncorrected += min(p) <= 1 - RULE.confidence
        if choice.winner is not None:
            result += 1
            if promotes:
                active, run = candidates[int(choice.winner.model[1:])], run + 1
    return {"gate": result / UPLOADS, "per_candidate": uncorrected / UPLOADS}


def single_looks(draws: int, *, rows: int, positives: float) -> dict[str, float]:
    """Shares of first looks, each at rows of its own, with a challenger though nothing is gained."""
    result = uncorrected = 0
    for seed in range(draws):
        held_out = HeldOutSet(np.random.default_rng(10_000 + seed), rows, positives, common=0.7)
        choice, p = decide(held_out.model(), [held_out.model() for _ in range(CANDIDATES)], 1, seed)
        result += choice.winner is not None
        uncorrected += min(p) <= 1 - RULE.confidence
    return {"gate": result / draws, "per_candidate": uncorrected / draws}


def power(draws: int, levels: list[int], *, rows: int = 10_000, gain: float = 0.005) -> dict[int, float]:
    """By look: share of draws in which the one better candidate of three passes the gate."""
    passed = dict.fromkeys(levels, 0)
    for seed in range(draws):
        held_out = HeldOutSet(np.random.default_rng(50_000 + seed), rows, 0.25, common=0.7)
        candidates = [held_out.model(0.9 + gain), held_out.model(), held_out.model()]
        results, compared = compare(held_out.model(), candidates, seed)
        for look in levels:
            passed[look] += promotion_gate.judge(results, compared, "active", RULE, look)["m0"].verdict == "better"
    return {look: n / draws for look, n in passed.items()}


def histories(count: int, rows: int, *, promotes: bool) -> dict[str, Any]:
    """Mean and worst of `count` histories."""
    runs = [history(s, rows=rows, positives=0.25, promotes=promotes) for s in range(count)]
    return {
        "active_model": "promotes" if promotes else "stays",
        "histories": count,
        "rows": rows,
        "gate_mean": round(float(np.mean([r["gate"] for r in runs])), 4),
        "gate_worst": round(max(r["gate"] for r in runs), 4),
        "per_candidate_mean": round(float(np.mean([r["per_candidate"] for r in runs])), 4),
        "per_candidate_worst": round(max(r["per_candidate"] for r in runs), 4),
    }


PARTS = ("stays", "promotes", "single", "found")


def measure(part: str, given: argparse.Namespace) -> Any:
    """The figures of one part of the simulation."""
    if part in {"stays", "promotes"}:
        return histories(given.histories, given.rows, promotes=part == "promotes")
    if part == "single":
        return [
            {"rows": rows, "positives": share, "draws": given.draws}
            | single_looks(given.draws, rows=rows, positives=share)
            for rows, share in ((300, 0.25), (1000, 0.25), (1000, 0.03))
        ]
    return {"rows": 10_000, "gain": 0.005, "draws": given.draws, "share_by_look": power(given.draws, [1, 2, 10])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them when left out")
    parser.add_argument("--histories", type=int, default=4)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--json", type=Path, help="parts that are not measured keep what the file has of them")
    given = parser.parse_args()
    before = recorded.read(given.json) if given.json else None
    figures: dict[str, Any] = {**(before.figures if before else {}), "candidates": CANDIDATES, "uploads": UPLOADS}
    for part in given.parts or PARTS:
        figures[part] = measure(part, given)
        print(json.dumps({part: figures[part]}), flush=True)
        if given.json:
            recorded.write(given.json, figures)


if __name__ == "__main__":
    main()
