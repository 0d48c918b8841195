"""Templates are compiled once for all processes, and never from what is not theirs."""

import os
import sys
from pathlib import Path

import pytest

from dropforge.analysis.report import compiled_templates


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    (tmp_path / "page.html").write_text("<p>{{ name }}</p>", encoding="utf-8")
    return tmp_path


def page(templates: Path) -> str:
    return compiled_templates.environment(templates).get_template("page.html").render(name="<b>")


def stored(templates: Path) -> list[Path]:
    return list(templates.glob("__pycache__/*"))


def test_a_template_is_compiled_once(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process reads what the first one has compiled, and its page is the same."""
    first = page(templates)
    compiled = compiled_templates.environment(templates)
    monkeypatch.setattr(compiled, "compile", lambda *_a, **_k: pytest.fail("compiled again"))
    assert compiled.get_template("page.html").render(name="<b>") == first == "<p>&lt;b&gt;</p>"
    assert len(stored(templates)) == 1


def test_a_changed_template_is_compiled_anew(templates: Path) -> None:
    """A stored form of an earlier text is not used, whatever the time of the file."""
    page(templates)
    file = templates / "page.html"
    times = file.stat()
    file.write_text("<i>{{ name }}</i>", encoding="utf-8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert page(templates) == "<i>&lt;b&gt;</i>"


@pytest.mark.parametrize("content", [b"", b"j2", b"nonsense" * 100])
def test_a_broken_stored_form_is_compiled_anew(templates: Path, content: bytes) -> None:
    """A file that was cut off, or is none of ours, is no reason to fail."""
    page(templates)
    (form,) = stored(templates)
    whole = form.read_bytes()
    for broken in (content, whole[:30], whole[:-5]):
        form.write_bytes(broken)
        assert page(templates) == "<p>&lt;b&gt;</p>"
        assert form.read_bytes() == whole


def test_a_folder_that_cannot_be_written_stores_nothing(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a read-only installation, and with PYTHONDONTWRITEBYTECODE, every process compiles."""
    (templates / "__pycache__").write_text("in the way of the folder", encoding="utf-8")
    assert page(templates) == "<p>&lt;b&gt;</p>"
    (templates / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert page(templates) == "<p>&lt;b&gt;</p>"
    assert not stored(templates)
