"""Workers that are retired in the middle of a well: their time is over, or their place is wanted.

A worker of Slurm ends itself before its job's time does, a node is drained, a cluster shrinks. Dask
then gives the work to another worker. Here the worker writes down that it was retired, so that the
well is not blamed for it, and lets go of the work at once: a thread that went on beside the other
worker would write where that one writes.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hcs.errors import HcsError
from hcs.run.attempts import Attempts

_log = logging.getLogger(__name__)

_NAME = "hcs-retirement"
# what runs in this process: name and number of the start, and where it is written down
_running: dict[tuple[str, int], Attempts] = {}


@contextmanager
def noted(attempts: Attempts, name: str) -> Iterator[None]:
    """Write down that a piece of work starts, and that it ended or its worker was retired."""
    number = attempts.start(name)
    _running[name, number] = attempts
    try:
        yield
    finally:
        del _running[name, number]
        attempts.end(name, number)


def retire() -> int:
    """Write down of all that runs in this process that its worker is retired; return how much."""
    running = list(_running.items())
    for (name, number), attempts in running:
        try:
            attempts.retire(name, number)
        except HcsError as error:
            # it is to end all the same: its successor writes where it writes
            _log.warning("start %d of %s counts as one whose worker died: %s", number, name, error)
    return len(running)


def register(client: Any) -> None:  # noqa: ANN401 - distributed has no types
    """Tell all workers of a scheduler, and those to come, what to do when they are retired."""
    from distributed import WorkerPlugin

    class Retirement(WorkerPlugin):
        name = _NAME

        def setup(self, worker: Any) -> None:  # noqa: ANN401
            _leave_signals_to_nanny(worker)

        def teardown(self, worker: Any) -> None:  # noqa: ANN401
            if retire() and worker.nanny:
                # a thread cannot be stopped, and its work is another worker's by now
                os._exit(0)

    client.register_plugin(Retirement(), name=_NAME)


def dask_setup(scheduler: Any) -> None:  # noqa: ANN401 - distributed has no types
    """Spare workers that offer a resource, as a GPU, where a scheduler is to retire some number.

    For ``dask scheduler --preload``, which calls it by this name. The Dask operator makes its group
    of plain workers smaller so, and removes whichever the scheduler names: those that idle, as one
    with a GPU does until the first network is run, and nobody would start another.
    """
    from distributed import SchedulerPlugin

    class Sparing(SchedulerPlugin):
        name = "hcs-sparing"

        def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:  # noqa: ANN401
            return [worker for worker in workers if not worker.resources]

    scheduler.add_plugin(Sparing())


def kill_worker(dask_worker: Any) -> None:  # noqa: ANN401 - distributed has no types
    """Kill the worker of a nanny, which Dask gives by this name; its start is charged."""
    if dask_worker.pid:
        os.kill(dask_worker.pid, signal.SIGKILL)


def _leave_signals_to_nanny(worker: Any) -> None:  # noqa: ANN401 - distributed has no types
    """Let a worker outlive the SIGTERM that Slurm sends to a whole job, until its nanny ends it.

    A nanny that ends it for its memory sends SIGKILL after the SIGTERM.
    """
    if worker.nanny and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
