"""Log lines and metrics of the functions and workers that do not predict: aws-lambda-powertools' Logger keys and EMF metrics.

Beside the lean formatter's fields a line has `location` (function and line) and, where tracing is on, `xray_trace_id`. What
exceptions quote is left out, as everywhere (see observability). Why predict keeps the lean formatter: docs/adr/0003-powertools.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from dropforge import observability


class PowertoolsFormatter(LambdaPowertoolsFormatter):
    """One JSON line a record, with the context's fields (correlation_id, …), the call's `extra` fields and its metrics."""

    def __init__(self, service: str, namespace: str) -> None:
        super().__init__(utc=True, use_rfc3339=True, serialize_stacktrace=False, service=service)
        self._service, self._namespace = service, namespace

    def format(self, record: logging.LogRecord) -> str:
        """Of an exception its kinds and places, never its message."""
        fields = {**observability.current(), **vars(record)}
        metrics: Mapping[str, float] = fields.pop("metrics", None) or {}
        if metrics:
            fields |= self._embedded(record.created, metrics)
        if record.exc_info and record.exc_info[1]:
            fields |= observability.failure(record.exc_info[1])
        return super().format(logging.makeLogRecord({**fields, "exc_info": None, "exc_text": None, "stack_info": None}))

    def _embedded(self, created: float, metrics: Mapping[str, float]) -> dict[str, Any]:
        """The metrics as fields of this line, and the block that declares them. One value each, where the library writes lists."""
        provider = AmazonCloudWatchEMFProvider(namespace=self._namespace, service=self._service)
        provider.timestamp = int(created * 1000)
        for name, value in metrics.items():
            provider.add_metric(name, observability.METRICS[name], value)
        return {**provider.serialize_metric_set(), **metrics}
