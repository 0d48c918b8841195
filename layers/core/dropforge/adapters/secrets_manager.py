"""Credentials kept in Secrets Manager: read when they are needed, never in a template, a variable or a log."""

from __future__ import annotations

import json
from typing import Any

from dropforge.adapters.aws_client import translated
from dropforge.errors import SettingsError


class Secrets:
    """Secrets of Secrets Manager."""

    def __init__(self, client: Any) -> None:
        self._secrets = client

    def read(self, arn: str) -> dict[str, str]:
        """The secret's JSON object of texts. Raises NotFound, PermanentError (access), SettingsError when it is no such object."""
        with translated(f"secret {arn}"):
            text = self._secrets.get_secret_value(SecretId=arn).get("SecretString", "")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict) and type(value.get("port")) is int:  # RDS writes it as a number
            value["port"] = str(value["port"])
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise SettingsError(
                f"the secret {arn} is not a JSON object of texts",
                code="secret_malformed",
                fix='store {"username": "…", "password": "…"} or {"token": "…"}',
            )
        return value
