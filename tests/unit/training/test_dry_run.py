"""`dropforge models check`: the real job on a small generated table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dropforge.errors import SettingsError
from dropforge_cli.main import app
from dropforge_local.memory import MemoryStore
from dropforge_training.worker.dry_run import dry_run

LOGISTIC = "dropforge_training.models.logistic_regression:LogisticRegression"


def test_a_class_that_works_is_trained_and_its_bundle_proven() -> None:
    """Every kind of column goes through it; the metrics are those of rows it did not see, and no label of the bundle flips."""
    done = CliRunner().invoke(app, ["models", "check", LOGISTIC, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["metrics"]["roc_auc"] > 0.7
    assert result["parity"]["label_flips"] == 0
    assert result["bytes"] > 0


def test_a_class_that_is_not_there_says_where_it_is_looked_for(tmp_path: Path) -> None:
    """Before anything is trained, with the form that works."""
    with pytest.raises(SettingsError, match="cannot be imported") as error:
        dry_run("models.nowhere:Mine", MemoryStore(), tmp_path)
    assert "models.mine:Mine" in error.value.fix


def test_an_unknown_task_is_refused() -> None:
    """With the names that are known; nothing is trained."""
    done = CliRunner().invoke(app, ["models", "check", LOGISTIC, "--task", "ranking"])
    assert done.exit_code != 0
