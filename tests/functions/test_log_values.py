"""No cell of an upload reaches a log: odd files go through every function that reads files, and each function fails."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge import ids as identity
from dropforge.app_context import AppContext
from dropforge.errors import JobFailed, PermanentError, RejectedUpload, Unavailable
from dropforge.uploads.s3_events import uploads_in
from dropforge.uploads.upload_repository import UploadRecord

from ..log_lines import log_lines
from .conftest import DATA

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ry"
HEADER = b"age,workclass,education,income\n"
ROW = b"39,Private,Bachelors,<=50K\n"
GOOD = (
    HEADER
    + "".join(
        f"{20 + n % 50},{('Private', 'State-gov')[n % 2]},{('Bachelors', 'Masters')[n % 3 > 0]},{('<=50K', '>50K')[n % 4 > 0]}\n"
        for n in range(80)
    ).encode()
)
C = CANARY.encode()


def _parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


ODD: dict[str, bytes] = {
    "in a number": GOOD + C + b",Private,Bachelors,<=50K\n",
    "in every number": HEADER + (C + b",Private,Bachelors,<=50K\n") * 60,
    "in the header": GOOD.replace(b"workclass", C, 1),
    "twice in the header": GOOD.replace(b"workclass,education", C + b"," + C, 1),
    "no header": GOOD[len(HEADER) :] + ROW.replace(b"Private", C),
    "no target": GOOD.replace(b"income", C, 1),
    "as the target": GOOD + b"39,Private,Bachelors," + C + b"\n",
    "only targets": HEADER + b"".join(b"39,Private,Bachelors," + C + str(n).encode() + b"\n" for n in range(80)),
    "a field too many": GOOD + ROW.strip() + b"," + C + b"\n",
    "a field too few": GOOD + C + b"\n",
    "an open quote": GOOD + b'39,"' + C + b",Bachelors,<=50K\n" + ROW,
    "a quote within": GOOD + b'39,"' + C + b'"x,Bachelors,<=50K\n',
    "a long field": GOOD + b"39," + C * 20_000 + b",Bachelors,<=50K\n",
    "NUL": GOOD + b"39," + C + b"\0,Bachelors,<=50K\n",
    "not UTF-8": GOOD + b"39," + C + b"\xff\xfe,Bachelors,<=50K\n",
    "a formula": GOOD + b"39,=HYPERLINK(" + C + b"),Bachelors,<=50K\n",
    "gzip": gzip.compress(GOOD + C + b",Private,Bachelors,<=50K\n"),
    "half a gzip": gzip.compress((GOOD + C + b",Private,Bachelors,<=50K\n") * 50)[:-20],
    "half a parquet": _parquet(age=[CANARY] * 50, income=["no"] * 50)[:-9],
    "a parquet of other types": _parquet(age=[CANARY] * 50, workclass=[1.5] * 50, income=["no"] * 50),
    "a parquet of lists": _parquet(age=[[CANARY]] * 50, income=["no"] * 50),
    "JSON": json.dumps([{"age": CANARY}]).encode(),
    "HTML": b"<html><td>" + C + b"</td></html>",
    "one line": C,
    "a zip": b"PK\x03\x04" + C,
}


def _load(name: str, world: AppContext, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"app_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    if hasattr(app, "_app_context"):
        monkeypatch.setattr(app, "_app_context", lambda: world)
    return app


def _event(world: AppContext, key: str, body: bytes) -> dict[str, Any]:
    world.store.put(f"s3://{DATA}/{key}", body)
    version = world.store.get(f"s3://{DATA}/{key}").version
    described = {"bucket": {"name": DATA}, "object": {"key": key, "size": len(body), "versionId": version}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": described}]}


def _runtime(app: ModuleType, event: dict[str, Any]) -> str:
    """What the Lambda runtime logs of the call: nothing, or the exception with its traceback."""
    try:
        app.handler(event, None)
    except Exception:
        return traceback.format_exc()
    return ""


def test_no_cell_of_an_odd_file_is_logged(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each odd file through analyze: lines name upload, state and code, and no line has the cell. Records may quote it."""
    app, ids = _load("analyze", world, monkeypatch), list[str]()
    world.log("analyze")  # its logger exists before lines are collected
    with log_lines() as lines:
        for number, body in enumerate([GOOD, *ODD.values()]):
            suffix = {b"\x1f\x8b": "csv.gz", b"PA": "parquet"}.get(body[:2], "csv")
            sent = _event(world, f"incoming/{number}.{suffix}", body)
            ids += [identity.upload_id(u.bucket, u.key, u.version) for u in uploads_in(sent)]
            assert CANARY not in _runtime(app, sent)
    assert len(lines.lines) > len(ODD)
    assert CANARY not in lines.text
    quoted = [r for r in world.uploads.read(ids) if r.reason and CANARY in r.reason.message]
    assert quoted, "no file was odd enough to be quoted at all"


