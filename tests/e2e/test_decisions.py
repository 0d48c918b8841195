"""People decide what is trained on, in the browser and by the command line: nothing unapproved, nothing revoked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from dropforge import ids, keys
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.datasets.dataset_store import load_manifest
from dropforge.messages import TrainingRequest
from dropforge_cli.main import app as command_line

from ..conftest import ROOT, Cloud
from .conftest import ROWS, TERMINAL

pytestmark = [pytest.mark.integration, pytest.mark.e2e]
LONG = 180_000
WAYS = ["web app", "command line"]


class Decisions:
    """One upload at a time, decided on in one of two ways."""

    def __init__(self, cloud: Cloud, way: str, page: Page | None) -> None:
        self.cloud, self.way, self.page = cloud, way, page
        self.store, self.bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]

    def api(self, path: str) -> Any:
        return self.cloud.target.api("GET", path).json()

    def upload(self, name: str, body: bytes) -> str:
        """The id of the new upload."""
        if self.page:
            self.page.get_by_role("tab", name="Data").click()
            file = {"name": name, "mimeType": "text/csv", "buffer": body}
            self.page.locator("#upload-file input[type=file]").set_input_files(files=[file])  # type: ignore[list-item]
            expect(self.page.locator("#upload").get_by_role("heading", name=name)).to_be_visible()
            return self.until(
                lambda: next((u["upload_id"] for u in self.api("/uploads")["uploads"] if u["key"].endswith(name)), "")
            )
        key = f"incoming/{name}"
        version = self.cloud.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)["VersionId"]
        return ids.upload_id(self.bucket, key, version)

    def state(self, upload_id: str) -> str:
        listed = {u["upload_id"]: u["state"] for u in self.api("/uploads")["uploads"]}
        return str(listed.get(upload_id, ""))

    def until(self, check: Callable[[], Any], seconds: float = 180) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := check():
                return value
            time.sleep(0.3)
        raise AssertionError("it did not come to that")

    def reaches(self, upload_id: str, state: str) -> None:
        self.until(lambda: self.state(upload_id) in {state, *TERMINAL})
        assert self.state(upload_id) == state, self.api(f"/uploads/{upload_id}")

    def decide(self, action: str, upload_id: str) -> None:
        """By a button of the page, which is on this upload, or by the documented command."""
        if self.page:
            button = self.page.locator(f"#{action}")
            expect(button).to_be_visible()
            button.click()
            return
        dataset = self.api(f"/uploads/{upload_id}").get("dataset_id", "")
        words = ["uploads", action, upload_id] if action in {"approve", "reject"} else ["dataset", action, dataset]
        result = CliRunner().invoke(command_line, [*words, "--reason", "a test"])
        assert result.exit_code == 0, result.output

    def parts(self, upload_id: str) -> set[str]:
        """Ids of the datasets that the training of this upload read."""
        dataset = self.api(f"/uploads/{upload_id}")["dataset_id"]
        request = TrainingRequest.parse(self.store.get(keys.training_request(self.bucket, dataset, upload_id)).body)
        return {p.dataset_id for p in load_manifest(self.store, request.dataset_uri).parts}

    def versions(self) -> set[tuple[str, str]]:
        return {(m["name"], m["version"]) for m in self.api("/models")["models"]}


@pytest.fixture(params=WAYS)
def decisions(
    request: pytest.FixtureRequest, cloud: Cloud, served: None, visit: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Decisions]:
    """Whatever the verdict, an upload waits for a person."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DROPFORGE_HOME", str(cloud.config.home))
    monkeypatch.delenv("DROPFORGE_STACK", raising=False)
    store, bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]
    before = store.get(keys.settings(bucket)).body
    assert b"approve_on: [] " in before
    settings_store.apply(store, bucket, before.replace(b"approve_on: [] ", b"approve_on: [pass, warn] "))
    yield Decisions(cloud, request.param, visit.open() if request.param == "web app" else None)
    settings_store.apply(store, bucket, before)


def test_a_poisoned_upload_that_nobody_approves_trains_nothing(decisions: Decisions, adult_lines: list[str]) -> None:
    """It waits, and once rejected it has ended: no version, no dataset in the history, no job, whatever time passes."""
    first = ROWS + 5001 + WAYS.index(decisions.way) * 1000
    header, *rows = adult_lines[0], *adult_lines[first : first + 900]
    flipped = [r.replace("<=50K", "@").replace(">50K", "<=50K").replace("@", ">50K") for r in rows]
    poisoned = [
        flipped[n] if n % 20 == 0 else r for n, r in enumerate(rows)
    ]  # with many more the verdict itself is block
    before, datasets = decisions.versions(), decisions.api("/datasets")["datasets"]
    upload_id = decisions.upload(f"poisoned-{decisions.way[:3]}.csv", "\n".join([header, *poisoned, ""]).encode())
    decisions.reaches(upload_id, "awaiting_approval")
    queue = decisions.cloud.client("sqs")
    depth = queue.get_queue_attributes(QueueUrl=decisions.cloud.outputs["TrainingQueueUrl"], AttributeNames=["All"])
    assert depth["Attributes"]["ApproximateNumberOfMessages"] == "0"
    decisions.decide("reject", upload_id)
    decisions.reaches(upload_id, "rejected")
    assert decisions.versions() == before
    assert decisions.api("/datasets")["datasets"] == datasets
    machine = decisions.cloud.client("stepfunctions")
    runs = machine.list_executions(stateMachineArn=decisions.cloud.outputs["StateMachineArn"])["executions"]
    assert not [r for r in runs if r["name"].startswith(upload_id)]


def test_a_revoked_dataset_is_absent_from_the_next_model(decisions: Decisions, adult_lines: list[str]) -> None:
    """Approved, it is trained on; revoked, a training without it starts and makes versions of its own."""
    first = ROWS + 8001 + WAYS.index(decisions.way) * 1000
    body = "\n".join([adult_lines[0], *adult_lines[first : first + 900], ""]).encode()
    upload_id = decisions.upload(f"good-{decisions.way[:3]}.csv", body)
    decisions.reaches(upload_id, "awaiting_approval")
    decisions.decide("approve", upload_id)
    decisions.reaches(upload_id, "concluded")
    dataset = decisions.api(f"/uploads/{upload_id}")["dataset_id"]
    assert dataset in decisions.parts(upload_id)
    before, known = decisions.versions(), {u["upload_id"] for u in decisions.api("/uploads")["uploads"]}
    decisions.decide("revoke", upload_id)
    started = decisions.until(
        lambda: next((u["upload_id"] for u in decisions.api("/uploads")["uploads"] if u["upload_id"] not in known), "")
    )
    decisions.reaches(started, "concluded")
    assert dataset not in decisions.parts(started)
    assert decisions.versions() > before
    entry = next(d for d in decisions.api("/datasets")["datasets"] if d["dataset_id"] == dataset)
    assert entry["revoked"]
