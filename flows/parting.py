"""The end of a process whose Prefect API does not listen.

What happened meanwhile Prefect's threads tell the API when the interpreter ends, and it waits for
them: where the API hangs two minutes for each state of each well, days for a plate.
"""

from __future__ import annotations

import time
from typing import Any

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker


def is_all_told(within_s: float) -> bool:
    """Wait until Prefect's threads have told the API all that they have; False where they have not.

    Parameters
    ----------
    within_s : float
        Longest time to wait, seconds.
    """
    end = time.monotonic() + within_s
    left = set[Any]()
    for worker in (APILogWorker, EventsWorker):
        # in a coroutine it would be something else
        told: Any = worker.drain_all(timeout=max(0.0, end - time.monotonic()))
        left |= told.not_done
    return not left
