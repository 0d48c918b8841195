"""Bodies as tritonclient[http] sends them: binary tensors behind a JSON header, compressed or not, whole or damaged."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.errors import InvalidRequest
from dropforge.serving.binary_tensors import HEADER, OCTETS, read

Ask = Callable[..., tuple[int, Any]]
INFER = "/v2/models/{model}/infer"
LIMIT = 1_000_000
# Written by tritonclient 2 for age (FP64, one NaN), job (BYTES of shape [3, 1]) and member (BOOL) in binary, joined as JSON.
LENGTH = 401
BODY = (
    b'{"inputs":[{"name":"age","shape":[3],"datatype":"FP64","parameters":{"binary_data_size":24}},'
    b'{"name":"job","shape":[3,1],"datatype":"BYTES","parameters":{"binary_data_size":26}},'
    b'{"name":"member","shape":[3],"datatype":"BOOL","parameters":{"binary_data_size":3}},'
    b'{"name":"joined","shape":[3],"datatype":"BYTES","data":["2021-01-01","2021-01-02","2021-01-03"]}],'
    b'"parameters":{"binary_data_output":true}}'
    b"\x00\x00\x00\x00\x00\x80C@\x00\x00\x00\x00\x00\x00\xf8\x7f\x00\x00\x00\x00\x00\x80I@"
    b"\x05\x00\x00\x00nurse\x04\x00\x00\x00cook\x05\x00\x00\x00Gr\xc3\xbcn\x01\x00\x01"
)
RECORDS = [
    {"age": 39.0, "job": "nurse", "member": True, "joined": "2021-01-01"},
    {"age": None, "job": "cook", "member": False, "joined": "2021-01-02"},
    {"age": 51.0, "job": "Grün", "member": True, "joined": "2021-01-03"},
]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
    ids=["plain", "gzip", "deflate"],
)
def test_binary_tensors_are_answered_like_records(ask: Ask, stored: Any, encoding: str, pack: Any) -> None:
    """The bytes of the client, compressed by any of its algorithms: labels and probabilities are those of the same records."""
    stored[1]()
    headers = {"Inference-Header-Content-Length": str(LENGTH), **({"Content-Encoding": encoding} if encoding else {})}
    status, answer = ask("POST", INFER, pack(BODY), OCTETS, named="forest", headers=headers)
    assert status == 200, answer
    _, expected = ask("POST", "/predict", {"records": RECORDS})
    label, probabilities = answer["outputs"]
    assert label["data"] == [p["label"] for p in expected["predictions"]]
    assert probabilities["data"] == [v for p in expected["predictions"] for v in p["probabilities"].values()]
    assert "binary_tensor_data" in ask("GET", "/v2")[1]["extensions"]


@pytest.mark.parametrize(
    ("datatype", "raw", "values"),
    [
        ("INT8", b"\xff\x01", [-1, 1]),
        ("UINT16", b"\xff\xff", [65535]),
        ("INT64", (-5).to_bytes(8, "little", signed=True), [-5]),
        ("FP16", b"\x00\x3c", [1.0]),
        ("FP32", b"\x00\x00\xc0\x7f", [None]),
        ("BYTES", b"\x00\x00\x00\x00\x01\x00\x00\x00x", ["", "x"]),
    ],
)
def test_every_datatype_has_its_binary_form(datatype: str, raw: bytes, values: list[Any]) -> None:
    """Little endian, at the width of the type; NaN is a missing value."""
    assert (
        read({HEADER: str(len(_header(datatype, len(raw))))} | KIND, _header(datatype, len(raw)) + raw, LIMIT)[
            "inputs"
        ][0]["data"]
        == values
    )


KIND = {"content-type": OCTETS}


def _header(datatype: str, size: Any) -> bytes:
    tensor = {"name": "age", "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        _header("FP64", 8) + b"1234567",
        _header("FP64", 8) + b"123456789",
        _header("FP64", 9) + b"123456789",
        _header("FP64", -8),
        _header("FP64", True),
        _header("FP64", "8") + b"12345678",
        _header("FP128", 8) + b"12345678",
        _header("BYTES", 5) + b"\xff\x00\x00\x00x",
        _header("BYTES", 2) + b"\x01\x00",
        _header("BYTES", 5) + b"\x01\x00\x00\x00\xff",
        b"[]",
        b'{"inputs": [3]}1',
    ],
)
def test_bytes_that_are_no_tensors_are_refused(body: bytes) -> None:
    """422 by name, and the fix is what the client's own interface takes."""
    end = body.rindex(b"}" if b"}" in body else b"]") + 1
    headers = KIND | {HEADER: str(end)}
    if body == b"[]":
        assert read(headers, body, LIMIT) == []  # no tensor is refused where tensors are read
        return
    with pytest.raises(InvalidRequest) as caught:
        read(headers, body, LIMIT)
    assert (caught.value.code, caught.value.status) == ("binary_tensors", 422)
    assert "binary_data=False" in caught.value.fix


@pytest.mark.parametrize("length", ["", "x", "-1", "99999", "4.0"])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    """It is a number of bytes within the body."""
    with pytest.raises(InvalidRequest):
        read(KIND | {HEADER: length}, BODY, LIMIT)


def test_a_body_that_was_taken_for_text_is_told(ask: Ask, stored: Any) -> None:
    """Without its content type API Gateway replaces bytes: the answer says so, and how to send it."""
    stored[1]()
    damaged = BODY.decode("utf-8", "replace").encode()
    headers = {"Inference-Header-Content-Length": str(LENGTH)}
    status, error = ask("POST", INFER, damaged, "", named="forest", headers=headers)
    assert (status, error["code"]) == (422, "binary_tensors")
    assert OCTETS in error["fix"]
    for path in ("/predict", "/invocations"):
        packed = gzip.compress(json.dumps({"records": RECORDS}).encode()).decode("utf-8", "replace").encode()
        status, error = ask("POST", path, packed, headers={"Content-Encoding": "gzip"})
        assert (status, error["code"]) == (422, "content_encoding")
        assert "uncompressed" in error["fix"]


def test_a_compressed_body_is_bounded(ask: Ask, stored: Any) -> None:
    """A body that grows beyond the limit ends with 413, one that breaks off or is none with 422, another encoding with 415."""
    stored[1]()
    bomb = gzip.compress(b" " * 50_000_000)
    whole = gzip.compress(json.dumps({"records": RECORDS}).encode())
    for body, encoding, status in (
        (bomb, "gzip", 413), (whole[:-9], "gzip", 422), (b"\x1fx", "gzip", 422), (whole, "br", 415), (whole, "gzip", 200),
        (json.dumps({"records": RECORDS}).encode(), "gzip", 200),  # a gateway has decompressed it already
    ):  # fmt: skip
        assert ask("POST", "/predict", body, headers={"Content-Encoding": encoding})[0] == status, encoding
