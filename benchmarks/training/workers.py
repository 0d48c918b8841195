"""Several workers on one study, on a local cloud of its own: how much quicker, and what kill -9 loses.

python benchmarks/training/workers.py [--part speed kills] [--runs 20] [--kills 10] [--port P --mlflow-port Q] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import kills
import two_workers

from dropforge_cli.example_data import fetch
from dropforge_local import cloud as local_cloud
from dropforge_local.layout import Config

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
MODELS = """
models:
  - name: hist_gradient_boosting
    class: dropforge_training.models.hist_gradient_boosting:HistGradientBoosting
    workers: 2
    budget: {trials: 6, seconds: 60}

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=("speed", "kills"), default=("speed", "kills"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=4610)
    parser.add_argument("--mlflow-port", type=int, default=5610)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    adult = fetch(ROOT / ".cache" / "data").reference
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / "settings.yaml"
        text = re.sub(r"(?s)\nmodels:.*?\n\n", MODELS, (ROOT / "settings.yaml").read_text())
        settings.write_text(text.replace("block_on: [column_removed, target_drift_severe]", "block_on: []"))
        config = Config(
            root=ROOT,
            home=Path(home),
            port=arguments.port,
            mlflow_port=arguments.mlflow_port,
            settings=settings,
            workers=2,
        )
        try:
            outputs = local_cloud.up(config, lambda _what, _seconds: None)
            if "speed" in arguments.part:
                figures["speed"] = two_workers.measure(outputs, str(adult))
                print(json.dumps(figures["speed"]), flush=True)
            if "kills" in arguments.part:
                lines = adult.read_text(encoding="utf-8").splitlines()
                figures["kills"] = kills.measure(
                    config, outputs, lines, runs=arguments.runs, kills=arguments.kills, seed=arguments.seed
                )
                print(json.dumps(figures["kills"]), flush=True)
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)
    if arguments.json:
        recorded.write(arguments.json, figures)


if __name__ == "__main__":
    main()
