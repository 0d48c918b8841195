"""dropforge env: the variables of containers."""

from __future__ import annotations

from dropforge.environment import Environment
from dropforge_cli.commands import serve
from dropforge_cli.commands.containers import for_api, for_sam, for_shell, for_worker
from dropforge_cli.target import Target

LOCAL = {
    "DataBucket": "d",
    "ArtifactBucket": "a",
    "MlflowUrl": "http://127.0.0.1:5500",
    "StateMachineArn": "arn:m",
    "TrainingQueueUrl": "http://127.0.0.1:4566/000000000000/q",
    "Region": "us-east-1",
    "PredictPythonFunction": "dropforge-python",
    "LogGroupPrefix": "/dropforge/dropforge/",
    "EndpointUrl": "http://127.0.0.1:4566",
    "AccessKeyId": "LKIA0",
    "SecretAccessKey": "secret of this project",
}
CLOUD = {**LOCAL, "EndpointUrl": "", "MlflowUrl": "https://mlflow.example", "TrainingQueueUrl": "https://sqs.example/q"}


def test_each_program_is_given_what_it_requires() -> None:
    """The worker and the API start with these variables; a local worker has the training role's profile, not root's keys."""
    worker, api = for_worker(Target(LOCAL)), for_api(Target(LOCAL))
    Environment.read(worker).require("data_bucket", "mlflow_tracking_uri", "training_queue_url", "state_machine_arn")
    Environment.read(api).require("data_bucket", "artifact_bucket", "api_key", "admin_key")
    assert worker["AWS_PROFILE"] == "dropforge"
    assert "AWS_ACCESS_KEY_ID" not in worker
    assert api["API_HOST"] == "127.0.0.1"


def test_whoever_answers_predict_knows_who_runs_python_models() -> None:
    """`dropforge serve`, the API in a container and `sam local` ask the deployed predict_python; without one they know of none."""
    bare = {k: v for k, v in LOCAL.items() if k != "PredictPythonFunction"}
    assert serve.variables(Target(LOCAL))["python_function"] == "dropforge-python"
    assert not serve.variables(Target(bare))["python_function"]
    for given in (for_api, for_sam):
        assert given(Target(LOCAL))["PYTHON_FUNCTION"] == "dropforge-python"
        assert "PYTHON_FUNCTION" not in given(Target(bare))


def test_functions_in_sam_local_reach_the_cloud_by_the_hosts_name() -> None:
    """Loopback would be the container itself; a region is Lambda's own to set."""
    given = for_sam(Target(LOCAL))
    assert given["AWS_ENDPOINT_URL"] == "http://host.docker.internal:4566"
    assert not any("127.0.0.1" in value for value in given.values())
    assert "AWS_REGION" not in given


def test_a_shell_gets_what_the_aws_tools_read() -> None:
    """Locally the project's key and addresses; of a stack on AWS no key and no endpoint: the tools have their own."""
    local, cloud = for_shell(Target(LOCAL)), for_shell(Target(CLOUD))
    assert (local["AWS_ACCESS_KEY_ID"], local["AWS_SECRET_ACCESS_KEY"]) == ("LKIA0", "secret of this project")
    assert local["AWS_ENDPOINT_URL"] == local["MLFLOW_S3_ENDPOINT_URL"] == LOCAL["EndpointUrl"]
    assert set(cloud) == {"AWS_REGION", "AWS_DEFAULT_REGION", "MLFLOW_TRACKING_URI"}


def test_on_aws_nothing_local_is_given() -> None:
    """No endpoint, no keys of the emulator, no profile: the container's own role speaks."""
    for given in (for_worker(Target(CLOUD)), for_api(Target(CLOUD)), for_sam(Target(CLOUD))):
        assert not {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "API_HOST"} & set(given)
