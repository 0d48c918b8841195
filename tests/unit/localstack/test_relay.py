"""Containers reach the local cloud through the relay, and nobody else does."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest

from dropforge.errors import PermanentError
from dropforge_local.relay import Bridge, relayed

OWN = Bridge("127.0.0.2", ipaddress.IPv4Network("127.0.0.0/8"))


@pytest.fixture
def echo() -> Iterator[int]:
    """A port on loopback that gives back in capitals what it got."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    got = b""
                    while data := connection.recv(65536):
                        got += data
                    connection.sendall(got.upper())

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _ask(port: int, body: bytes) -> bytes:
    with socket.create_connection((OWN.address, port), timeout=10) as connection:
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while data := connection.recv(65536):
            got += data
        return got


def test_bytes_go_both_ways(echo: int) -> None:
    """A megabyte comes back whole, on the bridge's address, at the same port; closed, the port is free again."""
    for _ in range(2):
        with relayed([echo], OWN):
            assert _ask(echo, b"a" * 1_000_000) == b"A" * 1_000_000


def test_strangers_are_hung_up_on(echo: int) -> None:
    """Who is not of the bridge's subnet gets nothing."""
    with relayed([echo], Bridge(OWN.address, ipaddress.IPv4Network("10.0.0.0/8"))):
        heard = b""
        with contextlib.suppress(OSError):  # the system tells a connection that was closed at once in several ways
            heard = _ask(echo, b"hello")
        assert heard == b""


def test_a_taken_port_is_told(echo: int) -> None:
    """A second relay is an error in words, and the first one goes on."""
    with relayed([echo], OWN):
        with pytest.raises(PermanentError, match=str(echo)), relayed([echo], OWN):
            pass
        assert _ask(echo, b"still") == b"STILL"
