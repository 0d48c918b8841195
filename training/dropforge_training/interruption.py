"""The one signal by which a running job is told to stop."""

from __future__ import annotations


class Interrupted(BaseException):
    """The worker was asked to stop, or nobody waits for the job any more; nothing is wrong with the job.

    Not an Exception: it may be raised by a signal handler anywhere inside a job, and no library's `except Exception` may
    take it for a failed trial or a failed request.
    """
