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
from types import FrameType
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

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
            if any(_is_cancelled(run) for run in runs) and not over.is_set():
                stop()
                return

    # Prefect's settings, among them where its API is, belong to a context
    Thread(target=copy_context().run, args=(look,), name="cancelled?", daemon=True).start()
    try:
        yield
    finally:
        # it may just wait for an API that is gone
        over.set()


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """Have SIGTERM end a flow as Ctrl-C does, with its summary, and both within seconds.

    Prefect raises an exception of its own there, which is no `KeyboardInterrupt`. It asks an API
    that is gone five times more for each of the last words, a minute or two; who sends a signal
    sends SIGKILL by then.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # a handler that is not Python's is None, and could not be put back
    if None in before.values() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        get_current_settings().client.max_retries = 1
        signal.default_int_handler(number, frame)

    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
