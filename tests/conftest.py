"""What several kinds of tests need: the example's real rows, and a local cloud of their own."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest
from botocore import loaders
from botocore.exceptions import ClientError

from dropforge_cli.example_data import fetch
from dropforge_cli.target import Target
from dropforge_local import cloud as local_cloud
from dropforge_local.layout import PROCESS, Config, external_endpoint, foreign_account

from .command_server import CommandServer
from .watcher import ended_with_this_run

ROOT = Path(__file__).parents[1]

# Before any library reads it, as where jobs run: two test processes share the cores, and idle threads that spin slow both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# And no threads at all for a fit of a few hundred rows: to wake the second one takes twice the processor time of the fit.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing that is imported or collected goes away: looking through it for garbage took a third of the time of collecting.
gc.disable()

# Each mock of AWS begins a session of its own, which would parse the services' models again: a second for one test of five clients.
_parsed = functools.lru_cache(maxsize=64)(functools.partial(loaders.JSONFileLoader.load_file, loaders.JSONFileLoader()))
loaders.JSONFileLoader.load_file = lambda _loader, path: _parsed(path)

FULL = os.environ.get("CAMPAIGNS") == "full"  # set by `make test-campaigns` and `make faults`

# No clock decides over a test: on a busy machine drawing examples is slow, and nothing is wrong.
hypothesis.settings.register_profile(
    "dropforge", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("dropforge")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="run the browser tests (`make test-browser`)")
    parser.addoption("--containers", action="store_true", help="run the tests with Docker (`make test-containers`)")
    parser.addoption("--drills", action="store_true", help="run the drills (`make test-drills`)")
    parser.addoption("--erase", action="store_true", help="run the test of `dropforge erase` (`make test-erase`)")
    parser.addoption("--pictures", type=Path, help="folder for the screenshots the browser tests make; none without it")


def repeats(quick: int, full: int) -> int:
    """How often a simulation runs: in `make test`, and in `make test-campaigns`, which runs the tests marked `repeated`."""
    return full if FULL else quick


def free_ports(count: int) -> list[int]:
    """Ports that were free at the same time, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture(scope="session")
def free() -> Callable[[int], list[int]]:
    """Gives ports that nobody listens on."""
    return free_ports


@dataclass(frozen=True)
class Cloud:
    """A running local cloud with one worker."""

    config: Config
    outputs: dict[str, str]
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> Target:
        return Target(self.outputs)

    def client(self, service: str) -> Any:
        """One for all tests: making a client takes longer than a question, and tests poll."""
        if service not in self._clients:
            self._clients[service] = self.target.client(service)
        return self._clients[service]


# Libraries of the most modules among those that collecting imports in each process. On a fresh clone none is compiled yet.
_LIBRARIES = (
    "pandas",
    "scipy.stats",
    "sklearn.ensemble",
    "skl2onnx",
    "mlflow",
    "moto.server",
    "deltalake",
    "pyiceberg.catalog",
)


def pytest_sessionstart() -> None:
    """The processes of pytest-xdist begin at different ends, so that each compiles one half and reads what the other compiled."""
    process = os.environ.get("PYTEST_XDIST_WORKER")
    for name in () if process is None else _LIBRARIES if process == "gw0" else reversed(_LIBRARIES):
        importlib.import_module(name)


# Session fixtures that start processes: their tests run in one process of pytest-xdist, so that each is started once. The longest
# first: what comes last keeps one process busy while the other has nothing left to do.
_SHARED = ("cloud", "managed_server", "emulator")
_ASKED_FOR = {"books": "managed_server"}  # by parameters, which say so too late
_TRAINING = "tests/unit/training"  # one process: its finished jobs and its MLflow database are of the session
_FOLDERS = (_TRAINING, "tests/unit/frontend")  # the second: Gradio takes longer to import than its tests take


