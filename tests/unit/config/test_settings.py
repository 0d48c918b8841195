"""settings.yaml: one frozen object, and mistakes told by key, line and fix."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from dropforge import __version__, keys
from dropforge.config import settings, settings_store
from dropforge.errors import SettingsError
from dropforge_local.memory import MemoryStore

SHIPPED = Path(__file__).parents[3] / "settings.yaml"
SMALL = """\
project: demo
data:
  target: y
models:
  - name: forest
    class: package.module:Forest
"""


def test_the_shipped_file_is_valid() -> None:
    """The example in the repository parses and names its text's hash."""
    parsed = settings.load(SHIPPED.read_bytes())
    assert parsed.data.target
    assert len(parsed.sha256) == 64


def test_defaults_fill_a_small_file() -> None:
    """Project, target and one model are enough."""
    parsed = settings.load(SMALL)
    assert parsed.data.history == "append"
    assert parsed.models[0].budget.trials > 0


def test_settings_are_frozen() -> None:
    """Nobody changes settings after they were read."""
    with pytest.raises(ValidationError):
        settings.load(SMALL).data.target = "z"  # type: ignore[misc] # the assignment is the thing tested


@pytest.mark.parametrize(
    ("text", "line", "key", "fix"),
    [
        (SMALL.replace("  target: y", "  targte: y"), 3, "data.targte", "did you mean `target`?"),
        (SMALL.replace("  target: y", "  window: 3"), 2, "data.target", "add `target: …`"),
        (
            SMALL.replace("  target: y", "  target: y\n  history: keep"),
            4,
            "data.history",
            "'append', 'replace' or 'window'",
        ),
        (SMALL + "    budget: {trials: 0}\n", 7, "models.0.budget.trials", "greater than 0"),
        (SMALL.replace("forest", "Forest!"), 5, "models.0.name", "match pattern"),
        (SMALL.replace("  target: y", "  target: y\n  target: z"), 4, "data.target", "given twice (first on line 3)"),
        (SMALL.replace("  target: y", "  target: y\n  ignore: [y]"), 2, "data", "cannot be in `ignore`"),
        (SMALL + "  - name: forest\n    class: a.b:C\n", 1, "the file", "names must differ"),
        (SMALL.replace("models:", "models: [\n"), 6, "", "not valid YAML"),
        (SMALL.replace("data:\n  target: y", "data: y"), 2, "data", "must be a block of keys"),
        (SMALL + "    budget: {money: 0}\n", 7, "models.0.budget.money", "greater than 0"),
        (SMALL + "cost:\n  worker_hour: -1\n", 8, "cost.worker_hour", "greater than or equal to 0"),
        (SMALL + "extra: 1\n", 7, "extra", "known keys: project, data, analysis"),
    ],
)
def test_a_mistake_names_line_key_and_fix(text: str, line: int, key: str, fix: str) -> None:
    """Every kind of mistake is one line: file, line, key, what is wrong, how to mend it."""
    with pytest.raises(SettingsError) as caught:
        settings.load(text, "settings.yaml")
    predicted = caught.value.message + caught.value.fix
    assert f"settings.yaml:{line}: {key}" in predicted
    assert fix in predicted


def test_all_mistakes_are_reported_at_once() -> None:
    """Three mistakes give three lines."""
    with pytest.raises(SettingsError) as caught:
        settings.load("project: Demo\ndata: {target: y, history: no}\nmodels: []\n")
    assert len(caught.value.message.splitlines()) == 3


def test_applied_settings_are_in_force_and_kept() -> None:
    """Applying writes the current copy and one that never changes; wrong settings change nothing."""
    store = MemoryStore()
    first = settings_store.apply(store, "bucket", SMALL.encode())
    second = settings_store.apply(store, "bucket", SMALL.replace("demo", "other").encode())
    with pytest.raises(SettingsError):
        settings_store.apply(store, "bucket", b"project: x")
    in_force, pinned = settings_store.in_force(store, "bucket")
    assert in_force == second
    assert settings_store.read(store, pinned) == second
    assert settings_store.read(store, keys.settings_copy("bucket", first.sha256)).project == "demo"


def test_missing_settings_say_what_to_run() -> None:
    """A stack without settings tells its user the command."""
    with pytest.raises(SettingsError) as caught:
        settings_store.in_force(MemoryStore(), "bucket")
    assert "dropforge apply" in caught.value.fix


@pytest.mark.parametrize("built", ["", "2026-11-20T10:00Z"])
def test_code_older_than_the_settings_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: str) -> None:
    """A key that is not known yet: the line, that the code is older, its version, when its image was built, how to build again."""
    monkeypatch.setattr(settings_store, "__file__", str(tmp_path / "config" / "settings_store.py"))
    if built:
        (tmp_path / "BUILT").write_text(built + "\n")
    store = MemoryStore()
    text = SMALL.encode() + b"next_year: {knob: 1}\n"
    newer = settings_store.pin(store, "bucket", text, hashlib.sha256(text).hexdigest())
    store.put(keys.settings("bucket"), store.get(newer).body)
    for read in (lambda: settings_store.read(store, newer), lambda: settings_store.in_force(store, "bucket")):
        with pytest.raises(SettingsError) as error:
            read()
        assert error.value.code == "settings_newer"
        assert ":7: next_year: unknown key" in error.value.message
        assert "is older" in error.value.message
        assert error.value.message.endswith(f"in an image built {built}" if built else __version__)
        assert "docker build -f training/Dockerfile" in error.value.fix


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
        "a: &a [*a]\n",
        "a: " + "[" * 10_000,
    ],
    ids=["laughs", "itself", "nesting"],
)
def test_a_file_that_unfolds_without_end_is_refused_at_once(text: str) -> None:
    """Aliases of aliases are counted as they would be written out, before anything is built of them."""
    with pytest.raises(SettingsError) as caught:
        settings.load(f"project: demo\ndata: {{target: y}}\n{text}")
    assert caught.value.code == "settings_too_large"
