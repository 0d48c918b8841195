"""What is told of an upload's end."""

from __future__ import annotations

import pytest

from dropforge.uploads.upload_repository import UploadRecord
from dropforge_cli.commands import uploads


def test_a_model_that_failed_beside_others_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An upload that concluded says which of its models were not trained, and why, without being a failure."""
    models = ({"model": "good", "version": "1"}, {"model": "own", "error": "JobFailed: no ONNX converter for MyStep"})
    record = UploadRecord(
        upload_id="0" * 20, bucket="b", key="incoming/a.csv", version="1", state="concluded", models=models
    )
    uploads.finish({**record.model_dump(mode="json"), "run_url": ""}, json=False)
    output = capsys.readouterr().err
    assert "own was not trained: JobFailed: no ONNX converter for MyStep" in output
    assert "good" not in output
