"""Prefect as commands start it: nothing on the terminal, no telemetry, patient with its server."""

from __future__ import annotations

import logging
import os
import sys

# read when Prefect is imported
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
}


def quieten_prefect() -> None:
    """Set Prefect up before it is imported; what the environment says already stays."""
    if "PREFECT_API_URL" not in os.environ:
        print("hcs: starting Prefect's own server (--monitor none goes without)", file=sys.stderr)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # harmless, when the temporary server ends before its clients
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
