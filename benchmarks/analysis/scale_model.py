"""Analyses by shards beyond what was measured: figures of benchmarks/results/shards.json, scaled by rows, beside the quotas of AWS.

Two ways: one process reads shard after shard (as `dropforge analyze` does; in a function it would have the limits of one); a call of
the function for each shard, and attempts between them that plan, decide and merge what was counted (the cloud).
For each size it is named what breaks first. ASSUMED says what is assumed and not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIZES = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
SHARD_BYTES = 256_000_000
# Quotas of AWS (service quotas pages of Lambda and Step Functions, S3 user guide).
FUNCTION_SECONDS = 900
FUNCTION_DISK = 10_240 * 2**20
CONCURRENT_FUNCTIONS = 1_000
MAP_CHILDREN = 10_000
PUTS_PER_SECOND = 3_500  # of one prefix
FUNCTION_GB = 3008 / 1024
START_SECONDS = 3.0
S3_BYTES_PER_SECOND = 80e6
OBJECTS_OF_A_SHARD = 7
ASSUMED = (
    f"a function reads {S3_BYTES_PER_SECOND / 1e6:.0f} MB/s from S3, starts in {START_SECONDS:.0f} s and is as quick as the "
    f"measuring machine; {CONCURRENT_FUNCTIONS:,} functions run at once; a shard has {SHARD_BYTES / 1e6:.0f} MB of text and puts "
    f"{OBJECTS_OF_A_SHARD} objects"
)


@dataclass(frozen=True)
class Rates:
    """Seconds and bytes of one row, by the largest run."""

    text: float
    plan: float
    survey: float
    admit: float
    join: float
    merge: float
    counts: float
    snapshot: float

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Rates:
        """From one line of the result file."""
        rows = line["rows"]
        steps = (line[f"{k}_seconds"] / rows for k in ("plan", "survey", "admit", "join", "merge"))
        return cls(line["bytes"] / rows, *steps, line["counts_bytes"] / rows, line["snapshot_bytes"] / rows)


@dataclass(frozen=True)
class Estimate:
    """Of one way and size. `limits`: what it breaks, in the order in which that happens as tables grow; empty when it runs."""

    rows: int
    shards: int
    seconds: float
    function_seconds: float
    gigabytes: float
    limits: tuple[str, ...]

    def price(self, rates: Mapping[str, float]) -> float:
        """At the list prices of settings.yaml: functions and requests to S3, without storage."""
        return (
            self.function_seconds * FUNCTION_GB * rates["lambda_gb_second"]
            + self.shards * OBJECTS_OF_A_SHARD / 1000 * (rates["s3_thousand_writes"] + rates["s3_thousand_reads"])
            + 2 * self.shards / 1000 * rates["workflow_thousand_transitions"]
        )


def one_function(rows: int, rate: Rates) -> Estimate:
    """Download, plan, every shard after the other, join, merge."""
    per_row = rate.plan + rate.survey + rate.admit + rate.join + rate.merge
    seconds = START_SECONDS + rows * (rate.text / S3_BYTES_PER_SECOND + per_row)
    disk = rows * (rate.text + 2 * rate.snapshot + rate.counts)
    limits = {
        seconds / FUNCTION_SECONDS: f"time: {seconds:,.0f} s of {FUNCTION_SECONDS} s",
        disk / FUNCTION_DISK: f"disk: {disk / 1e9:,.0f} GB of {FUNCTION_DISK / 1e9:.1f} GB",
    }
    return Estimate(rows, _shards(rows, rate), seconds, seconds, rows * rate.text / 1e9, _exceeded(limits))


def one_function_a_shard(rows: int, rate: Rates) -> Estimate:
    """Two waves of calls over the shards, and one that merges what they counted. Each of the three attempts plans; the first stores
    the text in pieces.
    """
    shards = _shards(rows, rate)
    read, rows_of_shard = rate.text / S3_BYTES_PER_SECOND, rows / shards
    shard_seconds = 2 * START_SECONDS + rows_of_shard * (2 * read + rate.survey + rate.admit)
    again = START_SECONDS + rows * (read + rate.plan)
    plan = again + rows * read
    merge = again + rows * ((rate.counts + rate.snapshot) / S3_BYTES_PER_SECOND + rate.join + rate.merge)
    counts = rows * (rate.text + rate.counts + 2 * rate.snapshot)
    puts = min(shards, CONCURRENT_FUNCTIONS) * OBJECTS_OF_A_SHARD / (shard_seconds / 2)
    limits = {
        plan / FUNCTION_SECONDS: f"plan: {plan:,.0f} s of {FUNCTION_SECONDS} s",
        merge / FUNCTION_SECONDS: f"merge: {merge:,.0f} s of {FUNCTION_SECONDS} s",
        counts / FUNCTION_DISK: f"disk of the merge: {counts / 1e9:,.0f} GB of {FUNCTION_DISK / 1e9:.1f} GB",
        shards / MAP_CHILDREN: f"children of the map: {shards:,} of {MAP_CHILDREN:,}",
        puts / PUTS_PER_SECOND: f"puts to one prefix: {puts:,.0f}/s of {PUTS_PER_SECOND:,}/s",
    }
    seconds = plan + again + math.ceil(shards / CONCURRENT_FUNCTIONS) * shard_seconds + merge
    work = plan + again + shards * shard_seconds + merge
    return Estimate(rows, shards, seconds, work, rows * rate.text / 1e9, _exceeded(limits))


def _shards(rows: int, rate: Rates) -> int:
    return max(1, math.ceil(rows * rate.text / SHARD_BYTES))


def _exceeded(limits: Mapping[float, str]) -> tuple[str, ...]:
    """The one that is passed furthest was reached first."""
    return tuple(words for share, words in sorted(limits.items(), reverse=True) if share > 1)


def section(figures: Sequence[Mapping[str, Any]], sentence: str, prices: Mapping[str, float]) -> str:
    """The measured and the scaled table of docs/scale.md. `prices`: `cost` of settings.yaml."""
    largest = max(figures, key=lambda f: f["rows"])
    rate = Rates.of(largest)
    notes = "; ".join(dict.fromkeys(f["note"] for f in figures if f["note"]))
    a_row = (
        f"{rate.text:.0f} bytes of text, {rate.counts:.0f} bytes of counts and {rate.snapshot:.0f} bytes of snapshot"
    )
    return "\n".join(
        [
            "| rows | text | shards | seconds | plan | survey | admit | join | merge | memory | at once | memory | differ |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *map(_measured_line, figures),
            "",
            f"{sentence} {notes[:1].upper()}{notes[1:]}{'.' if notes else ''}",
            "",
            f"Scaled from {largest['rows']:,} rows, of which one is {a_row}. Assumed, not measured: {ASSUMED}.",
            "",
            "| rows | text | way | shards | time | functions | list price | breaks first |",
            "|---:|---:|---|---:|---:|---:|---:|---|",
            *(line for rows in SIZES for line in _scaled_lines(rows, rate, prices)),
            "",
        ]
    )


def _measured_line(f: Mapping[str, Any]) -> str:
    steps = [f"{f[f'{step}_seconds']:,.1f}" for step in ("plan", "survey", "admit", "join", "merge")]
    whole = ["not measured", "", ""]
    if "whole_seconds" in f:
        whole = [f"{f['whole_seconds']:,.0f}", f"{f['whole_peak_mb']:,} MB", str(f["different_fields"])]
    cells = [
        f"{f['rows']:,}",
        f"{f['bytes'] / 1e6:,.0f} MB",
        str(f["shards"]),
        f"{f['seconds']:,.0f}",
        *steps,
        f"{f['peak_mb']:,} MB",
        *whole,
    ]
    return f"| {' | '.join(cells)} |"


def _scaled_lines(rows: int, rate: Rates, prices: Mapping[str, float]) -> Iterator[str]:
    ways = {"one function, shard after shard": one_function, "a call a shard (the cloud)": one_function_a_shard}
    for name, way in ways.items():
        e = way(rows, rate)
        cells = [
            f"{rows:,}",
            f"{e.gigabytes:,.1f} GB",
            name,
            f"{e.shards:,}",
            f"{e.seconds / 60:,.0f} min",
            f"{e.function_seconds / 3600:,.1f} h",
        ]
        cells += [f"{e.price(prices):,.2f} USD", "; ".join(e.limits) or "nothing"]
        yield f"| {' | '.join(cells)} |"
