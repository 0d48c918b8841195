"""Labels that tell less of the features than they did, in one test over all features."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from dropforge.analysis.checks import label_changes
from dropforge.analysis.checks.silent_changes import Tested
from dropforge.analysis.column_pairs import Axis, Pair, Pairs

VALUES = 6


@dataclass(frozen=True)
class AppContext:
    """Rows of features that all depend on the class (`tie`) and on one hidden number (`common`: part of their variance)."""

    features: int
    classes: int
    tie: float
    common: float = 0.0

    def rows(self, count: int, rng: random.Random) -> list[list[int]]:
        """Codes of the features, the class last."""
        drawn = []
        for _ in range(count):
            label, hidden = rng.randrange(self.classes), rng.gauss(0, 1)
            row = []
            for f in range(self.features):
                own = math.sqrt(self.common) * hidden + math.sqrt(1 - self.common) * rng.gauss(0, 1)
                x = self.tie * math.sin(1 + 2 * label * (f + 1)) + own
                row.append(min(VALUES, max(1, 1 + int((x + 2.5) / 5 * VALUES))))
            drawn.append([*row, label + 1])
        return drawn

    def pairs(self, rows: Sequence[Sequence[int]]) -> Pairs:
        sizes = [VALUES + 2] * self.features + [self.classes + 2]
        names = [f"f{k}" for k in range(self.features)] + ["label"]
        counted = []
        for j in range(len(sizes)):
            for i in range(j):
                counts = [0] * (sizes[i] * sizes[j])
                for row in rows:
                    counts[row[i] * sizes[j] + row[j]] += 1
                counted.append(Pair(first=names[i], second=names[j], counts=tuple(counts)))
        axes = (Axis(name=n, values=tuple(map(str, range(s - 2)))) for n, s in zip(names, sizes, strict=True))
        return Pairs(axes=tuple(axes), pairs=tuple(counted))

    def flipped(self, rows: Sequence[Sequence[int]], fraction: float, rng: random.Random) -> list[list[int]]:
        """Rows of which a fraction have another class than theirs."""
        changed = [list(r) for r in rows]
        for row in rng.sample(changed, round(fraction * len(rows))):
            row[-1] = rng.choice([c for c in range(1, self.classes + 1) if c != row[-1]])
        return changed

    def tested(self, old: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> Tested:
        features = {f"f{k}" for k in range(self.features)}
        (result,) = label_changes.weakened(self.pairs(old), self.pairs(new), "label", features)
        return result


@pytest.mark.parametrize(
    "world",
    [
        AppContext(5, 2, 0.8),
        AppContext(5, 2, 1.5, common=0.6),
        AppContext(6, 5, 1.0, common=0.3),
        AppContext(1, 2, 1.0),
    ],
    ids=["independent", "correlated", "five_classes", "one_feature"],
)
def test_unchanged_labels_are_rejected_no_more_often_than_the_level(world: AppContext) -> None:
    """Of 30 clean pairs of files at most 5 have p <= 0.05: more would happen by chance less than once in a hundred times."""
    rng = random.Random(11)
    small = sum(world.tested(world.rows(400, rng), world.rows(200, rng)).p_value <= 0.05 for _ in range(30))
    assert small <= 5


@pytest.mark.parametrize(
    "world",
    [AppContext(5, 2, 0.8), AppContext(6, 5, 1.0, common=0.3), AppContext(1, 2, 1.5)],
    ids=["two", "five", "one_feature"],
)
def test_one_label_in_ten_is_reported_with_the_fraction(world: AppContext) -> None:
    """Flipped to another class: as many labels are as good as drawn at random; the evidence says how many."""
    rng = random.Random(5)
    old, new = world.rows(3000, rng), world.rows(3000, rng)
    result = world.tested(old, world.flipped(new, 0.1, rng))
    assert result.p_value < 1e-4
    predicted = float(result.finding.evidence.split("as if ")[1].split("%")[0]) / 100
    assert predicted == pytest.approx(0.1 * world.classes / (world.classes - 1), abs=0.06)
    assert result.finding.severity == "critical"


def test_a_feature_that_lost_its_tie_alone_is_no_matter_of_the_labels() -> None:
    """One of five features is shuffled: what the other four say of the label is as before, so that the finding names the one."""
    world, rng = AppContext(5, 2, 0.8), random.Random(2)
    old, new = world.rows(3000, rng), world.rows(3000, rng)
    shuffled = [r[0] for r in new]
    rng.shuffle(shuffled)
    result = world.tested(old, [[x, *r[1:]] for x, r in zip(shuffled, new, strict=True)])
    assert result.p_value < 1e-4
    assert (result.finding.kind, result.finding.columns) == ("target_association", ("f0", "label"))


def test_other_margins_are_no_weaker_tie() -> None:
    """Classes and values in other proportions, each class as before: the test is of the tie alone."""
    world, rng = AppContext(5, 2, 0.8), random.Random(3)
    old = world.rows(3000, rng)
    rare = [r for r in world.rows(6000, rng) if r[-1] == 1 or rng.random() < 0.3]
    assert world.tested(old, rare).p_value > 0.01


def test_features_alike_count_once() -> None:
    """Copies of one feature bring no certainty: three of them reject as one alone."""
    one, rng = AppContext(1, 2, 1.0), random.Random(4)
    old, new = one.rows(1500, rng), one.flipped(one.rows(1500, rng), 0.1, rng)
    three = AppContext(3, 2, 1.0)
    copied = [[[r[0]] * 3 + [r[1]] for r in rows] for rows in (old, new)]
    assert three.tested(*copied).p_value == pytest.approx(one.tested(old, new).p_value, rel=0.05)
