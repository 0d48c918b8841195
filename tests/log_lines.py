"""What a process writes into its log, as it would be written there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from dropforge.observability import JsonFormatter, LibraryFormatter


class LogLines(logging.Handler):
    """Lines of our loggers and of libraries, each by the formatter that processes of ours give it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.startswith(("dropforge", "test"))
        self.lines.append((JsonFormatter if ours else LibraryFormatter)("service", "Dropforge").format(record))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@contextmanager
def log_lines() -> Iterator[LogLines]:
    """Everything logged inside, warnings too, at any level."""
    lines, root = LogLines(), logging.getLogger()
    own = [
        log
        for name, log in logging.root.manager.loggerDict.items()
        if isinstance(log, logging.Logger) and not log.propagate
    ]
    level = root.level
    for log in (root, *own):
        log.addHandler(lines)
    root.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            yield lines
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for log in (root, *own):
            log.removeHandler(lines)
