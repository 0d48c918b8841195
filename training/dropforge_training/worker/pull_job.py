"""A pull in the worker's container: credentials of the database and the way to it stay where the container runs."""

from __future__ import annotations

import json
import logging
import signal
import sys
from functools import partial
from types import FrameType

from dropforge import keys, observability
from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.errors import DropforgeError
from dropforge.messages import PullJob, PullResult


def is_pull(job: str) -> bool:
    """Whether the variable JOB asks for a pull; anything else is left to who reads training jobs."""
    try:
        value = json.loads(job)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("role") == "pull"


def run(job: PullJob, world: AppContext, log: logging.Logger) -> bool:
    """Pull, and store the result where the command that asked for it looks. True when it succeeded."""
    with observability.context(job_id=job.job_id):
        try:
            result = _pulled(job, world)
            log.info("pulled", extra={"source": job.source, "rows": result.rows, "upload_id": result.upload_id})
        except DropforgeError as error:
            log.error("pull failed", extra=observability.failure(error))
            result = PullResult(source=job.source, error=error.message, code=error.code, fix=error.fix)
        except Exception as error:
            # A defect must reach who waits for the result; its text may quote rows, so it goes to the log alone.
            log.exception("pull failed")
            result = PullResult(
                source=job.source,
                error=type(error).__name__,
                code="internal_error",
                fix="see its log: dropforge logs --service training",
            )
        uri = keys.pull_result(world.env.data_bucket, job.job_id)
        world.store.put(uri, result.json_text().encode(), content_type="application/json")
        return not result.error


def _pulled(job: PullJob, world: AppContext) -> PullResult:
    from dropforge.adapters.aws_client import client
    from dropforge_training.sources import pull_source

    source = pull_source.described(job.source, settings_store.read(world.store, job.settings_uri))
    return pull_source.pull(source, world.env.data_bucket, partial(client, env=world.env), whole=job.whole)


def main(world: AppContext, log: logging.Logger) -> int:
    """Exit code 0: pulled, or nothing was new; 1: it failed."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit("stopped")  # so that a query that runs elsewhere is stopped, and its files are deleted

    signal.signal(signal.SIGTERM, stop)
    world.env.require("data_bucket")
    return 0 if run(PullJob.parse(world.env.job), world, log) else 1
