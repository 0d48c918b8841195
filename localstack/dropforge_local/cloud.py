"""up, down, status: the emulator, the MLflow server, the training workers and the web app on loopback."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from dropforge import keys
from dropforge.adapters import history_mac
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.errors import Conflict, DropforgeError, PermanentError, Unavailable
from dropforge_local import artifact_reader, containers, credentials, deploy, frontend, profiles
from dropforge_local import relay as relaying
from dropforge_local.emulator import HEALTH
from dropforge_local.layout import ACCOUNT, CONTAINER, FARGATE, PORT, REGION, Config
from dropforge_local.lifecycle import BucketLifecycle
from dropforge_local.processes import Process, is_listening, require_free, wait_until

Progress = Callable[[str, float], None]  # what was done, seconds it took


def emulator(config: Config) -> Process:
    """The process of the emulator."""
    return Process("the emulator", config.pids / "ministack.json", config.logs / "ministack.log")


def mlflow(config: Config) -> Process:
    """The process of MLflow's server."""
    return Process("the MLflow server", config.pids / "mlflow.json", config.logs / "mlflow.log")


def relay(config: Config) -> Process:
    """The process by which functions in containers reach what listens on loopback."""
    return Process("the relay", config.pids / "relay.json", config.logs / "relay.log")


def worker(config: Config, number: int = 1) -> Process:
    """The process of a training worker."""
    suffix = "" if number == 1 else f"-{number}"
    return Process(
        f"training worker {number}", config.pids / f"worker{suffix}.json", config.logs / f"worker{suffix}.log"
    )


def up(
    config: Config,
    progress: Progress,
    deployer: Callable[[Config], str] = deploy.deploy,
    *,
    web_app: bool = True,
    deployed: Callable[[dict[str, str]], None] = lambda _outputs: None,
) -> dict[str, str]:
    """Start what does not run, deploy what changed, apply settings. Returns the outputs. Raises DropforgeError.

    `deployer` brings the stack to the emulator and says in a word what it did. `web_app`: false leaves its start to
    `start_frontend`, for a caller who has something else to do first. `deployed` is called with the outputs as soon as
    uploads can be sent: of a new stack, while MLflow is still starting, whose callers wait for its answer.
    """
    prepare_home(config)
    _same_project(config)
    if config.compute == FARGATE:
        containers.require_image(config.image)
    errors: list[DropforgeError] = []
    restarted = mlflow(config).pid() is None
    tracking = threading.Thread(target=_caught(lambda: start_mlflow(config, progress), errors), daemon=True)
    tracking.start()
    with _timed("emulator", progress):
        fresh = start_emulator(config)
    if fresh:  # a worker that outlived the emulator holds credentials that nobody knows any more
        for number in range(1, config.workers + 1):
            worker(config, number).stop()
    start_relay(config)
    with _timed("stack", progress) as note:
        done = deployer(config)
        note.append(done)
        if fresh and done != "unchanged":
            _save(config, created=done == "created")
    with _timed("settings", progress):
        _apply_settings(config)
    outputs = deploy.outputs(config)
    created = done == "created"
    if created and _takes_requests(config, tracking):
        deployed(outputs)
    page = threading.Thread(target=_caught(lambda: _timed_frontend(config, outputs, progress), errors), daemon=True)
    if web_app := web_app and bool(config.ui_port):
        page.start()  # beside the MLflow server, which takes longer
    tracking.join()
    if errors:
        raise errors[0]
    _start_workers(config, outputs, progress)
    if not created:  # a stack that was created now has nothing to recover
        if fresh or restarted:
            _recover_all(config, outputs, progress)
        deployed(outputs)
    if web_app:
        page.join()
    if errors:
        raise errors[0]
    _remember(config, outputs)
    return outputs


def _start_workers(config: Config, outputs: dict[str, str], progress: Progress) -> None:
    profiles.write(config.task_profile, outputs["TrainingRoleArn"], config.credentials, shared=True)
    if config.compute != FARGATE:  # else a worker that runs is left to finish what lies in the queue
        with _timed("worker", progress):
            for number in range(1, config.workers + 1):
                start_worker(config, outputs, number)


