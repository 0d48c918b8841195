"""Breaks the code in a copy, runs the test that promises it, and expects that it fails. Exit code 1 when a test does not notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = "layers/core/dropforge"
# promise, file, what is broken, into what, the test that must fail
MUTATIONS = (
    (1, f"{CORE}/steps/attempt.py", "if opened.state in ANALYSED:", "if False:",
     "test_events.py::test_five_deliveries_of_each_event_are_one_run"),
    (2, f"{CORE}/steps/analyze.py", 'if self.record.version in {newest.version, newest.etag.strip(\'"\')}:', "if True:",
     "test_events.py::test_the_newest_version_of_a_key_wins"),
    (3, f"{CORE}/events.py", 'unquote_plus(record["s3"]["object"]["key"])', 'record["s3"]["object"]["key"]',
     "test_events.py::test_any_key_survives_its_encoding"),
    (6, f"{CORE}/uploads.py", "if self._store.stat(self.uri(upload_id)) is not None:", "if True:",
     "test_events.py::test_uploads_without_an_event_are_found"),
    (9, "cli/dropforge_cli/recovery.py", 'sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])', "pass",
     "test_queue.py::test_what_gave_up_is_delivered_again"),
    (11, f"{CORE}/adapters/s3.py", "_READS = 10", "_READS = 1",
     "test_store.py::test_a_body_that_breaks_off_is_read_again"),
    (14, f"{CORE}/adapters/s3.py", "if not tries:", "if True:",
     "test_store.py::test_a_write_whose_answer_is_lost_is_made_once"),
    (24, f"{CORE}/serving/predictor.py", "if manifest_sha256 and", "if False and",
     "test_models.py::test_one_flipped_byte_is_refused"),
    (25, f"{CORE}/api/control.py", "if not identity.is_upload_id(given):", "if False:",
     "test_inputs.py::test_no_payload_reads_elsewhere_or_calls_out"),
    (7, "training/dropforge_training/worker.py", "self._queue.extend(self._receipt, VISIBILITY_SECONDS)", "pass",
     "test_queue.py::test_a_slow_job_is_never_done_twice_at_once"),
    (31, f"{CORE}/steps/analyze.py", "rows_quarantined=admission.rows_quarantined,\n            quarantine_uri",
     "rows_quarantined=0,\n            quarantine_uri", "test_events.py::test_no_row_is_lost_whatever_the_file"),
)  # fmt: skip
FOLDERS = ("layers", "training", "cli", "localstack", "functions", "statemachine", "events", "tests")
FILES = ("pyproject.toml", "template.yaml", "settings.yaml")


def copy(target: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, target / name)


def run(tree: Path, test: str) -> bool:
    """Whether the test passes on the code of `tree`."""
    folders = ("layers/core", "training", "cli", "localstack")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tree / f) for f in folders), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"tests/faults/{test}"]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=600, check=False).returncode == 0


def main() -> int:
    unnoticed = []
    for number, name, old, new, test in MUTATIONS:
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            tree = Path(folder)
            copy(tree)
            source = tree / name
            text = source.read_text()
            if text.count(old) != 1:
                sys.stdout.write(f"promise {number}: the place to break is not in {name} any more\n")
                unnoticed.append(number)
                continue
            if not run(tree, test):
                sys.stdout.write(f"promise {number}: {test} fails on the code as it is\n")
                unnoticed.append(number)
                continue
            source.write_text(text.replace(old, new))
            noticed = not run(tree, test)
            sys.stdout.write(f"promise {number}: {'noticed' if noticed else 'NOT NOTICED'} by {test}\n")
            sys.stdout.flush()
            unnoticed += [] if noticed else [number]
    sys.stdout.write(f"{len(MUTATIONS) - len(unnoticed)} of {len(MUTATIONS)} broken promises noticed\n")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
