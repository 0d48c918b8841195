"""`python -m dropforge_ui`."""

from __future__ import annotations

import sys

from dropforge_ui.config import ConfigError, keep_quiet, read, work_in_a_folder_of_its_own


def main() -> None:
    """Start the web app and serve until it is stopped."""
    keep_quiet()
    try:
        options = read(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}\nfix: {error.fix}")
    work_in_a_folder_of_its_own()
    from dropforge_ui.app import serve

    serve(options)


if __name__ == "__main__":
    main()