def _recover_all(config: Config, outputs: dict[str, str], progress: Progress) -> None:
    with _timed("recovery", progress) as note:
        note.append(recover(config, outputs, older_than_minutes=0))


def _takes_requests(config: Config, starting: threading.Thread) -> bool:
    """Wait until MLflow's port is open, long before it answers; false when its start ended with an error."""
    while not (mlflow(config).pid() and is_listening(config.mlflow_port)):
        if not starting.is_alive():
            return False
        time.sleep(0.05)
    return True


def _apply_settings(config: Config) -> None:
    store = S3Store(deploy.client(config, "s3"))
    text = config.settings_file.read_bytes()
    applied = settings_store.apply(store, config.data_bucket, text, config.settings_file.name)
    BucketLifecycle(deploy.client(config, "s3")).apply(config.data_bucket, applied.retention.model_dump())
    artifact_reader.put(config)


def _remember(config: Config, outputs: dict[str, str]) -> None:
    """What the next start takes where its options are left out, and the outputs for other commands."""
    chosen = ("port", "mlflow_port", "ui_port", "compute", "image", "external", "functions")
    config.ports_file.write_text(json.dumps({name: getattr(config, name) for name in chosen}) + "\n")
    config.outputs_file.write_text(json.dumps(outputs, indent=2) + "\n")
    config.outputs_file.chmod(0o600)


def _save(config: Config, *, created: bool) -> None:
    """Start the emulator again. It saves its state when it is stopped, and only then: killed later, it still knows the stack."""
    if created:
        deploy.discard_test_events(config)
    emulator(config).stop()
    start_emulator(config)


def prepare_home(config: Config) -> None:
    """The folder of this local cloud: rows, keys and models lie in it, so nobody else may look inside. Idempotent.

    Without a key of the root account in it, a new one is written, and what still runs with another one is stopped.
    Raises PermanentError for a folder of another user, also behind a symbolic link.
    """
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.home.stat().st_uid != os.geteuid():
        raise PermanentError(
            f"{config.home.resolve()} belongs to another user, who could read what is put there",
            code="home_foreign",
            fix="name a folder of yours: DROPFORGE_HOME",
        )
    config.home.chmod(0o700)
    (config.home / "tmp").mkdir(exist_ok=True)
    history_mac.create(config.history_key_file)
    if credentials.create(config.credentials_file):
        down(config, lambda _what, _seconds: None)


def _same_project(config: Config) -> None:
    """Raises Conflict when this state belongs to a project of another name: its buckets and models would be left behind."""
    stored = config.home / "project"
    if not stored.exists():
        stored.write_text(config.project + "\n")
    elif (before := stored.read_text().strip()) != config.project:
        raise Conflict(
            f"{config.home} holds the data of project {before!r}; settings.yaml now says {config.project!r}",
            code="project_renamed",
            fix=f"write `project: {before}` again, or start over: dropforge down, then remove {config.home}",
        )


def down(config: Config, progress: Progress) -> bool:
    """Stop the processes `up` started, workers first; state stays on disk. False when nothing ran."""
    stopped = False
    workers = [Process(p.stem, p, config.logs / f"{p.stem}.log") for p in sorted(config.pids.glob("worker*.json"))]
    for process in (*workers, frontend.frontend(config), mlflow(config), relay(config), emulator(config)):
        started = time.monotonic()
        if process.stop():
            stopped = True
            progress(f"{process.name} stopped", time.monotonic() - started)
    config.outputs_file.unlink(missing_ok=True)
    return stopped


def status(config: Config) -> dict[str, str]:
    """One word for each part: running, or stopped; the stack's status."""
    alive = emulator(config).pid() is not None and emulator_answers(config)
    return {
        "emulator": "running" if alive else "stopped",
        "stack": (deploy.stack_status(config) or "none") if alive else "unknown",
        "mlflow": "running" if mlflow(config).pid() and _answers(f"{config.mlflow_uri}/health") else "stopped",
        "worker": _worker_status(config),
        "web app": _frontend_status(config),
    }


