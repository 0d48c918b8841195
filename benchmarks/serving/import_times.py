"""CPU milliseconds to import what dispatches control's requests: the route table beside aws-lambda-powertools' REST resolver.

Fresh processes, taken in turns, after everything that control loads anyway. Prints JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

RUNS = 11
MODULES = {
    "dropforge.api.resolver": "from dropforge.api import resolver",
    "powertools.event_handler": "from aws_lambda_powertools.event_handler import APIGatewayRestResolver as R; R(enable_validation=1)",
    "powertools.logging": "from aws_lambda_powertools import Logger; Logger(service='control')",
    "powertools.data_classes": "from aws_lambda_powertools.utilities.data_classes import S3Event, SQSEvent",
    "powertools.batch": "from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType",
}
CODE = "import time, json, base64, pydantic, boto3, yaml; s = time.process_time()\n{}\nprint((time.process_time() - s) * 1000)"


def main() -> None:
    """Print the medians."""
    times: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(RUNS):
        for name, code in MODULES.items():
            done = subprocess.run([sys.executable, "-c", CODE.format(code)], capture_output=True, text=True, check=True)
            times[name].append(float(done.stdout.split()[-1]))
    print(json.dumps({name: round(statistics.median(values), 1) for name, values in times.items()}, indent=1))


if __name__ == "__main__":
    main()
