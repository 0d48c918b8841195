"""The pictures and numbers of a model card, whatever the unit of the target."""

from __future__ import annotations

import re

import pytest

from dropforge_training.card import style, svg_charts

LARGEST = 393_603.4567  # a price


def _texts(picture: str) -> list[tuple[float, float, str]]:
    """Of each level text: its left and right end by its anchor, about 6 units a letter, and what it says."""
    ends = []
    for x, rest, text in re.findall(r'<text x="([-\d.]+)"([^>]*)>([^<]*)</text>', picture):
        length = 6 * len(text)
        left = float(x) - {"end": length, "middle": length / 2}.get(rest.partition('anchor="')[2].partition('"')[0], 0)
        ends.append((left, left + length, text))
    return ends


@pytest.mark.parametrize(
    "picture",
    [
        svg_charts.bars([("floor area", LARGEST, 9_000.0), ("age", -12_345.678, 20.0)], title="bars"),
        svg_charts.whiskers([("all", LARGEST, -LARGEST, 2 * LARGEST)], title="whiskers"),
        svg_charts.scatter([(-LARGEST, 0.1), (LARGEST, LARGEST)], x="predicted", y="observed", title="scatter"),
        svg_charts.histogram([-LARGEST, 0.0, LARGEST / 3], [3, 4], x="difference", title="histogram"),
        svg_charts.beeswarm([{"column": "age", "points": [(-LARGEST, 0.1), (LARGEST, 1.0)]}], title="beeswarm"),
        svg_charts.line([(1.0, LARGEST), (20.0, LARGEST / 2)], x="s", title="line"),
    ],
    ids=["bars", "whiskers", "scatter", "histogram", "beeswarm", "line"],
)
def test_no_text_of_a_picture_is_cut_off(picture: str) -> None:
    """Numbers in the hundred thousands stand inside the picture, without an exponent."""
    width = float(picture.partition('viewBox="0 0 ')[2].split()[0])
    texts = _texts(picture)
    assert texts
    assert [t for t in texts if t[0] < -2 or t[1] > width + 2 or re.search(r"\de[+-]", t[2])] == []


@pytest.mark.parametrize(
    ("value", "sign", "expected"),
    [
        (0.91543, "", "0.9154"),
        (19_767.1234, "", "19,767"),
        (9_999.6, "", "10,000"),
        (-1_543.33, "+", "-1,543"),
        (0.0000037, "", "3.7e-06"),
        (0.0, "+", "+0.0000"),
    ],
)
def test_numbers_have_four_digits_that_can_be_read(value: float, sign: str, expected: str) -> None:
    """Decimals of a score, thousands of an amount; only what would read as zero has an exponent."""
    assert style.number(value, sign) == expected


def test_ticks_are_round_numbers_inside_the_range() -> None:
    """Steps of one, two or five; a range of one value has that value."""
    assert svg_charts.ticks(11_600.0, 396_000.0) == [(100_000.0, "100k"), (200_000.0, "200k"), (300_000.0, "300k")]
    assert [text for _, text in svg_charts.ticks(-0.4, 1.3)] == ["0", "0.5", "1"]
    assert svg_charts.ticks(3.0, 3.0) == [(3.0, "3.0000")]