def read_outputs(config: Config) -> dict[str, str]:
    """What `up` wrote. Raises PermanentError when the local cloud does not run."""
    try:
        document: dict[str, str] = json.loads(config.outputs_file.read_text())
    except OSError:
        raise PermanentError("the local cloud does not run", code="not_running", fix="start it: dropforge up") from None
    return document


def start_frontend(config: Config, outputs: dict[str, str], *, answering: bool = True) -> None:
    """Start the web app on config.ui_port unless it runs; wait until it answers, or only until browsers can wait for it."""
    frontend.start(config, outputs, _clean_environment(config), answering=answering)


def start_worker(config: Config, outputs: dict[str, str], number: int = 1) -> None:
    """Start one training worker under the training role unless it runs."""
    process = worker(config, number)
    if process.pid() is not None:
        return
    profiles.write(config.home / "aws", outputs["TrainingRoleArn"], config.credentials)
    env = {
        **_clean_environment(config),
        **profiles.variables(config.home / "aws"),
        "AWS_ENDPOINT_URL": config.endpoint,
        "MLFLOW_S3_ENDPOINT_URL": config.endpoint,
        "DATA_BUCKET": outputs["DataBucket"],
        "ARTIFACT_BUCKET": outputs["ArtifactBucket"],
        "MLFLOW_TRACKING_URI": config.mlflow_uri,
        "STATE_MACHINE_ARN": outputs["StateMachineArn"],
        "TRAINING_QUEUE_URL": outputs["TrainingQueueUrl"],
        "TRAINING_LOG_GROUP": config.training_log_group,
        "PYTHON_FUNCTION": outputs.get("PredictPythonFunction", ""),
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_WAIT_POLICY": "PASSIVE",  # as in the image: workers share cores, and idle threads that spin slow all of them tenfold
        "PYTHONPATH": str(config.settings_file.parent.resolve()),  # models of the project's own lie beside its settings
    }
    process.start([sys.executable, "-m", "dropforge_training.worker.queue_worker"], env, config.home)


def recover(config: Config, outputs: dict[str, str], *, older_than_minutes: float) -> str:
    """A restart ends every running execution and every function: their uploads are sent on again at once."""
    payload = json.dumps({"older_than_minutes": older_than_minutes})
    # As long as the function may run: a client that gave up earlier would ask for a second recovery beside the first.
    functions = deploy.client(config, "lambda", timeout=330)
    answer = functions.invoke(FunctionName=outputs["RecoverFunction"], Payload=payload)
    recovered = json.loads(answer["Payload"].read()).get("recovered", {})
    return f"({len(recovered)} uploads sent on again)" if recovered else ""


def start_emulator(config: Config) -> bool:
    """True when it was started now. One of somebody else is only asked whether it is there. Raises Unavailable."""
    prepare_home(config)
    if config.external:
        _require_external(config)
        return False
    process = emulator(config)
    started = process.pid() is None
    if started:
        require_free(config.port, "the emulator", "--port")
        env = {
            **_clean_environment(config),
            **containers.daemon_variables(),
            "GATEWAY_PORT": str(config.port),
            "IOT_MTLS_ENABLED": "0",
            "AUTH": "true",
            "PERSIST_STATE": "1",
            "S3_PERSIST": "1",
            "STATE_DIR": str(config.home / "state"),
            "S3_DATA_DIR": str(config.home / "s3"),
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
        }
        command = [sys.executable, "-m", "dropforge_local.emulator", "--port", str(config.port)]
        command += ["--credentials", str(config.credentials_file)]
        if config.ui_port:
            command += [f"--origin=http://{host}:{config.ui_port}" for host in ("127.0.0.1", "localhost")]
        process.start(command, env, config.home)
    wait_until(process, lambda: emulator_answers(config), 30)
    return started


def emulator_answers(config: Config) -> bool:
    """Whether an emulator listens at the endpoint, this checkout's or that of a container."""
    return _external_account(config) != "" if config.external else _answers(f"{config.endpoint}{HEALTH}")


