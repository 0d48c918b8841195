"""Processes of our own: an emulator without a stack, and what is done to processes by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from dropforge.adapters.s3 import S3Store

REGION = "us-east-1"


@contextmanager
def bare_emulator(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """S3, SQS and Step Functions on loopback; nothing is kept. Buckets `data` and `artifacts`, versioned."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
    }
    with (home / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=env, cwd=home, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _until_healthy(process, port)
        s3 = aws("s3", port)
        for bucket in ("data", "artifacts"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield process
    finally:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the emulator did not start")


def aws(service: str, port: int, **config: Any) -> Any:
    """A client of a local cloud at `port`, with the retries of the product's own clients."""
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4" if service == "s3" else None,
            **{"retries": {"mode": "standard", "max_attempts": 5}, "connect_timeout": 5, "read_timeout": 30, **config},
        ),
    )


def s3_store(port: int) -> S3Store:
    """The product's own store over a local cloud, or over a proxy in front of one."""
    return S3Store(aws("s3", port))


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """SIGSTOP while inside, SIGCONT afterwards."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def open_files(pid: int) -> int:
    """File handles of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
