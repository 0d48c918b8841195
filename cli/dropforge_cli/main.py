"""`dropforge …`: the same verbs against the local cloud and AWS.

Exit codes: 0 done · 1 the thing asked about is not well (a rejected upload, a part that is down) · 2 a mistake of the
caller, told with its fix · 3 the system does not answer; trying again may help.
"""

from __future__ import annotations

import gc
import json
import sys

# Before the imports: most of a command's processor time is its start, whose objects stay, and looking through them for garbage every
# 700 new ones made `dropforge analyze` of Adult a tenth slower.
gc.set_threshold(100_000, 20, 20)

import typer

from dropforge import __version__
from dropforge.errors import DropforgeError, PermanentError, Unavailable
from dropforge_cli.commands import (
    analyze,
    backup,
    cloud,
    containers,
    cost,
    dataset,
    demo,
    deploy,
    destroy,
    doctor,
    erase,
    events,
    export,
    init,
    logs,
    models,
    monitor,
    pull,
    quarantine,
    recovery,
    rules,
    serve,
    switching,
    uploads,
)
from dropforge_cli.output import print_error

_TOUR = """
Drop a table into a bucket; get a report, trained models and a served prediction API.

From a file to a prediction:

    dropforge init my.csv                inspect it, write my/settings.yaml
    cd my && dropforge up                start the local cloud
    dropforge upload ../my.csv --serve   report, train, activate the best
    dropforge predict                    ask it

New data later: dropforge upload new.csv --watch, then dropforge report last.
"""
_EPILOG = (
    "Data go to stdout, progress to stderr; --json prints one JSON document; pipes get plain lines. "
    "Exit codes: 0 done, 1 not well (rejected, down), 2 your mistake, 3 no answer: try again. "
    "Words are completed by your shell after dropforge --install-completion."
)

app = typer.Typer(
    name="dropforge",
    help=_TOUR,
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    init,
    demo,
    cloud,
    uploads,
    pull,
    quarantine,
    dataset,
    models,
    switching,
    export,
    logs,
    recovery,
    monitor,
    serve,
    containers,
    deploy,
    destroy,
    backup,
    erase,
    doctor,
    events,
    cost,
    analyze,
    rules,
):
    part.register(app)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="print the version")) -> None:
    """MLOps for tables: from a file in a bucket to a served model."""
    if version:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


def main() -> None:
    """Entry point: errors of ours are told in words, with the fix, and become exit codes."""
    try:
        app()
    except DropforgeError as error:
        _end(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].startswith("dropforge"):
            raise
        _end(_missing_package(error))
    except Exception as error:
        if not type(error).__module__.startswith("botocore"):
            raise
        _end(
            Unavailable(
                f"the system does not answer: {error}", code="unreachable", fix="dropforge status; dropforge up"
            )
        )


def _missing_package(error: ModuleNotFoundError) -> PermanentError:
    """The wheel alone brings what analyze, init and settings check need; the local cloud and AWS are an extra of it."""
    return PermanentError(
        f"this command needs the Python package {error.name}, which is not installed",
        code="package_missing",
        fix="python -m pip install 'dropforge[local]', or in a checkout: make setup",
    )


def _end(error: DropforgeError) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(error.as_dict()) + "\n")
    print_error(error.message, error.fix)
    sys.exit(3 if error.retryable else 2)


if __name__ == "__main__":
    main()