def _external_account(config: Config) -> str:
    """Account number that the emulator of somebody else gives; empty when it does not answer."""
    try:
        return str(deploy.client(config, "sts", timeout=5).get_caller_identity()["Account"])
    except (BotoCoreError, ClientError):
        return ""


def _require_external(config: Config) -> None:
    account = _external_account(config)
    if not account:
        raise Unavailable(
            f"no emulator answers at {config.external}",
            code="emulator_unreachable",
            fix="start it, and name its address and credentials: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
        )
    if account != ACCOUNT:
        raise PermanentError(
            f"the emulator at {config.external} is account {account}; the local cloud is {ACCOUNT}",
            code="account_unknown",
            fix="use credentials of its default account: AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test",
        )


def start_relay(config: Config) -> None:
    """Where functions run in containers: pass what they send to Docker's bridge on to MLflow and to the emulator, unless it listens
    there itself. Idempotent. Raises PermanentError without Docker.
    """
    if config.functions != CONTAINER:
        return
    process, where = relay(config), relaying.bridge()
    if process.pid() is not None:
        return
    emulated = urlsplit(config.endpoint).port or PORT
    ports = [config.mlflow_port, *([] if relaying.answers(where, emulated) else [emulated])]
    command = [sys.executable, "-m", "dropforge_local.relay", *map(str, ports)]
    process.start(command, {**_clean_environment(config), **containers.daemon_variables()}, config.home)
    wait_until(process, lambda: all(relaying.answers(where, port) for port in ports), 30)


def start_mlflow(config: Config, progress: Progress) -> None:
    """Start the MLflow server unless it runs, and wait until it answers. Raises DropforgeError when it does not."""
    process = mlflow(config)
    with _timed("mlflow", progress):
        if process.pid() is None:
            require_free(config.mlflow_port, "MLflow", "--mlflow-port")
            profiles.write(config.home / "mlflow", artifact_reader.arn(config), config.credentials)
            env = {
                **_clean_environment(config),
                **profiles.variables(config.home / "mlflow"),  # it shows artifacts; clients write to S3 themselves
                "AWS_ENDPOINT_URL": config.endpoint,
                "MLFLOW_S3_ENDPOINT_URL": config.endpoint,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "GIT_PYTHON_REFRESH": "quiet",
            }
            command = [sys.executable, "-m", "dropforge_local.tracking", "--port", str(config.mlflow_port)]
            command += ["--store", f"sqlite:///{config.home / 'mlflow.db'}"]
            command += ["--artifact-root", keys.artifact_root(config.artifact_bucket)]
            process.start(command, env, config.home)
        wait_until(process, lambda: _answers(f"{config.mlflow_uri}/health"), 60)


def _timed_frontend(config: Config, outputs: dict[str, str], progress: Progress) -> None:
    with _timed("web app", progress):
        start_frontend(config, outputs)


def _frontend_status(config: Config) -> str:
    if not config.ui_port:
        return "off"
    return "running" if frontend.frontend(config).pid() and frontend.answers(config) else "stopped"


def _worker_status(config: Config) -> str:
    if config.compute == FARGATE:
        return "a container for each job"
    return "running" if worker(config).pid() else "stopped"


def _clean_environment(config: Config) -> dict[str, str]:
    """Nothing of the user's environment but what programs need: functions inherit it, and it may hold secrets."""
    stored = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "LC_ALL", "TZ") if k in os.environ}
    return {**stored, "TMPDIR": str(config.home / "tmp"), "PYTHONUNBUFFERED": "1", "AWS_EC2_METADATA_DISABLED": "true"}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _caught(work: Callable[[], None], errors: list[DropforgeError]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except DropforgeError as error:
            errors.append(error)

    return run


@contextmanager
def _timed(what: str, progress: Progress) -> Iterator[list[str]]:
    start, note = time.monotonic(), list[str]()
    yield note
    progress(" ".join((what, *(n for n in note if n))), time.monotonic() - start)
