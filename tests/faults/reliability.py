"""Writes docs/reliability.md from what a run of the campaign measured.

    python tests/faults/reliability.py JUNIT.xml [--kills campaign.json] [--soak soak.json]
    python tests/faults/reliability.py --soak soak.json

The second form writes the soak alone anew, and leaves the rest as it was measured. With `--tests` it prints the tests outside this
folder that back a promise. Exit code 1 when a promise is broken or not tried.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promises import FAULTS, NOT_PROVEN, PROMISES, Promise

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """\
# Reliability: what is promised, how it was tried, what was measured

Written by `make faults`; every line is backed by tests that fail when the promise is broken (`make faults-mutations` breaks the
code on purpose and expects them to). Everything ran on one machine of two cores, on loopback, with the local cloud. `make test`
runs the same tests with smaller numbers.
"""


@dataclass
class Tried:
    passed: int = 0
    broken: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)


def read(junit: Path) -> dict[int, Tried]:
    """What the tests of each promise showed."""
    matches = {p.number: Tried() for p in (*PROMISES, *FAULTS)}
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - as above
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '')}"
        properties = [(p.get("name"), p.get("value", "")) for p in case.iter("property")]
        numbers = {int(v) for n, v in properties if n == "promise"}
        numbers |= {p.number for p in (*PROMISES, *FAULTS) if any(name.startswith(t) for t in p.tests)}
        for number in numbers & set(matches):
            if case.find("failure") is not None or case.find("error") is not None:
                matches[number].broken.append(name)
            elif case.find("skipped") is None:
                matches[number].passed += 1
                matches[number].figures += [v for n, v in properties if n == "figure"]
    return matches


def line(promise: Promise, tried: Tried, day: str) -> str:
    if tried.broken:
        output = f"**broken**: {', '.join(tried.broken)}"
    elif not tried.passed:
        output = "**not tried**"
    else:
        output = "; ".join(dict.fromkeys(tried.figures)) or "passed"  # how many tests stand behind it changes every day
    return f"| {promise.number} | {promise.words} | {promise.tried} | {output} | {day} |"


def table(promises: tuple[Promise, ...], attempts: dict[int, Tried], day: str) -> list[str]:
    head = ["| # | promise | tried by | figure | date |", "|---|---|---|---|---|"]
    return [*head, *(line(p, attempts[p.number], day) for p in promises)]


def kills(result: dict[str, Any]) -> list[str]:
    killed = ", ".join(f"{what} {n}×" for what, n in result["kills"].items())
    return [
        "## The campaign of kills",
        "",
        f"`tests/faults/campaign.py`, seed {result['seed']}: {result['uploads']} uploads, each delivered {result['replays']} times,"
        f" while processes were killed with SIGKILL ({killed}) and started again.",
        "",
        "| measured | |",
        "|---|---|",
        f"| uploads without a terminal state | {result['not_terminal']} of {result['uploads']} |",
        f"| ends | {', '.join(f'{n} {s}' for s, n in result['states'].items())} |",
        f"| rows in = used + quarantined | {result['rows_in']:,} = {result['rows_used']:,} + {result['rows_quarantined']:,} |",
        f"| rows lost | {result['rows_lost']} |",
        f"| versions, of which double | {result['versions']}, {result['duplicate_versions']} |",
        f"| reasons | {', '.join(f'{n} {c}' for c, n in result['codes'].items() if c != '-')} |",
        f"| executions started again | {sum(n for a, n in result['attempts'].items() if int(a) > 1)} |",
        f"| seconds | {result['seconds']} |",
        "",
    ]


def soak(result: dict[str, Any]) -> list[str]:
    answers, slopes = result["answers"], result["slopes_per_hour"]
    p50, p95, p99 = result["p50_p95_p99_ms"]
    rows = [
        f"| {part} | {s['memory_mb_at_end']} MB, {s['memory_mb']:+} ± {s['memory_mb_error']} MB/h"
        f" | {s['open_files_at_end']}, {s['open_files']:+} ± {s['open_files_error']}/h | {s['processes']} |"
        for part, s in slopes.items()
    ]
    return [
        "## The soak",
        "",
        f"`tests/faults/soak.py`: {result['minutes']} minutes, {result['callers']} callers over HTTP, {result['switches']} switches,"
        f" {result['uploads']} uploads beside them. {result['per_second']} predictions a second;"
        f" p50 {p50}, p95 {p95}, p99 {p99} ms; {sum(answers.values()):,} requests:"
        f" {', '.join(f'{n:,} {what}' for what, n in answers.items())}.",
        "Slopes are over the second half, ± their standard error with the correlation of samples that follow each other; in a"
        " short run they still hold what caches take while they fill.",
        "",
        "| part | memory at the end, slope | open files at the end, slope | processes seen |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def soak_anew(page: str, result: dict[str, Any], day: str) -> str:
    """The page with this soak in the place of its own, and its day on the promise it is the proof of."""
    before, _heading, rest = page.partition("## The soak\n")
    _, after, tail = rest.partition("\n## ")
    if not after:
        raise SystemExit("docs/reliability.md has no soak to replace: run `make faults` first")
    text = before + "\n".join(soak(result)) + after + tail
    return re.sub(r"(?m)^(\| 29 \|.*\| )[\d-]+( \|)$", rf"\g<1>{day}\g<2>", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("junit", type=Path, nargs="?")
    parser.add_argument("--tests", action="store_true")
    parser.add_argument("--kills", type=Path)
    parser.add_argument("--soak", type=Path)
    given = parser.parse_args()
    outside = sorted({t for p in PROMISES for t in p.tests if not t.startswith("tests/faults/")})
    if given.tests:
        sys.stdout.write("\n".join(outside) + "\n")
        return 0
    day = time.strftime("%Y-%m-%d")
    if given.junit is None:
        if not given.soak:
            parser.error("nothing to write: give JUNIT.xml, or --soak")
        PAGE.write_text(soak_anew(PAGE.read_text(), json.loads(given.soak.read_text()), day))
        return 0
    result = read(given.junit)
    lines = [HEAD, "## Promises", "", *table(PROMISES, result, day), "", "## Faults of the infrastructure", ""]
    lines += [*table(FAULTS, result, day), ""]
    for path, output in ((given.kills, kills), (given.soak, soak)):
        if path and path.exists():
            lines += output(json.loads(path.read_text()))
            number = 31 if output is kills else 29
            result[number].passed += 1
    if given.soak and given.soak.exists():
        lines = [x.replace("**not tried**", "see the soak") if x.startswith("| 29 |") else x for x in lines]
    lines += ["## Not proven off AWS", "", *(f"- {text}" for text in NOT_PROVEN), ""]
    PAGE.write_text("\n".join(lines))
    bad = [n for n, t in result.items() if t.broken or not t.passed]
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} written" + (f"; broken or not tried: {bad}\n" if bad else "\n"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
