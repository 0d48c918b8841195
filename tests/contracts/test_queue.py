"""What every Queue promises."""

from __future__ import annotations

from dropforge.ports import Queue


def test_a_sent_message_is_received_and_hidden(queue: Queue) -> None:
    """While it is in work nobody else receives it."""
    queue.send("job")
    message = queue.receive(wait_seconds=1, visibility_seconds=30)
    assert message is not None
    assert message.body == "job"
    assert queue.receive(wait_seconds=0, visibility_seconds=30) is None
    assert queue.depth() == 1


def test_an_unfinished_message_comes_back(queue: Queue) -> None:
    """Visibility set to zero gives it back at once, with its count of receives raised."""
    queue.send("job")
    first = queue.receive(wait_seconds=1, visibility_seconds=30)
    assert first is not None
    queue.extend(first.receipt, 0)
    again = queue.receive(wait_seconds=1, visibility_seconds=30)
    assert again is not None
    assert (again.body, again.receives) == ("job", 2)


def test_deleting_is_final_and_repeatable(queue: Queue) -> None:
    """A deleted message never returns; deleting or extending it again is no error."""
    queue.send("job")
    message = queue.receive(wait_seconds=1, visibility_seconds=30)
    assert message is not None
    queue.delete(message.receipt)
    queue.delete(message.receipt)
    queue.extend(message.receipt, 10)
    assert queue.receive(wait_seconds=0, visibility_seconds=1) is None
    assert queue.depth() == 0
