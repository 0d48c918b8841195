"""The local cloud for containers of this machine: it listens on loopback, which a container on Docker's bridge cannot reach.

The relay listens on the bridge's own address, takes connections from that bridge's containers and from nobody else, and
passes their bytes to loopback.
"""

from __future__ import annotations

import argparse
import ipaddress
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from dropforge.errors import PermanentError

HOST_NAME = "host.docker.internal"  # what containers call the bridge's address
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Bridge:
    """Docker's default network: the host's address in it, and the addresses of its containers."""

    address: str
    subnet: ipaddress.IPv4Network


def bridge() -> Bridge:
    """Raises PermanentError when no Docker answers or it has no bridge."""
    import docker

    try:
        result = docker.from_env(timeout=10).networks.get("bridge").attrs["IPAM"]["Config"][0]
        subnet = ipaddress.IPv4Network(result["Subnet"])
        return Bridge(result.get("Gateway") or str(next(subnet.hosts())), subnet)
    except (docker.errors.DockerException, OSError, LookupError, ValueError) as error:
        raise PermanentError(
            f"Docker's bridge is not known: {error}", code="docker_missing", fix="start Docker, then try again"
        ) from None


class _Pass(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.server_address[1])) as there:
            back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
            back.start()
            _copy(self.request, there)
            back.join()


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, where: Bridge, port: int) -> None:
        self._subnet = where.subnet
        super().__init__((where.address, port), _Pass)

    def verify_request(self, _request: object, client_address: object) -> bool:
        return isinstance(client_address, tuple) and ipaddress.IPv4Address(client_address[0]) in self._subnet

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Either side hung up, or nobody listens on loopback: the container sees its connection end."""


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(ports: Sequence[int], where: Bridge) -> Iterator[None]:
    """While it is open, each of `ports` on the bridge's address is that port on loopback.

    Raises PermanentError when one is taken.
    """
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(_listening(where, port))
        yield


@contextmanager
def _listening(where: Bridge, port: int) -> Iterator[None]:
    try:
        listener = _Listener(where, port)
    except OSError as error:
        raise PermanentError(
            f"{where.address}:{port} cannot be listened on: {error}",
            code="port_taken",
            fix="is a relay running already?",
        ) from None
    with listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown()


def answers(where: Bridge, port: int) -> bool:
    """Whether somebody listens at `port` of the bridge's address."""
    with socket.socket() as probe:
        return probe.connect_ex((where.address, port)) == 0


def serve(ports: Sequence[int], ready: Callable[[Bridge], None]) -> None:
    """Relay these ports until SIGINT or SIGTERM; `ready` is called once they listen. Raises PermanentError."""
    where = bridge()
    until = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, until)  # waited for below, in every thread
    with relayed(ports, where):
        ready(where)
        signal.sigwait(until)


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m dropforge_local.relay PORT …`: relay these ports until SIGTERM."""
    parser = argparse.ArgumentParser(prog="dropforge_local.relay", description=main.__doc__)
    parser.add_argument("ports", type=int, nargs="+")
    serve(parser.parse_args(arguments).ports, lambda _where: None)


if __name__ == "__main__":
    main()
