"""`python -m dropforge_ui`."""

from __future__ import annotations

import sys

from dropforge_ui.config import ConfigError, keep_quiet, read


def main() -> None:
    keep_quiet()
    try:
        options = read(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}\nfix: {error.fix}")
    from dropforge_ui.app import serve

    serve(options)


if __name__ == "__main__":
    main()
