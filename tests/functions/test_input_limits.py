"""What is too large is refused before it is read, by every function that reads files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dropforge import ids
from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.uploads.s3_events import uploads_in

from .conftest import DATA

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("function", "prefix"), [("analyze", "incoming"), ("batch", "batch")])
def test_an_object_over_the_limit_is_refused_by_its_size_and_never_downloaded(
    world: AppContext, monkeypatch: pytest.MonkeyPatch, function: str, prefix: str
) -> None:
    """The size comes from the object's metadata; the record names the limit and the setting that holds it."""
    text = (ROOT / "settings.yaml").read_text().replace("max_bytes: 2_000_000_000", "max_bytes: 100")
    settings_store.apply(world.store, DATA, text.encode())
    key, body = f"{prefix}/large.csv", b"age,income\n" + b"39,no\n" * 50
    world.store.put(f"s3://{DATA}/{key}", body)
    version = world.store.get(f"s3://{DATA}/{key}").version
    claimed: dict[str, Any] = {"key": key, "size": 1, "versionId": version}  # what an event claims is not believed
    event = {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": DATA}, "object": claimed},
            }
        ]
    }

    def download(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the object was downloaded")

    monkeypatch.setattr(world.store, "download", download)
    spec = importlib.util.spec_from_file_location(f"app_{function}", ROOT / "functions" / function / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    monkeypatch.setattr(app, "_app_context", lambda: world)
    app.handler(event, None)
    (upload,) = uploads_in(event)
    record = world.uploads.get(ids.upload_id(upload.bucket, upload.key, upload.version))
    assert record.state == "rejected"
    assert record.reason is not None
    assert (record.reason.code, "max_bytes" in record.reason.fix) == ("over_byte_budget", True)
