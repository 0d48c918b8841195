"""An event from a queue: when the work on it fails, it comes again soon.

A message stays hidden for six times the function's timeout, as Lambda asks: long enough for a call that is still at it, and far too
long for a part that did not answer for a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dropforge import retry_limits
from dropforge.errors import DropforgeError
from dropforge.observability import failure
from dropforge.ports import Queue
from dropforge.uploads.s3_events import Delivery


@contextmanager
def retried_soon(delivery: Delivery, queue: Callable[[], Queue], log: logging.Logger) -> Iterator[None]:
    """Around the work. Whatever it raises is raised on: the message stays, and becomes a dead letter after too many receives."""
    try:
        yield
    except Exception:
        if delivery.receipt:
            _shorten(delivery, queue, log)
        raise


def _shorten(delivery: Delivery, queue: Callable[[], Queue], log: logging.Logger) -> None:
    seconds = retry_limits.event_pause(delivery.receives)
    try:
        queue().extend(delivery.receipt, seconds)
    except DropforgeError as error:  # then it comes when its time in hiding is over, or recovery sends another one
        log.warning("the event comes again later than it could", extra=failure(error))
    else:
        log.warning("the event comes again", extra={"seconds": seconds, "receives": delivery.receives})
