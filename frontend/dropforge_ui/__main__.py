"""`python -m dropforge_ui`."""

from __future__ import annotations

import signal
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
    with folder_of_its_own():
        from dropforge_ui.app import serve

        serve(options)


if __name__ == "__main__":
    main()
