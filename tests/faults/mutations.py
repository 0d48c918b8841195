"""Breaks the code in a copy, runs the test that promises it, and expects that it fails. Exit code 1 when a test does not notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CORE = "layers/core/dropforge"


class Edit(NamedTuple):
    """A place to break: the text stands once in the file."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    """A promise broken on purpose, and the test that must fail then. Several edits: what one part lets pass, another holds."""

    promise: int
    test: str
    edits: tuple[Edit, ...]


MUTATIONS = (
    Mutation(
        1,
        "test_events.py::test_five_deliveries_of_each_event_are_one_run",
        (  # the first is a shortcut of the second
            Edit(f"{CORE}/uploads/upload_attempt.py", "if opened.state in ANALYSED:", "if False:"),
            Edit(
                f"{CORE}/uploads/upload_repository.py",
                "if current.state in ANALYSED or current.lease_of_another(holder):",
                "if current.lease_of_another(holder):",
            ),
        ),
    ),
    Mutation(
        1,
        "test_events.py::test_a_delivery_that_broke_off_after_the_start_is_no_second_run",
        (
            Edit(
                f"{CORE}/uploads/start_training.py",
                "ids.execution_name(record.upload_id)",
                "ids.execution_name(record.upload_id, record.attempts)",
            ),
        ),
    ),
    Mutation(
        10,
        "test_events.py::test_deliveries_at_the_same_moment_are_one_execution",
        (
            Edit(
                f"{CORE}/uploads/upload_attempt.py", "if opened.lease_of_another(self.invocation.holder):", "if False:"
            ),
            Edit(
                f"{CORE}/uploads/upload_repository.py",
                "if current.state in ANALYSED or current.lease_of_another(holder):",
                "if current.state in ANALYSED:",
            ),
        ),
    ),
    Mutation(
        2,
        "test_events.py::test_the_newest_version_of_a_key_wins",
        (
            Edit(
                f"{CORE}/uploads/analyze_upload.py",
                "if self.record.version in {newest.version, newest.etag.strip('\"')}:",
                "if True:",
            ),
        ),
    ),
    Mutation(
        3,
        "test_events.py::test_any_key_survives_its_encoding",
        (
            Edit(
                f"{CORE}/uploads/s3_events.py",
                'unquote_plus(record["s3"]["object"]["key"])',
                'record["s3"]["object"]["key"]',
            ),
        ),
    ),
    Mutation(
        6,
        "test_events.py::test_uploads_without_an_event_are_found",
        (
            Edit(
                f"{CORE}/uploads/upload_repository.py",
                "if self._store.stat(self.uri(upload_id)) is not None:",
                "if True:",
            ),
        ),
    ),
    Mutation(
        9,
        "test_queue.py::test_what_gave_up_is_delivered_again",
        (
            Edit(
                "cli/dropforge_cli/commands/recovery.py",
                'sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])',
                "pass",
            ),
        ),
    ),
    Mutation(
        11,
        "test_store.py::test_a_body_that_breaks_off_is_read_again",
        (Edit(f"{CORE}/adapters/s3_store.py", "_READS = 10", "_READS = 1"),),
    ),
    Mutation(
        14,
        "test_store.py::test_a_write_whose_answer_is_lost_is_made_once",
        (Edit(f"{CORE}/adapters/s3_store.py", "if not tries:", "if True:"),),
    ),
    Mutation(
        24,
        "test_models.py::test_one_flipped_byte_is_refused",
        (Edit(f"{CORE}/inference/predictor.py", "if manifest_sha256 and", "if False and"),),
    ),
    Mutation(
        25,
        "test_inputs.py::test_no_payload_reads_elsewhere_or_calls_out",
        (Edit(f"{CORE}/api/control.py", "if not ids.is_upload_id(given):", "if False:"),),
    ),
    Mutation(
        7,
        "test_queue.py::test_a_slow_job_is_never_done_twice_at_once",
        (
            Edit(
                "training/dropforge_training/worker/queue_worker.py",
                "self._queue.extend(self._receipt, VISIBILITY_SECONDS)",
                "pass",
            ),
        ),
    ),
    Mutation(
        31,
        "test_events.py::test_no_row_is_lost_whatever_the_file",
        (
            Edit(
                f"{CORE}/uploads/analyze_upload.py",
                "rows_quarantined=admission.rows_quarantined,\n            quarantine_uri",
                "rows_quarantined=0,\n            quarantine_uri",
            ),
        ),
    ),
)
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


def unfit(tree: Path, mutation: Mutation) -> str:
    """Why it proves nothing, or empty: the place is gone, the test fails on the code as it is, or passes on the broken one."""
    for edit in mutation.edits:
        if (tree / edit.file).read_text().count(edit.old) != 1:
            return f"the place to break is not in {edit.file} any more"
    if not run(tree, mutation.test):
        return f"{mutation.test} fails on the code as it is"
    for edit in mutation.edits:
        source = tree / edit.file
        source.write_text(source.read_text().replace(edit.old, edit.new))
    return f"NOT NOTICED by {mutation.test}" if run(tree, mutation.test) else ""


def main() -> int:
    """Arguments: numbers of promises; without them, all."""
    wanted = {int(number) for number in sys.argv[1:]}
    chosen = [m for m in MUTATIONS if not wanted or m.promise in wanted]
    unnoticed = 0
    for mutation in chosen:
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            copy(Path(folder))
            trouble = unfit(Path(folder), mutation)
        unnoticed += bool(trouble)
        sys.stdout.write(f"promise {mutation.promise}: {trouble or f'noticed by {mutation.test}'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - unnoticed} of {len(chosen)} broken promises noticed\n")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
