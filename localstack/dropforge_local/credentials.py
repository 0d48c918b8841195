"""The root account of the local cloud: a random key for each project, in a file that only its owner can read.

The file has the format of the AWS tools, so that `AWS_SHARED_CREDENTIALS_FILE=.dropforge/credentials` is all they need.
"""

from __future__ import annotations

import configparser
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from dropforge.errors import PermanentError

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
_PROFILE = "default"


def create(file: Path) -> bool:
    """Write a new random key to `file` (mode 0600) unless there is one. Returns whether it was written now."""
    if file.exists():
        file.chmod(0o600)
        return False
    # A local prefix: nobody takes it for a key of AWS, neither a person nor a scanner for secrets.
    key, secret = f"LKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
    text = f"[{_PROFILE}]\n{ACCESS_KEY.lower()} = {key}\n{SECRET_KEY.lower()} = {secret}\n"
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(file)
    return True


def read(file: Path) -> Mapping[str, str]:
    """The two variables of the AWS tools. Raises PermanentError when the local cloud never started, or the file is damaged."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        profile = parser[_PROFILE]
        return {ACCESS_KEY: profile[ACCESS_KEY.lower()], SECRET_KEY: profile[SECRET_KEY.lower()]}
    except OSError:
        raise PermanentError(
            f"{file} does not exist: the local cloud never started here",
            code="not_running",
            fix="start it: dropforge up",
        ) from None
    except (KeyError, configparser.Error, UnicodeDecodeError) as error:
        raise PermanentError(
            f"{file} holds no access key: {error}",
            code="credentials_malformed",
            fix="dropforge down, remove the file, then dropforge up: a new key is written, data stay",
        ) from None
