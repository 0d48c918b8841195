"""Every limit on doing something again. template.yaml and the state machine hold the same figures (tests/architecture).

One upload's attempts are counted before the work, by a conditional write in its record: a process that dies without a word is
counted like one that says what went wrong.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# --- one invocation of analyze or batch --------------------------------------------------------------------------------
FUNCTION_SECONDS: Final = 900  # Timeout of the functions: an attempt that began longer ago has ended
RESERVE_SECONDS: Final = 30  # of an invocation, kept for recording why it stopped

# --- one upload --------------------------------------------------------------------------------------------------------
EVENT_DELIVERIES: Final = 3  # of a decision's or a schedule's event by Lambda: the first and MaximumRetryAttempts
EVENT_RECEIVES: Final = (
    5  # of an upload's event from its queue, then it is a dead letter: attempts, and throttled calls
)
EVENT_PAUSE_SECONDS: Final = 60  # before the second receive; doubled for each one after it
EVENT_HIDDEN_SECONDS: Final = 6 * FUNCTION_SECONDS  # of a received event, as Lambda asks of queues it polls
ATTEMPTS: Final = 3  # that ended with a defect, out of memory or out of time; then the upload fails
OUTAGES: Final = 60  # attempts ended by a dependency that did not answer; with recovery's pauses more than a day
EXECUTIONS: Final = 4  # of the training workflow, each of which ended without a conclusion

# --- recovery ----------------------------------------------------------------------------------------------------------
# Longer than the longest honest chain: three attempts of 15 minutes with pauses of 1 and 2 minutes between them.
RECOVERY_AFTER: Final = timedelta(minutes=60)
RECOVERED_AT_ONCE: Final = (
    200  # uploads of each stage that one recovery looks at, the oldest first; events in a queue it fills
)
SCANNED_AT_ONCE: Final = (
    20_000  # object versions that one recovery looks at for missed events; the next one goes on there
)

# --- conditional writes ------------------------------------------------------------------------------------------------
REWRITES: Final = 40  # of one object, each after reading it again
REWRITE_PAUSE_SECONDS: Final = 0.02  # times the number of the try, drawn at random between none and all of it

# --- training jobs -----------------------------------------------------------------------------------------------------
JOB_RECEIVES: Final = (
    4  # one less than maxReceiveCount of the training queue: the one after it answers for workers that died
)


def event_pause(receives: int) -> int:
    """Seconds before an event that failed on its `receives`-th receive is received again."""
    return min(EVENT_PAUSE_SECONDS << (max(receives, 1) - 1), EVENT_HIDDEN_SECONDS)
