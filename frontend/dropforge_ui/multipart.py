"""A multipart/form-data body that is read from disk as it is sent: a file of any size takes no memory.

By hand: requests, which signs and sends every other call, has no streamed form of a known length, and S3 takes no chunked one.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Mapping
from typing import BinaryIO


class FormBody:
    """Fields, then one file named `file`. Has a length, because S3 takes no chunked forms."""

    def __init__(self, fields: Mapping[str, str], filename: str, file: BinaryIO) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_plain(name)}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_plain(filename)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._parts: list[BinaryIO] = [io.BytesIO(head.encode()), file, io.BytesIO(f"\r\n--{boundary}--\r\n".encode())]
        self._length = sum(_size(part) for part in self._parts)

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes; empty at the end."""
        while self._parts:
            result = self._parts[0].read(size)
            if result:
                return result
            self._parts.pop(0)
        return b""


def _size(part: BinaryIO) -> int:
    here = part.tell()
    size = part.seek(0, os.SEEK_END) - here
    part.seek(here)
    return size


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in name)
