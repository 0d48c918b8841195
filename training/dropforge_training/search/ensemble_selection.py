"""Which trials of a study make the ensemble of the last fit, by what they predicted for validation rows.

Greedy selection with replacement (Caruana, Niculescu-Mizil, Crew and Ksikes 2004): whatever improves the ensemble's score most is
added, again and again; how often a trial was added is its weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

_STEPS = 20
Outputs = Sequence[
    np.ndarray
]  # of one trial: what it predicts for each fold's validation rows, as models.model_spec.Trained


def select(
    outputs: Mapping[int, Outputs],
    blended: Callable[[Sequence[np.ndarray], Sequence[float]], np.ndarray],
    score: Callable[[int, np.ndarray], float],
    size: int,
    allows: Callable[[], bool] = lambda: True,
    fits: Callable[[Collection[int]], bool] = lambda _trials: True,
) -> dict[int, int]:
    """Weights of the chosen trials by number, the heaviest first; the best trial alone where nothing improves on it.

    outputs: by trial, of equally many folds, the best trial first. `blended`: what an ensemble of these outputs and weights
    predicts; `score`: of a fold by its place, larger is better. size: trials it may have. `allows`: whether time is left for
    another step. `fits`: whether an ensemble of these trials may be served; where none may alone, the best is taken.
    """
    best = Counter({next((t for t in outputs if fits([t])), next(iter(outputs))): 1})
    highest = _score(best, outputs, blended, score)
    current = best.copy()
    for _ in range(_STEPS):
        if not allows():
            break
        able = [t for t in outputs if t in current or (len(current) < size and fits([*current, t]))]
        scored = [(_score(current + Counter({t: 1}), outputs, blended, score), -i, t) for i, t in enumerate(able)]
        reached, _, added = max(scored)
        current[added] += 1
        if reached > highest:
            highest, best = reached, current.copy()
    return dict(best.most_common())


def cross_selected(
    outputs: Mapping[int, Outputs],
    blended: Callable[[Sequence[np.ndarray], Sequence[float]], np.ndarray],
    score: Callable[[int, np.ndarray], float],
    size: int,
    allows: Callable[[], bool] = lambda: True,
    fits: Callable[[Collection[int]], bool] = lambda _trials: True,
) -> list[np.ndarray]:
    """For each fold what an ensemble predicts that was selected without it: on every second fold, asked for the others.

    Whoever selects by rows and scores on them flatters the ensemble, and the more trials there are the more. Arguments as of
    `select`, of two folds at least.
    """
    folds = range(len(next(iter(outputs.values()))))
    crossed: dict[int, np.ndarray] = {}
    for first in (0, 1):
        inside = [f for f in folds if f % 2 == first]
        seen = {t: [o[f] for f in inside] for t, o in outputs.items()}

        def score_inside(place: int, output: np.ndarray, inside: Sequence[int] = inside) -> float:
            return score(inside[place], output)

        alone = {t: _score(Counter({t: 1}), seen, blended, score_inside) for t in seen}
        ranked = {t: seen[t] for t in sorted(seen, key=lambda t: -alone[t])}
        weights = select(ranked, blended, score_inside, size, allows, fits)
        for f in folds:
            if f % 2 != first:
                crossed[f] = blended([outputs[t][f] for t in weights], list(weights.values()))
    return [crossed[f] for f in folds]


def _score(
    weights: Counter[int],
    outputs: Mapping[int, Outputs],
    blended: Callable[[Sequence[np.ndarray], Sequence[float]], np.ndarray],
    score: Callable[[int, np.ndarray], float],
) -> float:
    """Mean over the folds of an ensemble's score."""
    folds = len(outputs[next(iter(weights))])
    each = list(weights.values())
    return float(np.mean([score(f, blended([outputs[t][f] for t in weights], each)) for f in range(folds)]))
