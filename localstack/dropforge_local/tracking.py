"""`python -m dropforge_local.tracking`: the MLflow server behind the guard of the local servers.

MLflow itself takes writes from a page of any port of this machine (every origin on localhost is its own). Its server is an ASGI
application; served from here it also needs no second process beside it, as `mlflow server` does.

It has no login, and its pages show what lies wherever a caller says that artifacts lie. So it reads S3 alone, never this machine's
files (a link in a folder of the caller's leads to any file of the person who started the server) nor another host, and it does so
under a role that reads the artifacts and no rows of the data bucket.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence

from dropforge_local.guard import Guard, loopback_hosts
from dropforge_local.relay import HOST_NAME

_SCHEMES = frozenset(
    {"s3", "runs", "models"}
)  # the last two name a run or a model, whose location is looked up, and checked again


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; the rest of MLflow's configuration is in its environment variables."""
    parser = argparse.ArgumentParser(prog="dropforge_local.tracking", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True, help="SQLAlchemy address of the database")
    parser.add_argument(
        "--artifact-root", required=True, help="s3://BUCKET/PREFIX: clients read and write it themselves"
    )
    given = parser.parse_args(arguments)
    hosts = loopback_hosts(given.port, HOST_NAME)
    # Before the imports, which take longest: a request that comes meanwhile waits for its answer, and is not refused.
    listening = socket.create_server(("127.0.0.1", given.port), backlog=2048)
    from mlflow.server import constants

    # What `mlflow server` hands to its workers.
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: given.store,
        constants.REGISTRY_STORE_URI_ENV_VAR: given.store,
        constants.ARTIFACT_ROOT_ENV_VAR: given.artifact_root,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(sorted(hosts)),
    }
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    read_artifacts_of_s3_only()
    initialize_backend_stores(given.store, given.store, given.artifact_root)
    guarded = Guard(app, hosts, links=True)
    uvicorn.Server(uvicorn.Config(guarded, log_level="info", access_log=False)).run(sockets=[listening])


def read_artifacts_of_s3_only() -> None:
    """Forget every other kind of artifact location, for this process."""
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

    repositories = get_registered_artifact_repositories()
    for scheme in set(repositories) - _SCHEMES:
        del repositories[scheme]


if __name__ == "__main__":
    main()