def _conclusion(event: Any, world: AppContext) -> dict[str, Any]:
    """What the workflow hands to conclude after a training that failed with a message of somebody's code."""
    message: dict[str, Any] = event("conclude")
    outcome = message["outcomes"][0]
    outcome.pop("result")
    outcome |= {"error": "ValueError", "cause": json.dumps({"Error": "ValueError", "Cause": f"bad row: {CANARY}"})}
    world.uploads.open(_record(message["request"]["upload_id"]))
    world.uploads.advance(message["request"]["upload_id"], "analysed")
    world.uploads.advance(message["request"]["upload_id"], "training")
    message["request"]["settings_uri"] = f"s3://{DATA}/config/settings.yaml"
    tracking: Any = world.tracking("")
    message["request"]["parent_run_id"] = tracking.ensure_run("parent", name="analysis", tags={}).run_id
    return message


def _record(upload_id: str) -> UploadRecord:
    return UploadRecord(upload_id=upload_id, bucket=DATA, key="incoming/x.csv", version="1")


def test_the_failure_of_a_training_is_in_the_record_and_in_no_line_of_conclude(
    world: AppContext, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cause that quotes a row ends in the upload's record; the log has the class of the error."""
    app, message = _load("conclude", world, monkeypatch), _conclusion(event, world)
    world.log("conclude")
    with log_lines() as lines:
        assert not _runtime(app, message)
    assert CANARY in world.uploads.get(message["request"]["upload_id"]).model_dump_json()
    assert "candidate failed" in lines.text
    assert "ValueError" in lines.text
    assert CANARY not in lines.text


ERRORS = [
    ValueError(CANARY), KeyError(CANARY), Unavailable(CANARY, code="away", fix=CANARY), PermanentError(CANARY, code="no", fix=CANARY),
    RejectedUpload(CANARY, code="bad", fix=CANARY), JobFailed(CANARY, fix=CANARY),
]  # fmt: skip
CALLS = {
    "analyze": "receive",
    "batch": "score",
    "conclude": "conclude",
    "recover": "recover",
    "predict_python": "_models",
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("function", CALLS)
def test_a_function_that_fails_tells_the_runtime_no_message(
    world: AppContext, event: Any, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    """The Lambda runtime logs what a handler raises: the class and our code reach it, the message and its causes do not."""
    app = _load(function, world, monkeypatch)

    def fail(*_: Any, **__: Any) -> None:
        try:
            raise RuntimeError(CANARY)
        except RuntimeError as cause:
            raise error from cause

    monkeypatch.setattr(app, CALLS[function], fail)
    prefix = "batch" if function == "batch" else "incoming"
    given = _event(world, f"{prefix}/x.csv", GOOD) if function in {"analyze", "batch"} else event("conclude")
    if function == "conclude":
        given["request"]["settings_uri"] = f"s3://{DATA}/config/settings.yaml"
    with log_lines() as lines:
        logged = _runtime(app, given)
    assert type(error).__name__ in logged
    assert getattr(error, "code", "") in logged
    assert CANARY not in logged + lines.text
