"""Lambda's Runtime API on loopback, the part that gives invocations to a runtime client and takes their answers.

Speaks /2018-06-01/runtime/invocation/next, …/{id}/response, …/{id}/error and /runtime/init/error as documented, so that the real
runtime client (awslambdaric) runs the handler in a process of its own. It stands in for the runtime interface emulator's binary,
which is not on the package index. Times are from handing an event over to having read its answer.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_ARN = "arn:aws:lambda:us-east-1:000000000000:function:bench"


class RuntimeApi:
    """Events go in by `invoke`; any number of runtime clients take them, one at a time each, as Lambda's instances do."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[bytes, queue.Queue[tuple[float, bytes]]] | None] = queue.Queue()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def invoke(self, event: bytes) -> tuple[float, bytes]:
        """Seconds from handing over to the whole answer, and the answer. Raises RuntimeError for an error of the function."""
        answered: queue.Queue[tuple[float, bytes]] = queue.Queue()
        self._events.put((event, answered))
        seconds, body = answered.get(timeout=120)
        if seconds < 0:
            raise RuntimeError(body.decode(errors="replace")[:2000])
        return seconds, body

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One client: asks for the next event, answers it, asks again."""
        current: tuple[str, float, queue.Queue[tuple[float, bytes]]] | None = None
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                got = connection.recv(65536)
                if not got:
                    return
                buffer += got
            head, _, rest = buffer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            if headers.get("expect", "").lower() == "100-continue":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if headers.get("transfer-encoding", "").lower() == "chunked":
                body, buffer = _chunks(connection, rest)
            else:
                length = int(headers.get("content-length", 0))
                while len(rest) < length:
                    rest += connection.recv(65536)
                body, buffer = rest[:length], rest[length:]
            if method == "GET":
                event, answered = self._next(connection)
                identity = str(uuid.uuid4())
                output = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(event)}\r\n"
                    f"Lambda-Runtime-Aws-Request-Id: {identity}\r\nLambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 60_000}\r\n"
                    f"Lambda-Runtime-Invoked-Function-Arn: {_ARN}\r\n\r\n"
                ).encode() + event
                current = (identity, time.perf_counter(), answered)
                connection.sendall(output)
                continue
            ended = time.perf_counter()
            connection.sendall(
                b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
                + b'{"status":"OK"}'
            )
            if path.endswith("/error"):
                (current[2] if current else self._next(connection)[1]).put((-1.0, body))
            elif current:
                current[2].put((ended - current[1], body))
            current = None

    def _next(self, connection: socket.socket) -> tuple[bytes, queue.Queue[tuple[float, bytes]]]:
        item = self._events.get()
        if item is None:
            connection.close()
            raise SystemExit
        return item


def _chunks(connection: socket.socket, buffer: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in buffer:
            buffer += connection.recv(65536)
        size, _, buffer = buffer.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        while len(buffer) < length + 2:
            buffer += connection.recv(65536)
        body, buffer = body + buffer[:length], buffer[length + 2 :]
        if not length:
            return body, buffer


@contextmanager
def function(api: RuntimeApi, folder: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs `app.handler` of the folder under the real runtime client."""
    given = {
        **env,
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(folder),
        "_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
    }
    # Modules of the project are found where the layer would put them.
    command = [sys.executable, "-m", "awslambdaric", "app.handler"]
    with subprocess.Popen(command, cwd=folder, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def resident_mb(pid: int) -> float:
    """Resident memory of a process and all below it."""
    total = 0.0
    for entry in (pid, *_children(pid)):
        status = Path(f"/proc/{entry}/status")
        if status.exists():
            matches = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
            total += int(matches[0].split()[1]) / 1024 if matches else 0
    return total


def _children(pid: int) -> list[int]:
    matches: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            matches += [child, *_children(child)]
    return matches


def event_of(body: Any) -> bytes:
    """POST /predict as API Gateway sends it."""
    event = json.loads((ROOT / "events" / "predict.json").read_text())
    return json.dumps({**event, "body": json.dumps(body)}).encode()


def environment(outputs: Mapping[str, str]) -> dict[str, str]:
    """What the function reads, and nothing of the caller's but PATH."""
    return {
        "PATH": os.environ["PATH"],
        "DATA_BUCKET": outputs["DataBucket"],
        "ARTIFACT_BUCKET": outputs["ArtifactBucket"],
        "AWS_ENDPOINT_URL": outputs["EndpointUrl"],
        "AWS_REGION": outputs["Region"],
        "AWS_DEFAULT_REGION": outputs["Region"],
        "AWS_ACCESS_KEY_ID": outputs["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": outputs["SecretAccessKey"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