_FOLDERS_OF_OPTIONS = {"e2e": "--browser", "containers": "--containers"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without their option, the browser's and Docker's tests are not collected: that imports Playwright and Docker in each process.

    Those that the command line names are, and skipped.
    """
    option = _FOLDERS_OF_OPTIONS.get(collection_path.name) if collection_path.parent == ROOT / "tests" else None
    return True if option and not config.getoption(option) else None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Folders that are not collected, with what runs them."""
    left = [f"tests/{f} (`{o}`)" for f, o in _FOLDERS_OF_OPTIONS.items() if not config.getoption(o)]
    return [f"not collected: {', '.join(left)}"] if left else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests for pytest-xdist, and skip those that a target of their own runs."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        for marker, option, reason in _TARGETS:
            if item.get_closest_marker(marker) and not config.getoption(option):
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("campaign") and not FULL:
            item.add_marker(pytest.mark.skip(reason="with CAMPAIGNS=full only: make test-drills, make faults"))
        if item.path.parent == ROOT / "tests" / "e2e" and not config.getoption(
            "--browser"
        ):  # named on the command line
            item.add_marker(pytest.mark.skip(reason="browser tests train on a cloud of their own: make test-browser"))


_TARGETS = (
    ("docker", "--containers", "builds images and trains in them: make test-containers"),
    ("erase", "--erase", "trains twice on a cloud that nothing else may use: make test-erase"),
    ("drill", "--drills", "starts a second system, or attacks one in a browser: make test-drills"),
)


def _group(item: pytest.Item) -> str:
    defined = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    used = [name for name in _SHARED if name in defined and defined[name][-1].scope == "session"]
    path = item.path.relative_to(ROOT).as_posix()
    used += [name for fixture, name in _ASKED_FOR.items() if fixture in defined]
    return next(iter(used), next((folder for folder in _FOLDERS if path.startswith(folder)), path))


def pytest_collection_finish() -> None:
    """From here on garbage is collected, of what the tests themselves make."""
    gc.freeze()
    gc.enable()


class _Order:
    """Registered after every plugin that sorts or shuffles, so that it has the last word."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Shared processes first, in the order of their length; of those, browser tests last: they add uploads to the cloud whose
        first ones the integration tests count.
        """
        rank = {name: n for n, name in enumerate((_SHARED[0], _TRAINING, *_SHARED[1:]))}
        items.sort(
            key=lambda item: (rank.get(_group(item), len(rank)), item.get_closest_marker("e2e") is not None),
        )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Order(), "dropforge-order")


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes a database with MLflow's tables in a folder of its own and gives its URI. They are migrated to by fifty steps, which takes
    seconds: once for a version of MLflow, then copied.
    """
    template = ROOT / ".cache" / f"mlflow-{importlib.metadata.version('mlflow')}.db"
    if not template.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        created = tmp_path_factory.mktemp("mlflow-tables") / "mlflow.db"
        SqlAlchemyStore(f"sqlite:///{created}", "s3://artifacts/mlflow").engine.dispose()
        template.parent.mkdir(exist_ok=True)
        shutil.copy(created, part := template.with_suffix(f".{os.getpid()}"))
        part.replace(template)  # whole, or not there: the tests run in two processes

    def copy() -> str:
        folder = tmp_path_factory.mktemp("mlflow")
        shutil.copy(template, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return copy


@pytest.fixture(scope="session")
def commands() -> Iterator[CommandServer]:
    """Runs `dropforge` as programs, whose start is paid once."""
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def adult_lines() -> list[str]:
    """The reference file of the example, header first; fetched once, checked, cached."""
    return fetch(ROOT / ".cache" / "data").reference.read_text(encoding="utf-8").splitlines()


def small_settings(home: Path, workers: int = 1) -> Path:
    """The project's settings with training budgets of seconds, written into `home`; `workers` tune the random forest together."""
    settings = home / "settings.yaml"
    text = (ROOT / "settings.yaml").read_text(encoding="utf-8")
    settings.write_text(
        text.replace("{trials: 2, seconds: 10}", "{trials: 1, seconds: 5}")
        .replace("{trials: 6, seconds: 12}", "{trials: 2, seconds: 5}")
        .replace("quiet_minutes: 0.05 ", "quiet_minutes: 0 ")
        .replace("    workers: 1 ", f"    workers: {workers} ")
    )
    return settings


def _external_emulator() -> dict[str, Any]:
    """Where DROPFORGE_TEST_EMULATOR=external: the emulator at AWS_ENDPOINT_URL, which somebody else started."""
    if os.environ.get("DROPFORGE_TEST_EMULATOR") != "external":
        return {}
    return {
        "external": external_endpoint(os.environ),
        "foreign_credentials": foreign_account(os.environ),
        "functions": os.environ.get("DROPFORGE_TEST_FUNCTIONS", PROCESS),
    }


def enforces_iam(cloud: Cloud) -> bool:
    """Whether the emulator refuses a user who has no rights at all."""
    iam = cloud.client("iam")
    name = "nobody"
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    try:
        boto3.client(
            "sqs",
            endpoint_url=cloud.config.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        ).list_queues()
    except ClientError:
        return True
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    return False


def names_log_groups(cloud: Cloud) -> bool:
    """Whether a function logs to the group that the template names: some emulators take LoggingConfig and pass over it."""
    cloud.client("lambda").invoke(FunctionName=cloud.outputs["AnalyzeFunction"], Payload=b'{"Records": []}')
    group, deadline = f"{cloud.outputs['LogGroupPrefix']}analyze", time.monotonic() + 15
    while time.monotonic() < deadline:
        if cloud.client("logs").describe_log_streams(logGroupName=group)["logStreams"]:
            return True
        time.sleep(0.5)
    return False


@pytest.fixture(scope="session")
def capabilities(cloud: Cloud) -> Callable[[str], bool]:
    """Whether the running emulator has what a marker asks for; see pyproject.toml."""
    external = bool(cloud.config.external)
    return {
        "enforces_iam": enforces_iam(cloud) if external else True,
        "named_log_groups": names_log_groups(cloud) if external else True,
        "own_emulator": not external,
    }.__getitem__


_NEEDS = {
    "enforces_iam": "this emulator lets every caller do everything",
    "named_log_groups": "this emulator ignores LoggingConfig: functions log to groups of its own names",
    "own_emulator": "the test stops, restarts or attacks the emulator that the local cloud starts itself",
}


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Skip what the external emulator cannot show."""
    for marker, reason in _NEEDS.items():
        if not request.node.get_closest_marker(marker) or os.environ.get("DROPFORGE_TEST_EMULATOR") != "external":
            continue
        if not request.getfixturevalue("capabilities")(marker):
            pytest.skip(reason)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Emulator, MLflow and worker on free ports, with the real template and small training budgets."""
    port, mlflow_port = free_ports(2)
    home = tmp_path_factory.mktemp("cloud")
    config = Config(
        root=ROOT,
        home=home,
        port=port,
        mlflow_port=mlflow_port,
        settings=small_settings(home, workers=2),
        **_external_emulator(),
    )
    with ended_with_this_run(config.pids):
        try:
            yield Cloud(config, local_cloud.up(config, lambda _what, _seconds: None))
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)
