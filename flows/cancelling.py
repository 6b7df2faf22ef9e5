"""Who cancels a run in Prefect's UI stops it, also one that no Prefect worker started.

Prefect itself ends only what its own workers and runners started, by a signal. Here the flow asks
now and then whether it was cancelled, or the run that it is a part of.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.progress import API_ERRORS

# of the 30 s that a cancelled run may take to end
_LOOK_S = 5.0


@contextmanager
def heeding_cancellation(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` once, from another thread, when this flow run is cancelled.

    An API that does not answer cancels nothing, and is asked again.

    Parameters
    ----------
    stop : callable
    """
    runs = _own_runs()
    over = Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            if any(_is_cancelled(run) for run in runs):
                stop()
                return

    # Prefect's settings, among them where its API is, belong to a context
    looking = Thread(target=copy_context().run, args=(look,), name="cancelled?", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Have SIGTERM end a flow as Ctrl-C does, with its summary.

    Prefect raises an exception of its own there, which is no `KeyboardInterrupt`.
    """
    before = signal.getsignal(signal.SIGTERM)
    # a handler that is not Python's is None, and could not be put back
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _own_runs() -> list[UUID]:
    try:
        runs = (flow_run.id, flow_run.parent_flow_run_id)
    except API_ERRORS:
        runs = (flow_run.id, None)
    return [UUID(run) for run in runs if run]


def _is_cancelled(run: UUID) -> bool:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
    except API_ERRORS:
        return False
    return bool(state and (state.is_cancelling() or state.is_cancelled()))
