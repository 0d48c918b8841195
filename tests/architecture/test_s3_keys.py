"""Every key of the buckets is built in dropforge/keys.py, and the template knows no other folders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dropforge import keys

from ..python_sources import nodes

ROOT = Path(__file__).parents[2]
FOLDERS = {f.rstrip("/") for f in (*keys.DATA, *keys.ARTIFACTS)}
# keys.py builds addresses, uris.py takes them apart, the adapter names what S3 lists.
BUILDERS = {
    "layers/core/dropforge/keys.py",
    "layers/core/dropforge/s3_uri.py",
    "layers/core/dropforge/adapters/s3_store.py",
    "localstack/dropforge_local/memory.py",
}
SOURCES = sorted(
    p
    for folder in ("layers/core", "functions", "training", "cli", "localstack")
    for p in (ROOT / folder).rglob("*.py")
    if p.relative_to(ROOT).as_posix() not in BUILDERS and ".venv" not in p.parts
)
_KEY = re.compile(rf"(s3://[^/\s]*/)?({'|'.join(sorted(FOLDERS))})/\S*")


def literals(of_module: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """(line, text) of each string that is a key, a folder with its slash, or an S3 address put together by hand.

    Text with spaces is prose: messages and docstrings may name an object.
    """
    inside = {id(part) for f in of_module if isinstance(f, ast.JoinedStr) for part in f.values}
    for node in of_module:
        if isinstance(node, ast.JoinedStr):
            text = "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)  # type: ignore[misc]  # parts of an f-string are texts
            if _KEY.fullmatch(text) or text.startswith("s3://{}"):
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            if _KEY.fullmatch(node.value):
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "join":
            for argument in node.args:
                if isinstance(argument, ast.Constant) and argument.value in FOLDERS:
                    yield argument.lineno, str(argument.value)


def test_a_module_spells_no_key() -> None:
    """Another module imports keys.py: two spellings of one key are two objects."""
    spelt = [f"{file.relative_to(ROOT)}:{line}: {text}" for file in SOURCES for line, text in literals(nodes(file))]
    assert not spelt, "\n".join(spelt)


@pytest.mark.parametrize(
    "line",
    [
        'a = "serving/active.json"',
        'a = f"s3://{bucket}/x"',
        'a = f"uploads/{upload_id}.json"',
        'a = join(base, "datasets", name)',
        'a = key.removeprefix("incoming/")',
    ],
)
def test_a_key_is_recognised(line: str) -> None:
    """The search above is not blind."""
    assert list(literals(list(ast.walk(ast.parse(line)))))


def test_a_message_may_name_an_object() -> None:
    """People must be able to look it up."""
    message = ast.parse('a = f"serving/active.json cannot be read: {error}"')
    assert list(literals(list(ast.walk(message)))) == []


def test_the_template_names_known_folders() -> None:
    """Permissions and lifecycle rules of a folder that nobody writes protect nothing."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    named = re.findall(r"\$\{(?:DataBucket|ArtifactBucket)(?:\.Arn)?\}/([a-z]+)/", text)
    named += re.findall(r"Prefix: ([a-z]+)/", text)
    named += re.findall(r"Name: prefix, Value: ([a-z]+)/", text)
    named += re.findall(r"arn:[^\s'\"]*:s3:::[^\s'\"/]*/([a-z]+)/", text)
    assert len(named) > 10
    assert set(named) <= FOLDERS
