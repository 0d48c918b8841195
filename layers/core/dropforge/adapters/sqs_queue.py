"""Queue on SQS."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from dropforge.adapters.aws_client import translated
from dropforge.ports import QueueMessage

_GONE = {
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "InvalidParameterValue",
    "AWS.SimpleQueueService.MessageNotInflight",
}


class SqsQueue:
    """Queue on SQS."""

    def __init__(self, client: Any, url: str) -> None:
        self._sqs = client
        self._url = url

    def send(self, body: str) -> None:
        with translated(f"queue {self._url}"):
            self._sqs.send_message(QueueUrl=self._url, MessageBody=body)

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> QueueMessage | None:
        with translated(f"queue {self._url}"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        for m in answer.get("Messages", ()):
            return QueueMessage(
                m["Body"], m["ReceiptHandle"], int(m.get("Attributes", {}).get("ApproximateReceiveCount", 1))
            )
        return None

    def extend(self, receipt: str, visibility_seconds: int) -> None:
        with translated(f"queue {self._url}"):
            try:
                self._sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=visibility_seconds
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _GONE:
                    raise

    def delete(self, receipt: str) -> None:
        with translated(f"queue {self._url}"):
            try:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=receipt)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _GONE:
                    raise

    def depth(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with translated(f"queue {self._url}"):
            result = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return sum(int(result.get(n, 0)) for n in names)
