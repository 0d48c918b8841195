"""System events: what is put has the published schema, tells what happened, and never stands in the way of the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dropforge import announce, system_events
from dropforge.adapters.eventbridge import EventBridgeBus
from dropforge.app_context import AppContext
from dropforge.environment import Environment
from dropforge.errors import Unavailable
from dropforge.messages import Conclusion, ModelVersion
from dropforge.system_events import SystemEvent
from dropforge.uploads.upload_repository import Reason, UploadRecord
from dropforge_local.memory import MemoryStore

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"
UPLOAD = UploadRecord(upload_id="a" * 20, bucket="data", key="incoming/a.csv", version="v")


class Service:
    """put_events of boto3."""

    def __init__(self, failed: int = 0) -> None:
        self.entries: list[dict[str, Any]] = []
        self._failed = failed

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.entries += Entries
        return {"FailedEntryCount": self._failed, "Entries": [{"ErrorCode": "InternalFailure"}]}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def world(service: Service) -> AppContext:
    created = AppContext(Environment(data_bucket="data", artifact_bucket="artifacts", project_name="demo"))
    vars(created).update(store=MemoryStore(), event_bus=EventBridgeBus(service, "dropforge.demo"))
    return created


def _published(detail_type: str) -> dict[str, Any]:
    """The schema as docs/reference/events.md shows it."""
    section = PAGE.read_text().split(f"## {detail_type}\n")[1].split("```json\n")[1].split("\n```")[0]
    schema: dict[str, Any] = json.loads(section)
    return schema


def _upload(world: AppContext, _: Any) -> None:
    world.uploads.open(UPLOAD)
    reason = Reason(stage="admission", code="empty_file", message="m")
    world.uploads.advance(UPLOAD.upload_id, "rejected", reason=reason)
    world.uploads.advance(UPLOAD.upload_id, "rejected", reason=reason)  # a repeat ends nothing


def _challenger(world: AppContext, _: Any) -> None:
    version = ModelVersion(name="demo-forest", version="2", run_id="r")
    announce.challenger(Conclusion(upload_id="a" * 20, challenger=version, reasons=("better",)), world.announce)
    announce.challenger(Conclusion(upload_id="a" * 20), world.announce)


def _activated(world: AppContext, switching: Any) -> None:
    switching.version("forest", "Production")
    announce.activation(switching.set("Production"), "tester", world.announce)


def _back(world: AppContext, switching: Any) -> None:
    switching.version("forest", "Production")
    switching.set("Production")
    switching.version("forest", "Production")
    switching.set("Production")
    announce.activation(switching.back(), "tester", world.announce)


def _drift(world: AppContext, _: Any) -> None:
    announce.drift("warn", [f"c{n}" for n in range(3000)], world.announce, upload_id="a" * 20)
    announce.drift("pass", [], world.announce, upload_id="a" * 20)


EXPECTED: dict[str, tuple[Callable[[AppContext, Any], None], dict[str, Any]]] = {
    "Upload Ended": (_upload, {"upload_id": "a" * 20, "state": "rejected", "code": "empty_file", "key": UPLOAD.key}),
    "Challenger Chosen": (_challenger, {"model": "demo-forest", "version": "2", "reasons": ["better"]}),
    "Model Activated": (_activated, {"model": "demo-forest", "version": "1", "by": "tester", "number": 1}),
    "Model Rolled Back": (_back, {"version": "1", "previous_version": "2", "action": "rollback", "number": 3}),
    "Drift Detected": (_drift, {"drifted_columns": 3000, "verdict": "warn", "window": ""}),
}


def test_every_kind_is_tried() -> None:
    """Each kind of event stands in the table of this file."""
    assert set(EXPECTED) == {kind.detail_type for kind in system_events.KINDS}


@pytest.mark.parametrize("detail_type", EXPECTED)
def test_what_is_put_has_the_published_schema(
    detail_type: str, world: AppContext, service: Service, switching: Any
) -> None:
    """One event for what happened and none for what did not; its detail fits the schema of the page, and into EventBridge's limit."""
    act, expected = EXPECTED[detail_type]
    act(world, switching)
    (entry,) = service.entries
    assert (entry["Source"], entry["DetailType"]) == ("dropforge.demo", detail_type)
    detail = json.loads(entry["Detail"])
    schema = _published(detail_type)
    jsonschema.Draft202012Validator(schema).validate(detail)
    assert set(detail) == set(schema["properties"])
    assert detail["project"] == "demo"
    assert expected.items() <= detail.items()
    assert len(entry["Detail"].encode()) < 200_000


def test_a_detail_of_another_form_does_not_pass() -> None:
    """The published schema refuses what is not of its form: the test above can fail."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(_published("Model Activated")).validate({"project": "demo", "number": "one"})


class _Away:
    def put(self, _event: SystemEvent) -> None:
        raise RuntimeError("no network")


@pytest.mark.parametrize("bus", [_Away(), EventBridgeBus(Service(failed=1), "s")])
def test_an_event_nobody_hears_stops_nothing(world: AppContext, bus: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The upload has ended all the same, and the log says why nobody was told."""
    vars(world)["event_bus"] = bus
    _upload(world, None)
    assert world.uploads.get(UPLOAD.upload_id).state == "rejected"
    assert [r.message for r in caplog.records].count("not announced") == 1


def test_a_refused_entry_is_an_error() -> None:
    """PutEvents answers 200 for entries it did not take."""
    with pytest.raises(Unavailable, match="InternalFailure"):
        EventBridgeBus(Service(failed=1), "s").put(system_events.drift("demo", "warn", ["a"]))


def test_without_a_project_nothing_is_put(service: Service) -> None:
    """A worker of one's own, or a test, that names no project asks for no bus."""
    created = AppContext(Environment(data_bucket="data", artifact_bucket="artifacts"))
    vars(created)["event_bus"] = EventBridgeBus(service, "s")
    _challenger(created, None)
    assert service.entries == []
