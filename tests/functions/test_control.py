"""Every route but /predict, by its recorded event."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import SettingsError
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.messages import ModelProgress
from dropforge.training import progress
from dropforge.uploads.upload_repository import UploadRecord

ID = "0123456789abcdef0123"


def _call(load: Any, event: dict[str, Any]) -> tuple[int, Any]:
    answer = load("control").handler(event, None)
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
    body = answer["body"]
    return answer["statusCode"], json.loads(body) if answer["headers"]["Content-Type"] == "application/json" else body


def _upload(world: Any, **facts: Any) -> None:
    world.uploads.open(UploadRecord(upload_id=ID, bucket="b", key="incoming/new rows.csv", version="1"))
    if facts:
        world.uploads.update(ID, **facts)


def test_an_upload_form_is_for_one_safe_key(load: Any, event: Any) -> None:
    """The form names its bucket and key, its limit, and how to find the upload afterwards."""
    status, form = _call(load, event("upload_data"))
    assert status == 200
    assert form["key"].startswith("incoming/")
    assert form["key"].endswith("/new rows.csv")
    assert form["max_bytes"] == 2_000_000_000
    assert form["key"] in form["next"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c.csv", "x\u0000.csv", "<script>.csv", "=cmd.csv"])
def test_a_hostile_file_name_is_made_safe(load: Any, event: Any, name: str) -> None:
    """Only the last part remains, and of it only letters, digits, dot, dash, underscore and space."""
    _, form = _call(load, {**event("upload_data"), "body": json.dumps({"filename": name})})
    last = form["key"].rpartition("/")[2]
    assert form["key"].count("/") == 5
    assert last
    assert not set(last) & set("<>=\\\x00/")


@pytest.mark.parametrize(
    "body", [None, "{}", '{"filename": 3}', '{"filename": ""}', '{"filename": ".."}', "[]", "{", "nul\u0000"]
)
def test_a_wrong_body_is_the_callers_mistake(load: Any, event: Any, body: str | None) -> None:
    """422 with code, message, fix and the request's id."""
    status, output = _call(load, {**event("upload_data"), "body": body})
    assert status == 422
    assert set(output) == {"code", "message", "fix", "request_id"}
    assert output["request_id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


def test_a_body_that_claims_to_be_base64_must_be(load: Any, event: Any) -> None:
    """Encoded bodies are decoded; a false claim is 422."""
    encoded = base64.b64encode(b'{"filename": "a.csv"}').decode()
    assert _call(load, {**event("upload_data"), "body": encoded, "isBase64Encoded": True})[0] == 200
    assert _call(load, {**event("upload_data"), "body": "%%%", "isBase64Encoded": True})[0] == 422


def test_uploads_are_listed_and_found_by_key(load: Any, event: Any, world: Any) -> None:
    """The key filter is exact."""
    assert _call(load, event("uploads")) == (200, {"uploads": [], "next": ""})
    _upload(world)
    assert [u["upload_id"] for u in _call(load, event("uploads"))[1]["uploads"]] == [ID]
    for limit in ("0", "201", "x", "-1"):
        error = {**event("uploads"), "multiValueQueryStringParameters": {"limit": [limit]}}
        assert _call(load, error)[0] == 422
    other = {**event("uploads"), "multiValueQueryStringParameters": {"key": ["incoming/other.csv"]}}
    assert _call(load, other)[1] == {"uploads": [], "next": ""}


def test_an_upload_tells_its_state_and_links(load: Any, event: Any, world: Any) -> None:
    """404 while unknown; links to the report once it is there."""
    assert _call(load, event("upload"))[0] == 404
    _upload(world, report_uri="s3://artifacts/reports/x/report.html", run_url="http://mlflow/run")
    status, record = _call(load, event("upload"))
    assert (status, record["state"]) == (200, "received")
    assert set(record["links"]) == {"run", "report_html"}


def test_a_training_that_runs_tells_how_far_each_model_is(load: Any, event: Any, world: Any) -> None:
    """What the worker noted last, the plan for a model no worker has taken yet; nothing once the upload has ended."""
    plan = (ModelProgress(model=m, trials_budget=20, seconds_budget=60) for m in ("xgboost", "random_forest"))
    _upload(world)
    world.uploads.advance(ID, "analysed")
    world.uploads.advance(ID, "training", plan=tuple(plan))
    noted = ModelProgress(
        model="xgboost", stage="tuning", trials=3, trials_budget=20, seconds=7.5, seconds_budget=60,
        metric="roc_auc", best_score=0.91, reported_at="2026-01-01T00:00:00.000+00:00",
    )  # fmt: skip
    progress.keep(world.store, world.env.data_bucket, ID, noted)
    first, second = _call(load, event("upload"))[1]["progress"]
    assert (first["trials"], first["trials_budget"], first["seconds"], first["best_score"]) == (3, 20, 7.5, 0.91)
    assert (second["model"], second["stage"], second["trials"], second["reported_at"]) == (
        "random_forest",
        "waiting",
        0,
        "",
    )
    world.uploads.advance(ID, "concluded")
    assert _call(load, event("upload"))[1]["progress"] == []


def test_a_report_is_html_or_json_by_accept(load: Any, event: Any, world: Any) -> None:
    """404 with the state while there is none."""
    _upload(world)
    status, output = _call(load, event("report"))
    assert (status, output["code"]) == (404, "no_report")
    world.store.put("s3://artifacts/r.html", b"<!doctype html>")
    world.store.put("s3://artifacts/r.json", b'{"verdict": 1}')
    world.uploads.update(ID, report_uri="s3://artifacts/r.html", report_json_uri="s3://artifacts/r.json")
    assert _call(load, event("report")) == (200, "<!doctype html>")
    assert _call(load, {**event("report"), "headers": {"accept": "application/json"}}) == (200, {"verdict": 1})


def test_health_says_what_is_wrong(load: Any, event: Any) -> None:
    """Always 200 with each part; without an active model the system is live and not ready."""
    status, output = _call(load, event("health"))
    assert (status, output["live"], output["ready"], output["status"]) == (200, True, False, "not_ready")
    assert output["parts"]["active_model"]["error"] == "no_active_model"


@pytest.mark.parametrize("part", ["store", "registry", "queue", "uploads"])
@pytest.mark.parametrize("error", [SettingsError("no address"), RuntimeError("secret-canary"), OSError("disk")])
def test_health_answers_whatever_cannot_be_built(
    load: Any, event: Any, world: Any, part: str, error: Exception
) -> None:
    """An adapter that raises when it is built is one sick part, 200 like any other, and tells no detail of a defect."""

    class Broken(type(world)):  # type: ignore[misc]  # the class of a fixture
        pass

    def build(_self: Any) -> Any:
        raise error

    setattr(Broken, part, property(build))
    world.__class__ = Broken
    status, output = _call(load, event("health"))
    assert (status, output["status"] in {"degraded", "not_ready"}) == (200, True)
    assert "secret-canary" not in json.dumps(output)


def test_nothing_active_is_409(load: Any, event: Any) -> None:
    """With the way out; and an alias nobody carries is 404."""
    assert _call(load, event("model_info"))[0] == 409
    status, output = _call(load, event("set_model"))
    assert (status, output["code"]) == (404, "alias_unknown")
    assert _call(load, {**event("set_model"), "body": '{"alias": 7}'})[0] == 422
    assert _call(load, event("models")) == (200, {"models": []})


def test_a_wrong_method_is_405_and_an_unknown_path_404(load: Any, event: Any) -> None:
    """405 names the methods there are."""
    status, output = _call(load, {**event("set_model"), "httpMethod": "DELETE"})
    assert (status, output["fix"]) == (405, "use POST")
    assert _call(load, {**event("health"), "resource": "/nope"})[0] == 404


def test_a_defect_tells_the_caller_nothing_but_the_request_id(
    load: Any, event: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with a stable code; the traceback goes to the log only."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(world.store, "list", broken)
    status, output = _call(load, event("uploads"))
    assert (status, output["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(output)


def _quarantined(world: Any) -> None:
    folder = f"s3://{world.env.data_bucket}/quarantine/{ID}"
    rows = 'line,column,code,reason,raw\n3,,too_many_fields,4 fields where the header has 3,"2,fine,no,more"\n'
    world.store.put(f"{folder}/rows.csv", rows.encode())
    world.store.put(
        f"{folder}/reasons.json", json.dumps({"header": ["age", "note", "label"], "delimiter": ","}).encode()
    )


def test_quarantined_rows_are_listed_and_shown(load: Any, event: Any, world: Any) -> None:
    """The list names the upload; the rows have line, reason and text; an upload without any is 404."""
    _upload(world, rows_quarantined=1, quarantine_uri="s3://d/quarantine/x")
    _quarantined(world)
    assert _call(load, event("quarantine"))[1]["uploads"][0]["rows_quarantined"] == 1
    status, shown = _call(load, event("quarantined"))
    assert status == 200
    assert shown["header"] == ["age", "note", "label"]
    assert shown["rows"][0]["raw"] == "2,fine,no,more"
    other = event("quarantined") | {"pathParameters": {"upload_id": "f" * 20}}
    assert _call(load, other)[0] == 404


def test_corrected_rows_become_a_new_upload(load: Any, event: Any, world: Any) -> None:
    """The file has the header and the row, under a key that tells what it mends; sending it again changes nothing."""
    _upload(world, rows_quarantined=1, quarantine_uri="s3://d/quarantine/x")
    _quarantined(world)
    status, sent = _call(load, event("replay"))
    assert status == 200
    assert sent["key"].startswith(f"incoming/replayed/{ID}/new rows-")
    body = world.store.get(f"s3://{world.env.data_bucket}/{sent['key']}").body
    assert body == b"age,note,label\n2,fine,no\n"
    assert _call(load, event("replay"))[1]["key"] == sent["key"]


@pytest.mark.parametrize(
    "body", ["{}", '{"rows": [3]}', '{"rows": [{"line": true, "raw": ""}]}', '{"rows": [{"line": 9, "raw": "1,2,3"}]}']
)
def test_a_wrong_replay_is_the_callers_mistake(load: Any, event: Any, world: Any, body: str) -> None:
    """Told with its fix, and nothing is put into the bucket."""
    _upload(world, rows_quarantined=1, quarantine_uri="s3://d/quarantine/x")
    _quarantined(world)
    status, output = _call(load, event("replay") | {"body": body})
    assert 400 <= status < 500
    assert output["fix"]
    assert not list(world.store.list(f"s3://{world.env.data_bucket}/incoming/"))


def test_the_ledger_and_the_way_back_are_answers_of_the_api(load: Any, event: Any) -> None:
    """Empty at first; nothing to go back to is 409; a wrong number, limit or alias is the caller's mistake."""
    status, shown = _call(load, event("history"))
    assert (status, shown["entries"], shown["verified"]["ok"]) == (200, [], True)
    assert _call(load, event("rollback"))[0] == 409
    assert _call(load, {**event("rollback"), "body": '{"to": 0}'})[0] == 422
    assert _call(load, {**event("rollback"), "body": '{"to": 4}'})[0] == 409
    assert _call(load, event("history") | {"multiValueQueryStringParameters": {"limit": ["0"]}})[0] == 422
    status, output = _call(load, event("aliases"))
    assert (status, output["code"]) == (404, "no_challenger")
    assert _call(load, event("aliases") | {"body": '{"alias": "v1", "model": "xgboost"}'})[0] == 422


def test_a_label_is_an_answer_of_the_api(load: Any, event: Any, world: Any) -> None:
    """The version that has the alias now, and whose it was before."""
    world.registry.register("adult-income-xgboost", source="m", run_id="r", tags={"upload_id": ID})
    world.registry.set_alias("adult-income-xgboost", "challenger", "1")
    status, output = _call(load, event("aliases"))
    assert (status, output["name"], output["version"], output["previous"]) == (200, "adult-income-xgboost", "1", None)


def test_who_signed_a_request_is_who_did_it(load: Any, event: Any, world: Any) -> None:
    """The history names the signer's ARN, with the person it acts for; a name that nobody signed for is no name."""
    from dropforge.api import control, proxy_event

    signed = event("set_model")
    signed["requestContext"]["identity"]["userArn"] = "arn:aws:iam::000000000000:user/ann"
    signed["headers"]["x-dropforge-user"] = "bob"
    assert control._by(proxy_event.read(signed)) == "bob via arn:aws:iam::000000000000:user/ann"
    signed["headers"]["x-dropforge-user"] = " \n\x00"
    assert control._by(proxy_event.read(signed)) == "arn:aws:iam::000000000000:user/ann"
    assert control._by(proxy_event.read(event("set_model") | {"headers": {"x-dropforge-user": "bob"}})) == "api"


def test_a_label_is_set_and_published(load: Any, event: Any, world: Any) -> None:
    """POST /aliases answers the version; predict finds it under serving/labels.json without asking MLflow."""
    tags = {"bundle_uri": "s3://artifacts/b", "bundle_sha256": "0" * 64}
    world.registry.register("adult-income-xgboost", source="m", run_id="r", tags=tags)
    concluded = Active("adult-income-xgboost", "1", "", "r", tags["bundle_uri"], tags["bundle_sha256"])
    ModelRecords(world.store, world.env.data_bucket).write(ModelRecord.of(concluded, serve="onnx", by="conclude"))
    body = json.dumps({"alias": "Staging", "model": "xgboost"})
    status, output = _call(load, {**event("aliases"), "body": body})
    assert (status, output["name"], output["version"]) == (200, "adult-income-xgboost", "1")
    stored = json.loads(world.store.get(f"s3://{world.env.data_bucket}/serving/labels.json").body)
    assert [(x["model"], x["version"], x["alias"]) for x in stored["labels"]] == [
        ("adult-income-xgboost", "1", "Staging")
    ]


def _registered(world: Any) -> str:
    run = world.tracking("").ensure_run("k", name="r", tags={}).run_id
    world.registry.register("adult-income-xgboost", source="s", run_id=run, tags={})
    return str(run)


def test_a_model_card_is_html_or_json_by_accept(load: Any, event: Any, world: Any) -> None:
    """404 for a version that is not there, and for one without a card; the card of the version's own run."""
    assert _call(load, event("card"))[1]["code"] == "version_unknown"
    folder = f"s3://artifacts/mlflow/1/{_registered(world)}/artifacts"
    assert _call(load, event("card"))[1]["code"] == "no_card"
    world.store.put(f"{folder}/model_card.html", b"<!doctype html>")
    world.store.put(f"{folder}/model_card.json", b'{"model": "xgboost"}')
    assert _call(load, event("card")) == (200, "<!doctype html>")
    requested = {**event("card"), "headers": {"accept": "application/json"}}
    assert _call(load, requested) == (200, {"model": "xgboost"})
    other = {**event("card"), "pathParameters": {"name": "nobody", "version": "1"}}
    assert _call(load, other)[1]["code"] == "model_unknown"


def test_activity_wants_a_span_of_minutes(load: Any, event: Any) -> None:
    """0, more than a day and words are the caller's mistake."""
    for minutes in ("0", "1441", "x", "-5"):
        requested = {**event("activity"), "multiValueQueryStringParameters": {"minutes": [minutes]}}
        assert _call(load, requested)[0] == 422


def _labelled(event: Any, *labels: Any) -> dict[str, Any]:
    return {**event("ground_truth"), "body": json.dumps({"labels": list(labels)})}


def test_labels_are_kept_once_however_often_they_are_sent(load: Any, event: Any, world: Any) -> None:
    """The same request again leaves one object; the answer counts rows, a repeated one once."""
    one = {"prediction_id": "a-1", "row": 3, "label": "yes"}
    for _ in range(2):
        status, output = _call(load, _labelled(event, one, one, {"prediction_id": "b", "label": 1}))
        assert (status, output["accepted"]) == (200, 2)
    stored = list(world.store.list("s3://dropforge-data-000000000000-us-east-1/labels/"))
    assert len(stored) == 1
    lines = [json.loads(line) for line in world.store.get(stored[0].uri).body.splitlines()]
    assert [(x["prediction_id"], x["row"], x["label"]) for x in lines] == [("a-1", 3, "yes"), ("b", 0, "1")]


@pytest.mark.parametrize(
    ("label", "error_code"),
    [
        ({"prediction_id": "../x", "label": "yes"}, "prediction_id"),
        ({"prediction_id": 7, "label": "yes"}, "prediction_id"),
        ({"prediction_id": "a", "label": None}, "label"),
        ({"prediction_id": "a", "label": True}, "label"),
        ({"prediction_id": "a", "label": "yes", "row": -1}, "row"),
        ({"prediction_id": "a", "label": "yes", "row": True}, "row"),
        ({"prediction_id": "a", "label": "yes", "else": 1}, "nothing else"),
        ("a", "prediction_id"),
    ],
)
def test_a_label_that_cannot_be_joined_is_refused(
    load: Any, event: Any, world: Any, label: Any, error_code: str
) -> None:
    """422 that names the item and what is wrong with it; nothing of the request is kept."""
    good = {"prediction_id": "b", "label": "yes"}
    status, answer = _call(load, _labelled(event, good, label))
    assert (status, answer["code"]) == (422, "malformed_request")
    assert "labels[1]" in answer["message"]
    assert error_code in answer["message"]
    assert not list(world.store.list("s3://dropforge-data-000000000000-us-east-1/labels/"))


def test_contradicting_labels_of_one_request_are_refused(load: Any, event: Any) -> None:
    """Which of the two is meant only the caller can know."""
    both = [{"prediction_id": "b", "label": "yes"}, {"prediction_id": "b", "label": "no"}]
    assert _call(load, _labelled(event, *both))[0] == 422


@pytest.mark.parametrize(
    "body",
    ['{"canary": 0}', '{"canary": 1}', '{"canary": "0.1"}', '{"canary": true}', '{"canary": -1}', '{"shadow": 1}'],
)
def test_a_share_that_is_none_is_refused(load: Any, event: Any, body: str) -> None:
    """Above all 0: it would be a switch to the version that was to get nothing."""
    assert _call(load, {**event("set_model"), "body": body})[0] == 422


def test_a_decision_needs_a_candidate(load: Any, event: Any) -> None:
    """Without an active model or a candidate it is 409; another action than the two is 422."""
    assert _call(load, event("rollout"))[0] == 409
    assert _call(load, {**event("rollout"), "body": '{"action": "delete"}'})[0] == 422


def test_monitoring_is_empty_before_there_is_traffic(load: Any, event: Any) -> None:
    """200 with no window; a limit that is none is 422."""
    assert _call(load, event("monitoring")) == (
        200,
        {"windows": [], "checked_at": None, "labels": 0, "labels_unmatched": 0},
    )
    for limit in ("0", "366", "x"):
        requested = {**event("monitoring"), "multiValueQueryStringParameters": {"limit": [limit]}}
        assert _call(load, requested)[0] == 422


@pytest.fixture
def versions(world: Any) -> int:
    """Eight versions of one model, each behind a label of its own: V0 … V7."""
    manifest = BundleManifest(
        project="p", model="m", run_id="r", dataset_id="d", created_at="now", target="y", features=(), inputs=(),
        probabilities_output="p", classes=("no", "yes"), positive_class="yes", threshold=0.5,
        onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
    ).to_json()  # fmt: skip
    for i in range(8):
        run = world.registry.tracking.ensure_run(str(i), name="m", tags={}).run_id
        uri = f"s3://artifacts/{run}/bundle"
        world.store.put(f"{uri}/manifest.json", manifest)
        world.store.put(f"{uri}/model.onnx", b"graph")
        tags = {"bundle_uri": uri, "bundle_sha256": hashlib.sha256(manifest).hexdigest()}
        created = world.registry.register("adult-income-xgboost", source="s", run_id=run, tags=tags)
        world.registry.set_alias(created.name, f"V{i}", created.version)
        concluded = Active(created.name, created.version, "", run, uri, tags["bundle_sha256"])
        ModelRecords(world.store, world.env.data_bucket).write(ModelRecord.of(concluded, serve="onnx", by="conclude"))
    return 8


def test_of_switches_at_the_same_moment_one_wins(
    load: Any, event: Any, world: Any, versions: int, monkeypatch: Any
) -> None:
    """Every request has read the same state before any writes: exactly one 200, the others 409, one entry more in the ledger."""
    app = load("control")
    ready = threading.Barrier(versions)
    put = world.store.put

    def together(uri: str, body: bytes, **how: Any) -> str:
        if "/serving/history/" in uri:
            ready.wait(10)
        return str(put(uri, body, **how))

    monkeypatch.setattr(world.store, "put", together)

    def switch(i: int) -> tuple[int, str]:
        answer = app.handler({**event("set_model"), "body": json.dumps({"alias": f"V{i}"})}, None)
        document = json.loads(answer["body"])
        return answer["statusCode"], document.get("code") or document["model"]["alias"]

    with ThreadPoolExecutor(versions) as pool:
        answers = sorted(pool.map(switch, range(versions)))
    assert [status for status, _ in answers] == [200] + [409] * (versions - 1)
    assert {code for status, code in answers if status == 409} == {"switch_conflict"}
    monkeypatch.setattr(world.store, "put", put)
    ledger = _call(load, event("history"))[1]
    assert len(ledger["entries"]) == 1
    assert ledger["verified"]["ok"]
    assert _call(load, event("model_info"))[1]["model"]["alias"] == answers[0][1]
