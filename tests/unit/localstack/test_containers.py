"""TrainingCompute=fargate on the local cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropforge.errors import PermanentError
from dropforge_local import containers, profiles
from dropforge_local.layout import Config, last_compute
from dropforge_local.packaging import load_template

ROOT = Path(__file__).parents[3]
KEYS = {"AWS_ACCESS_KEY_ID": "LKIA0", "AWS_SECRET_ACCESS_KEY": "secret"}


def test_a_task_shares_the_hosts_network_and_assumes_the_training_role(tmp_path: Path) -> None:
    """Of the template's task the network changes, a profile is mounted, and no variable of its own is lost or holds a key."""
    before = load_template(ROOT / "template.yaml")["Resources"]["TrainingTask"]["Properties"]
    template = load_template(ROOT / "template.yaml")
    config = Config(ROOT, tmp_path)
    containers.adapt(template, config)
    task = template["Resources"]["TrainingTask"]["Properties"]
    assert task["NetworkMode"] == "host"
    assert task["Volumes"][0]["Host"]["SourcePath"] == str(config.task_profile)
    given = {v["Name"]: v["Value"] for v in task["ContainerDefinitions"][0]["Environment"]}
    stored = {v["Name"]: v["Value"] for v in before["ContainerDefinitions"][0]["Environment"]}
    assert given.items() >= stored.items()
    mounted = task["ContainerDefinitions"][0]["MountPoints"][0]["ContainerPath"]
    assert given["AWS_CONFIG_FILE"] == f"{mounted}/config"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(given)


@pytest.mark.parametrize(("shared", "modes"), [(False, (0o700, 0o600)), (True, (0o755, 0o644))])
def test_a_profile_is_private_unless_a_containers_user_must_read_it(
    tmp_path: Path, shared: bool, modes: tuple[int, int]
) -> None:
    """Folder and files have these modes, also when they were there with others."""
    folder = tmp_path / "aws"
    profiles.write(folder, "arn:aws:iam::000000000000:role/a", KEYS, shared=not shared)
    profiles.write(folder, "arn:aws:iam::000000000000:role/b", KEYS, shared=shared)
    assert (folder.stat().st_mode & 0o777, (folder / "credentials").stat().st_mode & 0o777) == modes
    assert "role/b" in (folder / "config").read_text()


def test_without_docker_the_fix_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing daemon is an error in words before anything is started."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(PermanentError) as error:
        containers.require_image("dropforge-training")
    assert (error.value.code, "--compute queue" in error.value.fix) == ("docker_missing", True)


def test_where_training_runs_is_remembered(tmp_path: Path) -> None:
    """A start without the option is as the last one; state of an older version trains as ever."""
    assert last_compute(tmp_path) == ("queue", "dropforge-training")
    (tmp_path / "ports.json").write_text('{"port": 1, "mlflow_port": 2}')
    assert last_compute(tmp_path) == ("queue", "dropforge-training")
    (tmp_path / "ports.json").write_text('{"port": 1, "mlflow_port": 2, "compute": "fargate", "image": "mine"}')
    assert last_compute(tmp_path) == ("fargate", "mine")
