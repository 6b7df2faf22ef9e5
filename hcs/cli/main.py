"""``hcs``: the commands, and what their exit codes mean.

0 done, 1 nothing done or bad input, 2 partly done, 64 wrong usage, 130 stopped.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import typer

from hcs.cli.output import print_error
from hcs.cli.watched import part_from_prefect
from hcs.errors import EXIT_STOPPED, EXIT_USAGE, HcsError
from hcs.run.threads import is_any_hanging
from hcs.shown import hide_in, shown

# one module per group of commands; each has `register(app)`
_GROUPS: tuple[str, ...] = (
    "run",
    "plan",
    "upkeep",
    "nightly",
    "simulate",
    "ingest",
    "evaluate",
    "overlay",
    "annotate",
    "train",
    "weights",
)


def build_app() -> typer.Typer:
    """Return the command line with every group registered."""
    app = typer.Typer(
        name="hcs",
        help="Overnight analysis of live-cell high-content screens.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for group in _GROUPS:
        import_module(f"hcs.cli.{group}").register(app)
    return app


class _Shown(logging.Formatter):
    """What modules warn of, as it may stand on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return shown(super().format(record))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    if logging.lastResort:
        logging.lastResort.setFormatter(_Shown())
        # also where Prefect says what goes to a terminal, and that is nothing
        for name in ("hcs", "flows"):
            logging.getLogger(name).addHandler(logging.lastResort)
    # `scancel`, an evicted pod, a shutdown: as orderly an end as Ctrl-C
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = build_app()(arguments, standalone_mode=False)
    except typer.TyperException as error:  # what the parser raises, and nothing else does
        # without one it has printed the help
        if message := error.format_message():
            print_error(HcsError(message, hint="see `hcs --help`"))
        code = EXIT_USAGE
    except HcsError as error:
        print_error(error)
        code = error.exit_code
    except Exception as error:
        # Python prints it, with all that led to it
        hide_in(error)
        raise
    if code == EXIT_STOPPED:
        print("hcs: stopped; run the same command again to go on", file=sys.stderr)
    # else the process is not this command's
    if arguments is None and (not part_from_prefect(code or 0) or is_any_hanging()):
        sys.stdout.flush()
        # Python would wait for it
        os._exit(code or 0)
    sys.exit(code or 0)
