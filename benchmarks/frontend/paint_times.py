"""Milliseconds until the web app of a running local cloud shows something: first paint, then every tab's content.

    make bench-web-app     `make demo` first; needs Chromium
    python benchmarks/frontend/paint_times.py [--rounds 5] [--url http://127.0.0.1:8501] [--json FILE]

Each round opens the page in a browser context of its own (nothing cached), waits for the form of the tab Predict, and chooses one
tab after the other, once each. A tab's time begins with the click. `content`: its main part is on the screen (the list of uploads
with the chosen one, the leaderboard with the active model, health with traffic); `all`: so is what takes longest (the report, the
model card, drift over uploads) and nothing says that it waits. The page's own clock is read, frame by frame.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge_cli.target import Target

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser import chromium

# By tab: selectors of its content, and of what comes last. Every one of them has to be visible.
TABS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Data": (("#uploads [data-pick]", "#upload h2"), ("#report iframe",)),
    "Models": (("#leaderboard [data-pick]", "#active h2", "#ledger table"), ("#model-card iframe", "#compared table")),
    "Monitoring": (("#health .df-tile", "#traffic table"), ("#live .df-card", "#drift .df-card", "#problems .df-card")),
    "Predict": (("#lead .df-lead", "#predict"), ()),
}
# Clicks a tab and reports, of two lists of selectors, when all were in sight; a part that says it waits is not.
WATCH = """
async ([tab, content, all]) => {
  const inSight = (selector) => [...document.querySelectorAll(selector)].some(
    (e) => e.checkVisibility({visibilityProperty: true}) && !e.querySelector(".df-wait"));
  const done = (selectors) => selectors.every(inSight);
  const frame = () => new Promise((next) => requestAnimationFrame(next));
  const started = performance.now();
  if (tab) [...document.querySelectorAll('[role=tab]')].find((e) => e.textContent.trim() === tab && e.checkVisibility()).click();
  const times = [];
  for (const selectors of [content, [...content, ...all]]) {
    while (!done(selectors)) {
      if (performance.now() - started > 60000) throw new Error("not shown: " + selectors.filter((s) => !inSight(s)));
      await frame();
    }
    await frame();
    times.push(performance.now() - (tab ? started : 0));
  }
  return times;
}
"""
PAINTS = "performance.getEntriesByType('paint').map((e) => [e.name, e.startTime])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="else that of the running local cloud")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    url = arguments.url or Target.find().outputs["FrontendUrl"]
    measured: dict[str, list[float]] = defaultdict(list)
    with chromium() as browser:
        for _ in range(arguments.rounds):
            for name, milliseconds in visit(browser, url).items():
                measured[name].append(milliseconds)
    figures = [
        {"part": name, "median_ms": round(statistics.median(times)), "max_ms": round(max(times)), "first_ms": round(times[0])}
        for name, times in measured.items()
    ]  # fmt: skip
    for f in figures:
        print(
            f"{f['part']:24}median {f['median_ms']:6,} ms   longest {f['max_ms']:6,} ms   first {f['first_ms']:6,} ms"
        )
    print(f"{arguments.rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.json:
        recorded.write(arguments.json, figures)


def visit(browser: Any, url: str) -> dict[str, float]:
    """Milliseconds of one visit by the name of what was waited for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(url, wait_until="commit")
    opened = page.evaluate(WATCH, ["", *TABS["Predict"]])
    times = {name.replace("-", " "): start for name, start in page.evaluate(PAINTS)}
    times["Predict at opening"] = opened[0]
    for tab, selectors in TABS.items():
        content, everything = page.evaluate(WATCH, [tab, *selectors])
        times[f"{tab}: content"] = content
        if selectors[1]:
            times[f"{tab}: all"] = everything
    context.close()
    return times


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as missing:  # there is no Chromium, and its words say what to install
        sys.exit(f"error: {missing}")
