"""Processes of our own: an emulator without a stack, and what is done to processes by pid."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from dropforge.adapters.s3_store import S3Store
from dropforge_local.processes import Process, wait_until

REGION = "us-east-1"


@contextmanager
def bare_emulator(home: Path, port: int) -> Iterator[None]:
    """S3, SQS and Step Functions on loopback; nothing is kept. Buckets `data` and `artifacts`, versioned.

    Its pid file lies in `home/pids`.
    """
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
    }
    process = Process("an emulator", home / "pids" / "emulator.json", home / "emulator.log")
    process.start([sys.executable, "-m", "ministack"], env, home)
    try:
        wait_until(process, lambda: _healthy(port), 30)
        s3 = aws("s3", port)
        for bucket in ("data", "artifacts"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield
    finally:
        process.stop()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2):
            return True
    except OSError:
        return False


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
