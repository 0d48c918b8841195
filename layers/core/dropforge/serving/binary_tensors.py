"""Bodies of the Open Inference Protocol that are not plain JSON: its binary tensor extension, and compressed bodies.

Format: a JSON header of `Inference-Header-Content-Length` bytes, then the raw values of every tensor whose `parameters` name a
`binary_data_size`, in order, little endian; strings each behind their length of four bytes
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

from dropforge.errors import InvalidRequest
from dropforge.serving import request_formats

HEADER: Final = "inference-header-content-length"
OCTETS: Final = "application/octet-stream"
_TYPES: Final = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
_ENCODINGS: Final = ("gzip", "deflate")
# What API Gateway makes of the second byte of every gzip body, which is no UTF-8, when it takes it for text.
_DAMAGED: Final = b"\x1f\xef\xbf\xbd"
_FIX: Final = (
    f"send it with Content-Type: {OCTETS} (tritonclient: infer(…, headers={{'Content-Type': '{OCTETS}'}})), or send JSON tensors: "
    "set_data_from_numpy(values, binary_data=False)"
)


def read(headers: Mapping[str, str], body: bytes, limit: int) -> Any:
    """The inference request as an object, the values of its binary tensors in `data`. Header names are lower case.

    Raises InvalidRequest: 413 for a body over `limit` bytes, compressed or not; 415 for another content type or encoding; 422 for
    a body that is none of these, or that was damaged because API Gateway took it for text.
    """
    kind = headers.get("content-type", "")
    encoded, length = headers.get("content-encoding", ""), headers.get(HEADER)
    if kind.partition(";")[0].strip().lower() != OCTETS or not (encoded or length):
        request_formats.check_json(kind)
    body = decompressed(body, encoded, limit)
    request_formats.check_size(body, limit)
    if length is None:
        return request_formats.loads(body)
    if not length.isdecimal() or int(length) > len(body):
        raise _wrong(f"{HEADER} is {length[:40]!r}, the body has {len(body):,} bytes")
    request = request_formats.loads(body[: int(length)])
    _fill(request, memoryview(body)[int(length) :])
    return request


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before it was compressed; one that a gateway decompressed already as it is.

    Raises InvalidRequest: 415 for an unknown encoding, 413 as soon as there are more than `limit` bytes, 422 for a broken body.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in _ENCODINGS:
        raise InvalidRequest(
            f"content encoding {encoding[:40]!r} is not accepted",
            code="content_encoding",
            fix=f"send the body as it is, or compressed as {' or '.join(_ENCODINGS)}",
            status=415,
        )
    if body.startswith(_DAMAGED):
        raise InvalidRequest(
            f"the {encoding} body was taken for text on its way and is damaged",
            code="content_encoding",
            fix=f"send it uncompressed, or to /v2/models/…/infer with Content-Type: {OCTETS}",
        )
    if body[:1] not in {b"\x1f", b"\x78"}:
        return body
    stream = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise _wrong(f"the body is no {encoding}: {error}") from None
    if len(plain) <= limit and not stream.eof:
        raise _wrong(f"the {encoding} body breaks off")
    request_formats.check_size(plain, limit)
    return plain


def _fill(request: Any, rest: memoryview) -> None:
    """Values of binary tensors into their `data`. Raises InvalidRequest unless every byte belongs to one of them."""
    tensors = request.get("inputs") if isinstance(request, dict) else None
    at = 0
    for tensor in tensors if isinstance(tensors, list) else ():
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest) - at:
            raise _wrong(f"{tensor.get('name')}: {size} bytes of values, {len(rest) - at:,} are left")
        tensor["data"] = _values(str(tensor.get("name")), str(tensor.get("datatype")), rest[at : at + size])
        at += size
    if at != len(rest):
        raise _wrong(f"{len(rest):,} bytes follow the header, its tensors name {at:,}")


def _values(name: str, datatype: str, raw: memoryview) -> list[Any]:
    """NaN, with which clients write a missing number, becomes None."""
    if datatype == "BYTES":
        return _texts(name, raw)
    letter = _TYPES.get(datatype)
    if letter is None:
        raise _wrong(f"{name}: the datatype {datatype[:40]!r} has no binary form")
    width = struct.calcsize(f"<{letter}")
    if len(raw) % width:
        raise _wrong(f"{name}: {len(raw):,} bytes are no whole number of {datatype} values")
    values = struct.unpack(f"<{len(raw) // width}{letter}", raw)
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]


def _texts(name: str, raw: memoryview) -> list[str]:
    texts, at = list[str](), 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if at + length > len(raw):
            raise _wrong(f"{name}: a string of {length:,} bytes, {max(0, len(raw) - at):,} are left")
        try:
            texts.append(str(raw[at : at + length], "utf-8"))
        except UnicodeDecodeError:
            raise _wrong(f"{name}: value {len(texts)} is not UTF-8") from None
        at += length
    return texts


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="binary_tensors", fix=_FIX)
