"""Prefect as commands start and leave it: nothing on the terminal, no telemetry, and a server."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from hcs.errors import EXIT_STOPPED

# read when Prefect is imported
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # an API that hangs is waited for two minutes a call; Prefect's own 60 s and 5 times make seven
    "PREFECT_API_REQUEST_TIMEOUT": "30",
    "PREFECT_CLIENT_MAX_RETRIES": "3",
}
# for what Prefect has left to tell its API; less, where whoever stopped the command may kill it
_PARTING_S, _PARTING_STOPPED_S = 600.0, 20.0


def prepare_prefect() -> Callable[[], None]:
    """Set Prefect up, and start a server where none is configured; before flows are imported.

    What the environment says already stays.

    Returns
    -------
    callable
        Waits for the server: to be called once flows are imported, which takes as long.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # harmless, when the temporary server ends before its clients
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    from flows.temporary_server import has_server, start_server

    if has_server():
        return lambda: None
    print("hcs: starting Prefect's own server (--monitor none goes without)", file=sys.stderr)
    return start_server()


def part_from_prefect(code: int) -> bool:
    """Let Prefect's threads tell its API what they have left; False where they could not."""
    # most commands go without it
    if "prefect" not in sys.modules:
        return True
    from flows.parting import is_all_told

    is_heard = is_all_told(_PARTING_STOPPED_S if code == EXIT_STOPPED else _PARTING_S)
    if not is_heard:
        print("hcs: Prefect's API did not listen to the end", file=sys.stderr)
    return is_heard
