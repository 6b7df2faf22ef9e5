"""What runs calls: threads of this process, or the workers of a Dask scheduler."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hcs.run.attempts import Attempts
from hcs.run.calls import Call, Future, scheduler_lost, start_call
from hcs.run.retirement import kill_worker, register
from hcs.run.stopping import Stop, heeding
from hcs.run.threads import Threads

# states of a client that answers nobody any more
_ENDED = frozenset({"closing", "closed"})


class ThreadWorkers:
    """Threads of this process: for laptops, and to follow a run with a debugger.

    Parameters
    ----------
    count : int
    stop : Stop
        Ends what the threads are at.
    resources : mapping of str to float
        What one more thread offers, for calls that ask for it and for nothing else.
    """

    def __init__(
        self, count: int, stop: Stop, resources: Mapping[str, float] | None = None
    ) -> None:
        self._count, self._stop = count, stop
        self._threads = Threads(count, "well")
        self._resources = dict(resources or {})
        self._asked_for = Threads(1, "gpu")

    @property
    def count(self) -> int:
        """Threads."""
        return self._count

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call in some thread."""
        threads = self._asked_for if call.resources else self._threads
        return threads.submit(heeding, self._stop, start_call, call, attempts)

    def stop(self, future: Any) -> None:  # noqa: ANN401 - the protocol's future knows too little
        """Leave the thread alone, Python cannot end one, and start others beside it."""
        for threads in (self._threads, self._asked_for):
            threads.give_up(future)

    def forget(self, future: Future) -> None:
        """Do nothing: the result is the future's."""

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether the thread for it has what a call asks for."""
        return has(self._resources, resources)

    def check(self, resources: Mapping[str, float]) -> None:
        """Do nothing: threads are always there."""

    def close(self) -> None:
        """Drop what has not begun, and wait for nothing that has."""
        for threads in (self._threads, self._asked_for):
            threads.close()


@dataclass(frozen=True)
class Coming:
    """Workers that come when there is work, whether there are any now or not.

    Parameters
    ----------
    most : int
        Worker processes, one thread each.
    resources : mapping of str to float
        What each of them offers.
    """

    most: int
    resources: Mapping[str, float] = field(default_factory=dict)


class DaskWorkers:
    """Workers of a Dask cluster, by the client that is connected to it.

    Parameters
    ----------
    client : distributed.Client
    coming : sequence of Coming
        Workers that come and go; empty where those that are there are all.
    look : callable or None
        Raises where none that offers the given resources can come any more.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - distributed has no types
        coming: Sequence[Coming] = (),
        look: Callable[[Mapping[str, float]], None] | None = None,
    ) -> None:
        self._client = client
        self._coming = coming
        self._look = look
        self._waited_for = set[Any]()
        register(client)

    @property
    def count(self) -> int:
        """Threads of all workers that are there now or may come, at least one."""
        threads: int = sum(worker["nthreads"] for worker in self._described())
        return max(1, threads, sum(kind.most for kind in self._coming))

    def submit(self, call: Call, attempts: Attempts) -> Future:
        """Start the call on a worker that has its resources."""
        self._check_connected(call.name)
        future: Future = self._client.submit(
            start_call,
            call,
            attempts,
            # Dask learns how long calls of one first word take, by which it spreads them
            key=f"{call.function.__name__}-{call.name}-{uuid.uuid4().hex[:8]}",
            resources=dict(call.resources) or None,
            pure=False,
        )
        self._waited_for.add(future)
        return future

    def stop(self, future: Any) -> None:  # noqa: ANN401 - distributed has no types
        """Cancel the call and kill the worker that is busy with it; its nanny starts another."""
        self._stop([future])

    def forget(self, future: Any) -> None:  # noqa: ANN401 - distributed has no types
        """Let go of the result: a worker that keeps the only one cannot be retired."""
        # not left to the garbage collector, which comes late to futures that were waited for
        future.release()
        self._waited_for.discard(future)

    def offers(self, resources: Mapping[str, float]) -> bool:
        """Say whether any worker has what a call asks for; a call that none can take would hang."""
        if not resources:
            return True
        there = [worker["resources"] for worker in self._described()]
        return any(has(offered, resources) for offered in (*self._may_come(), *there))

    def check(self, resources: Mapping[str, float]) -> None:
        """Raise a WorkerError where no worker with the resources is there or can come any more."""
        self._check_connected("a call that was on its way")
        if self._look:
            self._look(resources)

    def close(self) -> None:
        """Disconnect; who is busy with a call that nobody waits for any more is stopped."""
        if self._waited_for and self._client.status == "running":
            self._stop(list(self._waited_for))
        self._client.close()

    def _stop(self, futures: Sequence[Any]) -> None:
        """Cancel calls and kill their workers.

        Not by Dask's ``restart_workers``, which asks them to end first: that is no retirement.
        """
        keys, processing = {future.key for future in futures}, self._client.processing()
        busy = [worker for worker, held in processing.items() if keys.intersection(held)]
        self._client.cancel(futures, force=True)
        for worker in busy:
            # the scheduler knows nothing of one that has just left, and says so
            with suppress(KeyError):
                self._client.run(kill_worker, workers=[worker], nanny=True, on_error="ignore")

    def _check_connected(self, what: str) -> None:
        """Raise a WorkerError where Dask gave the scheduler up.

        A client forgets what it is given while it closes, and who waits for that waits for ever.
        """
        if self._client.status in _ENDED:
            raise scheduler_lost(what)

    def _may_come(self) -> list[Mapping[str, float]]:
        return [kind.resources for kind in self._coming if kind.most]

    def _described(self) -> list[dict[str, Any]]:
        workers = self._client.scheduler_info(n_workers=-1).get("workers")
        if workers is None:
            raise scheduler_lost("all that waits for workers")
        return list(workers.values())


def has(offered: Mapping[str, float], asked: Mapping[str, float]) -> bool:
    """Say whether a worker that offers so much has what a call asks for."""
    return all(offered.get(name, 0) >= need for name, need in asked.items())
