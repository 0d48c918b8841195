"""When uploads may be sent: as soon as MLflow's port is open, which is long before it answers."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from dropforge_local import cloud
from dropforge_local.layout import Config

from ...conftest import free_ports

_LISTENER = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"


def _config(folder: Path) -> Config:
    return Config(folder, folder, mlflow_port=free_ports(1)[0])


def test_an_open_port_is_enough(tmp_path: Path) -> None:
    config, waits = _config(tmp_path), threading.Event()
    starting = threading.Thread(target=waits.wait, daemon=True)
    starting.start()
    process = cloud.mlflow(config)
    process.start([sys.executable, "-c", _LISTENER.format(port=config.mlflow_port)], dict(os.environ), tmp_path)
    try:
        assert cloud._takes_requests(config, starting)
    finally:
        waits.set()
        process.stop()


def test_a_start_that_failed_is_not_waited_for(tmp_path: Path) -> None:
    starting = threading.Thread(target=lambda: None)
    starting.start()
    starting.join()
    assert not cloud._takes_requests(_config(tmp_path), starting)
