"""Tables to try the analysis on: the example data, tables that come with scikit-learn, one made here, or a folder's CSV files."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from dropforge.config import settings
from dropforge_cli.example_data import fetch

ROOT = Path(__file__).parents[2]
_MOST_ROWS = 12_000
_START = datetime(2024, 1, 1)  # noqa: DTZ001 - a file's timestamps have no zone
_CITIES = ("Zürich", "Genève", "Bern", "Köln", "Málaga", "Oslo", "Århus", "Łódź", "Rome", "Paris", "Lyon", "Graz")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text, row by row."""

    name: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    target: str

    @property
    def settings(self) -> settings.Settings:
        return settings.load(
            json.dumps(
                {
                    "project": "bench",
                    "data": {"target": self.target, "missing_markers": ["?", "NA"]},
                    "models": [{"name": "m", "class": "a.b:C"}],
                }
            )
        )


def write(file: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)
    return file


def tables(folder: Path | None = None, only: Sequence[str] | None = None) -> Iterator[Table]:
    """Tables of the folder (every CSV beside a `tables.json` that names its `target`), else the built-in ones."""
    listed = {t["name"]: t for t in json.loads((folder / "tables.json").read_text())} if folder else {}
    for name in names(folder, only):
        yield _read(name, folder / listed[name]["file"], listed[name]["target"]) if folder else BUILT_IN[name]()


def names(folder: Path | None = None, only: Sequence[str] | None = None) -> list[str]:
    """Names of the tables, or those of `only` among them."""
    known = [t["name"] for t in json.loads((folder / "tables.json").read_text())] if folder else [*BUILT_IN]
    return [n for n in known if only is None or n in only]


def _read(name: str, file: Path, target: str) -> Table:
    with file.open(newline="", encoding="utf-8") as f:
        reader = csv.reader(f)
        header = tuple(next(reader))
        rows = [tuple(r) for _, r in zip(range(_MOST_ROWS), reader, strict=False)]
    return Table(name, header, rows, target)


def _adult() -> Table:
    return _read("adult", fetch(ROOT / ".cache" / "data").reference, "income")


def _sklearn(name: str, step: int) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    header = (*(str(c).replace(" ", "_") for c in bunch.feature_names[::step]), "target")
    rows = [(*map(str, x[::step]), f"c{y}") for x, y in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True)]
    return Table(name, header, rows, "target")


def orders(count: int = 12_000, seed: int = 7) -> Table:
    """Orders of a shop: two timestamps, amounts with a long tail, names of 20,000 values, cities beyond ASCII, gaps."""
    rng = random.Random(seed)  # noqa: S311 - a table, no secret
    weights = [1 / (k + 3) ** 0.8 for k in range(20_000)]
    names = rng.choices([f"N{k:05d}" for k in range(20_000)], weights, k=count)
    hours = [1 + 8 * math.exp(-((h - 13) ** 2) / 18) for h in range(24)]
    rows = []
    for k in range(count):
        moment = _START + timedelta(days=rng.randrange(90), hours=rng.choices(range(24), hours)[0],
                                                  seconds=rng.randrange(3600))  # fmt: skip
        late = moment + timedelta(minutes=rng.gammavariate(3, 30))
        amount, quantity = rng.lognormvariate(3.5, 1.1), 1 + int(rng.expovariate(0.7))
        city, channel = rng.choices(_CITIES, range(len(_CITIES), 0, -1))[0], rng.choice(["web", "web", "shop", "phone"])
        discount = "" if rng.random() < 0.2 else f"{rng.betavariate(2, 8):.3f}"
        returned = rng.random() < 1 / (1 + math.exp(2.2 - 0.01 * amount - (channel == "web")))
        rows.append(
            (
                f"{moment:%Y-%m-%d %H:%M:%S}", f"{late:%Y-%m-%d %H:%M:%S}", names[k], city, channel, f"{amount:.2f}",
                str(quantity), f"{amount * quantity * rng.uniform(0.95, 1.05):.2f}", discount, "yes" if returned else "no",
            )
        )  # fmt: skip
    header = (
        "ordered_at",
        "delivered_at",
        "surname",
        "city",
        "channel",
        "amount",
        "quantity",
        "total",
        "discount",
        "returned",
    )
    return Table("orders", header, rows, "returned")


def codes(count: int = 12_000, seed: int = 3) -> Table:
    """Nothing but codes: 2 to 20,000 values, evenly frequent or as Zipf has it, as text and as numbers; two columns tied to others."""
    rng = random.Random(seed)  # noqa: S311 - a table, no secret
    columns: dict[str, list[str]] = {}
    for size in (2, 12, 150, 260, 2_000, 20_000):
        columns[f"even_{size}"] = [f"e{rng.randrange(size)}" for _ in range(count)]
        weights = [1 / (k + 1) for k in range(size)]
        columns[f"zipf_{size}"] = [f"z{k}" for k in rng.choices(range(size), weights, k=count)]
    columns["branch"] = [f"b{int(v[1:]) % 40}" for v in columns["zipf_2000"]]
    columns["number_3000"] = [str(k) for k in rng.choices(range(3_000), [1 / (k + 1) for k in range(3_000)], k=count)]
    columns["price"] = [f"{rng.choice((0, 4.99, 9.99, rng.lognormvariate(2, 1))):.2f}" for _ in range(count)]
    columns["class"] = [
        f"c{int(rng.random() < 0.2 + 0.5 * (a == 'z0') + 0.2 * (b == 'z1'))}"
        for a, b in zip(columns["zipf_12"], columns["zipf_150"], strict=True)
    ]
    return Table("codes", tuple(columns), list(zip(*columns.values(), strict=True)), "class")


BUILT_IN: dict[str, Callable[[], Table]] = {
    "adult": _adult,
    "breast_cancer": partial(_sklearn, "breast_cancer", 1),
    "digits": partial(_sklearn, "digits", 3),  # every third pixel
    "orders": orders,
    "codes": codes,
}
