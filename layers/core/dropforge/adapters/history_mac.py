"""Keys that authenticate the deployment history: an HMAC key of KMS, or a random key in a file of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.adapters.aws_client import translated
from dropforge.errors import PermanentError

FILE: Final = "file:"  # in front of the path, where a key is named
_ALGORITHM = "HMAC_SHA_256"


def create(file: Path) -> bool:
    """Write a new random key of 32 bytes to `file` (mode 0600) unless there is one. Returns whether it was written now."""
    if file.exists():
        file.chmod(0o600)
        return False
    value = {"key": secrets.token_hex(32), "created_at": datetime.now(UTC).isoformat()}
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(json.dumps(value) + "\n")
    draft.replace(file)
    return True


class FileKey:
    """The key that `create` wrote; read when it is first needed. Raises PermanentError when it is gone or damaged."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def _value(self) -> tuple[bytes, datetime]:
        try:
            value = json.loads(self._file.read_text(encoding="utf-8"))
            key, created = bytes.fromhex(value["key"]), datetime.fromisoformat(value["created_at"])
            if len(key) < 32 or created.tzinfo is None:
                raise ValueError("a key of 32 bytes and a time with its zone are needed")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentError(
                f"the key of the deployment history cannot be read: {error}",
                code="history_key_missing",
                fix=f"put {self._file} back from a copy; or remove it and run `dropforge up`: a new key verifies no earlier entry",
            ) from None
        return key, created

    def generate(self, message: bytes) -> str:
        return base64.b64encode(hmac.digest(self._value[0], message, hashlib.sha256)).decode()

    def verify(self, message: bytes, mac: str) -> bool:
        return hmac.compare_digest(self.generate(message).encode(), mac.encode("utf-8", "replace"))

    def created_at(self) -> datetime:
        return self._value[1]


class KmsKey:
    """A key that never leaves KMS: who may generate and who may only verify is decided by IAM."""

    def __init__(self, client: Any, arn: str) -> None:
        self._kms, self._arn = client, arn

    def generate(self, message: bytes) -> str:
        with translated(f"key {self._arn}"):
            answer = self._kms.generate_mac(KeyId=self._arn, Message=message, MacAlgorithm=_ALGORITHM)
        return base64.b64encode(answer["Mac"]).decode()

    def verify(self, message: bytes, mac: str) -> bool:
        try:
            given = base64.b64decode(mac, validate=True)
        except ValueError:
            return False
        if len(given) != hashlib.sha256().digest_size:
            return False
        with translated(f"key {self._arn}"):
            try:
                self._kms.verify_mac(KeyId=self._arn, Message=message, MacAlgorithm=_ALGORITHM, Mac=given)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "KMSInvalidMacException":
                    return False
                raise
        return True

    def created_at(self) -> datetime:
        with translated(f"key {self._arn}"):
            created: datetime = self._kms.describe_key(KeyId=self._arn)["KeyMetadata"]["CreationDate"]
        return created
