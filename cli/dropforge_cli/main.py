"""`dropforge …`: the same verbs against the local cloud and AWS.

Exit codes: 0 done · 1 the thing asked about is not well (a rejected upload, a part that is down) · 2 a mistake of the
caller, told with its fix · 3 the system does not answer; trying again may help.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

# Before the imports: most of a command's processor time is its start, whose objects stay, and looking through them for garbage every
# 700 new ones made `dropforge analyze` of Adult a tenth slower.
gc.set_threshold(100_000, 20, 20)

import typer

from dropforge import __version__
from dropforge.errors import DropforgeError, PermanentError, Unavailable
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

# What each module of dropforge_cli.commands registers. A command line has one command: its module alone is imported, the others would
# take longer than many a command itself.
COMMANDS: Final = {
    "init": ("init", "example"),
    "demo": ("demo",),
    "cloud": ("up", "down", "status", "outputs", "apply"),
    "projects": ("projects",),
    "uploads": ("upload", "batch", "watch", "report", "uploads"),
    "pull": ("pull",),
    "quarantine": ("quarantine",),
    "dataset": ("dataset",),
    "models": ("alias", "set-model", "predict", "data", "models"),
    "switching": ("rollout", "rollback", "history"),
    "export": ("export",),
    "logs": ("logs",),
    "recovery": ("recover", "redrive"),
    "monitor": ("monitor",),
    "serve": ("serve",),
    "containers": ("env", "relay"),
    "deploy": ("deploy",),
    "destroy": ("destroy",),
    "backup": ("backup", "restore"),
    "erase": ("erase",),
    "upgrade": ("upgrade",),
    "doctor": ("doctor",),
    "events": ("event",),
    "cost": ("cost",),
    "analyze": ("analyze", "settings"),
    "rules": ("rules",),
}

if TYPE_CHECKING:
    app: typer.Typer


def __getattr__(name: str) -> Any:
    """`app`: the application with every command."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("app", application())


def application(command: str = "") -> typer.Typer:
    """With the module of one command, or with all of them where there is no such command: for help, completion, slips of the pen."""
    created = typer.Typer(
        name="dropforge",
        help=_TOUR,
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    created.callback(invoke_without_command=True)(root)
    for module in [m for m, names in COMMANDS.items() if command in names] or COMMANDS:
        importlib.import_module(f"dropforge_cli.commands.{module}").register(created)
    return created


def root(version: bool = typer.Option(False, "--version", help="print the version")) -> None:
    """MLOps for tables: from a file in a bucket to a served model."""
    if version:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


def main() -> None:
    """Entry point: errors of ours are told in words, with the fix, and become exit codes."""
    try:
        application(_command(sys.argv[1:]))()
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


def _command(arguments: Sequence[str]) -> str:
    """The first argument that is no option; the options before a command take no value."""
    return next((a for a in arguments if not a.startswith("-")), "")


def _missing_package(error: ModuleNotFoundError) -> PermanentError:
    """The wheel alone brings what analyze, init and settings check need; Arrow files, the local cloud and AWS are extras of it."""
    extra = "arrow" if (error.name or "").startswith("arro3") else "local"
    return PermanentError(
        f"this needs the Python package {error.name}, which is not installed",
        code="package_missing",
        fix=f"python -m pip install 'dropforge[{extra}]', or in a checkout: make setup",
    )


def _end(error: DropforgeError) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(error.as_dict()) + "\n")
    print_error(error.message, error.fix)
    sys.exit(3 if error.retryable else 2)


if __name__ == "__main__":
    main()
