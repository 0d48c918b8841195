"""`python -m dropforge_ui`."""

from __future__ import annotations

import signal
import socket
import sys

from dropforge_ui.config import ConfigError, folder_of_its_own, keep_quiet, read


def main() -> None:
    """Start the web app and serve until it is stopped."""
    keep_quiet()
    try:
        options = read(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}\nfix: {error.fix}")
    signal.signal(
        signal.SIGTERM, lambda _number, _frame: sys.exit(0)
    )  # uvicorn raises it once more when it has stopped
    # Before Gradio is imported, which takes seconds: a browser that comes meanwhile waits for the page, and is not refused.
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with (
        folder_of_its_own(),
        socket.create_server((options.host, options.port), family=family, backlog=512) as listening,
    ):
        from dropforge_ui.app import serve

        serve(options, listening=listening)


if __name__ == "__main__":
    main()
