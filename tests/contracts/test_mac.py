"""What a key that authenticates messages promises: one in a file, and one in KMS as moto plays it."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dropforge.adapters import history_mac
from dropforge.adapters.aws_client import client
from dropforge.app_context import AppContext
from dropforge.environment import Environment
from dropforge.errors import DropforgeError, PermanentError
from dropforge.ports import MacKey


def _key(name: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """What HISTORY_KEY says of a new key."""
    if name == "file":
        history_mac.create(folder / "history.key")
        return f"file:{folder / 'history.key'}"
    kms = client("kms", request.getfixturevalue("moto_aws"))
    return str(kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"])


@pytest.fixture(params=["file", "kms"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[MacKey, MacKey]:
    """Two different keys of one kind, as a process gets them from its environment."""
    created = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        named = _key(request.param, request, tmp_path / folder)
        created.append(AppContext(Environment(aws_region="us-east-1", history_key=named)).history_key)
    one, two = created
    assert one is not None
    assert two is not None
    return one, two


def test_a_code_is_verified_by_its_key_alone(keys: tuple[MacKey, MacKey]) -> None:
    """The same message and key hold; another message, another key and an altered code do not."""
    one, two = keys
    code = one.generate(b"message")
    assert one.verify(b"message", code)
    assert not one.verify(b"massage", code)
    assert not two.verify(b"message", code)
    assert not one.verify(b"message", two.generate(b"message"))


@pytest.mark.parametrize("code", ["", "x", "AAAA", "\u20ac", "A" * 5000])
def test_a_text_that_is_no_code_does_not_hold(keys: tuple[MacKey, MacKey], code: str) -> None:
    """Verifying says no; it never fails on what somebody wrote."""
    assert keys[0].verify(b"message", code) is False


def test_a_key_knows_when_it_was_created(keys: tuple[MacKey, MacKey]) -> None:
    """With a time zone, so that it compares with the store's times."""
    age = datetime.now(UTC) - keys[0].created_at()
    assert abs(age.total_seconds()) < 600


def test_a_key_that_is_gone_is_an_error(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A missing key is an error that names it, never a history that is written without codes."""
    gone = {"file": f"file:{tmp_path / 'none'}", "kms": "arn:aws:kms:us-east-1:123456789012:key/0"}
    request.getfixturevalue("moto_aws")
    for named in gone.values():
        key = AppContext(Environment(aws_region="us-east-1", history_key=named)).history_key
        assert key is not None
        with pytest.raises(DropforgeError) as caught:
            key.generate(b"message")
        assert named.removeprefix("file:") in caught.value.message + caught.value.fix


def test_no_key_is_configured_by_default() -> None:
    """A process that was given none has none."""
    assert AppContext(Environment()).history_key is None


@pytest.mark.parametrize("text", ["", "{}", '{"key": "ab", "created_at": "2026-01-01T00:00:00+00:00"}', "[1]"])
def test_a_damaged_key_file_is_an_error(tmp_path: Path, text: str) -> None:
    """Neither a short key nor one without its time is used."""
    file = tmp_path / "history.key"
    file.write_text(text)
    with pytest.raises(PermanentError) as caught:
        history_mac.FileKey(file).generate(b"message")
    assert caught.value.code == "history_key_missing"


def test_a_key_file_is_its_owners_and_written_once(tmp_path: Path) -> None:
    """Mode 0600, also where it had another one; a second `up` keeps the key."""
    file = tmp_path / "history.key"
    assert history_mac.create(file)
    code = history_mac.FileKey(file).generate(b"message")
    file.chmod(0o644)
    assert not history_mac.create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert history_mac.FileKey(file).verify(b"message", code)
