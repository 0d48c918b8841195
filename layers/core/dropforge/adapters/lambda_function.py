"""A function of ours, called by another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from dropforge.adapters.aws_client import translated
from dropforge.errors import Unavailable


class LambdaFunction:
    """Function on Lambda."""

    def __init__(self, client: Any, name: str) -> None:
        self._lambda = client
        self._name = name

    def invoke(self, payload: bytes) -> bytes:
        with translated(f"function {self._name}"), self._busy_is_unavailable():
            answer = self._lambda.invoke(FunctionName=self._name, Payload=payload)
            body: bytes = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise Unavailable(
                f"the function {self._name} failed: {body[:500].decode(errors='replace')}",
                code="function_failed",
                fix="read its log group; it may need more memory or time for this model",
            )
        return body

    @contextmanager
    def _busy_is_unavailable(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 429:
                raise Unavailable(
                    f"the function {self._name} is at its limit of calls at the same time",
                    code="function_busy",
                    fix="try again in a moment, or raise its concurrency",
                ) from error
            raise
