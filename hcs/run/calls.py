"""The rules of retry: how often a piece of work is tried, how long, and what ends it.

A call is small: a function, a URL, a well and settings go out, a small record comes back. Whether
it runs in a Dask worker or in a thread of this process, the same rules hold: an error that a second
try may cure (a disk, a network, a worker that died) is tried again as often as the settings allow,
an `HcsError` is final, and work that kills its worker each time is given up. A worker that was
retired, because its time was over or it had nothing to do, is nobody's fault: that start does not
count.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from hcs.errors import HcsError, NoWorkersError, StorageError, WorkerError
from hcs.run.attempts import Attempts
from hcs.run.log import listen, repeat
from hcs.run.overlap import Overlapping
from hcs.run.retirement import noted
from hcs.shown import hide_in

_log = logging.getLogger(__name__)

# how often who waits for a call looks whether a worker can still come
_LOOK_S = 5.0
# how often, within the time that a start may take, it is looked for
_LOOKS = 10


@dataclass(frozen=True)
class Call:
    """One piece of work.

    Parameters
    ----------
    name : str
        Under which its starts are counted, ``"B/03/well"``.
    function, arguments
        Picklable, and found by import on the worker.
    resources : mapping of str to float
        What a worker must offer, ``{"GPU": 1}``; empty for any worker.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    resources: Mapping[str, float] = field(default_factory=dict)


class Future(Protocol):
    """What Dask's and Python's own futures have in common."""

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - whatever the call returns
        """Wait for the result, or raise the call's error."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the error of the call, None where it has none."""


class Workers(Protocol):
    """Something that runs calls."""

    @property
    def count(self) -> int:
        """Calls that run at the same time."""

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call on some worker."""

    def stop(self, future: Future) -> None:
        """Stop a call that takes too long."""

    def forget(self, future: Future) -> None:
        """Let go of a call's result, which its worker keeps otherwise."""

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has what a call asks for, or will when it comes."""

    def check(self, resources: Mapping[str, float]) -> None:
        """Raise a WorkerError where a call waits for workers that cannot come any more."""

    def close(self) -> None:
        """Let the workers go."""


class Cluster:
    """Workers, and the rules by which calls are tried again.

    Parameters
    ----------
    workers : Workers
    timeout_s : float or None
        Longest time for one start of a call.
    """

    def __init__(self, workers: Workers, timeout_s: float | None = None) -> None:
        self._workers = workers
        self._timeout_s = timeout_s

    @property
    def n_workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers.count

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has these resources."""
        return self._workers.offers(resources)

    def run(self, call: Call, attempts: Attempts) -> Any:  # noqa: ANN401 - whatever the call returns
        """Run a call to its end, in this thread, and return its result.

        Raises
        ------
        WorkerError
            If no worker has the resources, the call takes too long, or its worker died each time.
        Exception
            What the last start of the call raised.
        """
        if not self._workers.offers(call.resources):
            raise NoWorkersError(
                f"no worker offers {dict(call.resources)}, which {call.name} asks for",
                hint="start workers with --resources, or leave the step out of `methods`",
            )
        tries = 0
        while True:
            tries += 1
            work = _AtWork(call.name, attempts, self._timeout_s)
            future = self._workers.submit(call, attempts)
            try:
                answer = self._wait(future, call, work)
            except (CancelledError, OSError) as let_go:
                # the second of Dask's connections: errors of the call itself come as answers
                raise scheduler_lost(call.name) from let_go
            finally:
                self._workers.forget(future)
            repeat(answer.log)
            error = answer.error
            if error is None:
                return answer.result
            if not is_passing(error) or max(tries, attempts.count(call.name)) >= attempts.limit:
                raise _in_words(error, call.name)
            _log.warning("%s is tried again: %s", call.name, error)

    def close(self) -> None:
        """Let the workers go; calls that wait for them end with an error."""
        self._workers.close()

    def _wait(self, future: Future, call: Call, work: _AtWork) -> _Answer:
        while True:
            try:
                error = future.exception(min(_LOOK_S, work.look_s))
                # not without end: a result is lost with its worker until it is fetched
                answer: _Answer = _Answer(error=error) if error else future.result(_LOOK_S)
            except TimeoutError:
                self._workers.check(call.resources)
            else:
                return answer
            if work.is_late():
                self._workers.stop(future)
                late = CallTimeoutError(
                    f"{call.name} took longer than {work.limit_s:g} s",
                    hint="raise --timeout if the well is merely long",
                )
                return _Answer(error=late)


class _AtWork:
    """How long the latest start of a call has been at work: time in a queue does not count.

    A start is seen some time after it was, and never before: none is late too early. To be made
    before the call is submitted, whose start may be noted at once.
    """

    def __init__(self, name: str, attempts: Attempts, limit_s: float | None) -> None:
        self.limit_s = limit_s or math.inf
        self.look_s = self.limit_s / _LOOKS
        self._name, self._attempts = name, attempts
        self._before = self._latest = attempts.most(name) if limit_s else 0
        self._since, self._due = math.inf, time.monotonic() + self.look_s

    def is_late(self) -> bool:
        """Tell whether it has been at work for longer than it may."""
        now = time.monotonic()
        if now < min(self._due, self._since + self.limit_s):
            return False
        self._due = now + self.look_s
        latest = self._attempts.under_way(self._name)
        # the scheduler starts it again by itself where a worker died or was retired
        if latest != self._latest:
            self._latest, self._since = latest, now if latest > self._before else math.inf
        return now - self._since >= self.limit_s


@dataclass(frozen=True)
class _Answer:
    """What a call sends back, and what was said on the way.

    An error that says why is sent back, too: one that is raised, Dask prints with a trace.
    """

    result: Any = None
    error: BaseException | None = None
    log: tuple[str, ...] = ()


class CallTimeoutError(WorkerError):
    """A call took longer than the settings allow; its worker was stopped."""


def scheduler_lost(what: str) -> NoWorkersError:
    """Return the error of a run whose scheduler ended, or let go of its work."""
    return NoWorkersError(
        f"the Dask scheduler was lost, with {what}",
        hint="start it, and run again: what is finished is kept",
    )


def is_passing(error: BaseException) -> bool:
    """Say whether a second try may cure an error.

    Examples
    --------
    >>> is_passing(StorageError("bad disk")), is_passing(HcsError("bad input"))
    (True, False)
    """
    from distributed import KilledWorker

    if isinstance(error, HcsError):
        return isinstance(error, CallTimeoutError | StorageError)
    return isinstance(error, OSError | MemoryError | KilledWorker)


def _in_words(error: BaseException, name: str) -> BaseException:
    if not isinstance(error, MemoryError):
        return error
    return WorkerError(
        f"{name} ran out of memory: {error}",
        hint="see `hcs plan`; fewer workers (--workers) leave more for each",
    )


def _dask_by_itself() -> AbstractContextManager[object]:
    """Keep a library that computes with dask (ngio does) from asking its own cluster: it hangs."""
    import dask

    context: AbstractContextManager[object] = dask.config.set(scheduler="synchronous")
    return context


_DASK_BY_ITSELF = Overlapping(_dask_by_itself)


def start_call(call: Call, attempts: Attempts) -> _Answer:
    """Note the start of a call, then do it; this is what runs on the worker."""
    try:
        with noted(attempts, call.name), _DASK_BY_ITSELF.inside():
            with listen() as lines:
                result = call.function(*call.arguments)
            return _Answer(result, log=tuple(lines))
    except (HcsError, MemoryError) as error:
        return _Answer(error=error)
    except Exception as error:
        # Dask prints what is raised
        hide_in(error)
        raise
