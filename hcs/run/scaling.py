"""As many workers of each kind as there is work for: they come, go and are replaced.

Dask's own `Adaptive` does the counting over time; here is what it cannot know: that a cluster has
several kinds of workers, that a well is worth a worker of its own however short the last one was,
and that a worker which is busy is never sent away.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from distributed import Client
from distributed.deploy.adaptive import Adaptive

from hcs.errors import WorkerError
from hcs.run.stopping import Stop
from hcs.run.workers import Coming, DaskWorkers

_log = logging.getLogger(__name__)

# states of Dask's tasks that need a worker
_WANTED = frozenset({"processing", "no-worker", "queued"})
# between two messages that work waits, and two looks for a first worker, seconds
_SAY_AGAIN_S = 600.0
_LOOK_S = 2.0


@dataclass(frozen=True)
class Kind:
    """Workers of one kind.

    Parameters
    ----------
    name : str
        Which the names of its workers begin with.
    spec : mapping
        What Dask's `SpecCluster` starts one from: a process, or a job of several.
    bounds : (int, int)
        Fewest and most worker processes.
    resources : mapping of str to float
        What each of them offers.
    size : int
        Processes that are started together.
    """

    name: str
    spec: Mapping[str, Any]
    bounds: tuple[int, int]
    resources: Mapping[str, float] = field(default_factory=dict)
    size: int = 1

    def starts(self, processes: int) -> int:
        """Return how many are to be started for so many processes.

        Examples
        --------
        >>> Kind("cpu", {}, (0, 16), size=8).starts(9)
        2
        """
        return math.ceil(processes / self.size)


class Scaling(Adaptive):
    """Keeps the workers of one kind as many as its work asks for, within its bounds.

    Parameters
    ----------
    cluster : distributed.SpecCluster
        Whose scheduler lives in this process.
    kind : Kind
    interval_s : float
        Between two looks.
    idle_looks : int
        Looks in a row that find a worker idle before it goes.
    """

    # why none is there and none can come, as of the last look
    failure: WorkerError | None = None
    # a SpecCluster, which `Adaptive` does not ask for
    cluster: Any

    def __init__(
        self,
        cluster: Any,  # noqa: ANN401 - distributed has no types
        kind: Kind,
        interval_s: float,
        idle_looks: int,
    ) -> None:
        self.kind = kind
        self._numbers = count()
        self._looking = asyncio.Lock()
        self._told = time.monotonic()
        # the first worker is wanted before its work is known
        self._fewest, most = (kind.starts(n) for n in kind.bounds)
        first = self._fewest if kind.resources else max(1, self._fewest)
        super().__init__(
            cluster, interval=interval_s, minimum=first, maximum=most, wait_count=idle_looks
        )

    async def adapt(self) -> None:
        """Take one look, and start more or let some go."""
        async with self._looking:
            await super().adapt()

    async def end(self) -> None:
        """Look no more, once the look that is on its way is over."""
        self.stop()
        async with self._looking:
            pass

    def begin(self) -> None:
        """Let go of the first worker too when there is nothing to do, where that is allowed."""
        self.minimum = self._fewest

    def check(self) -> None:
        """Raise what keeps workers from coming, if there are none and none can."""
        if self.failure:
            raise self.failure

    @property
    def plan(self) -> set[Any]:
        """Names of those that shall be."""
        return self._mine(self.cluster.worker_spec)

    @property
    def requested(self) -> set[Any]:
        """Names of those that were started or asked for."""
        return self._mine(self.cluster.workers) & self.plan

    @property
    def observed(self) -> set[Any]:
        """Names of those of which a process is there."""
        return {name for name in self.plan if self._processes(name)}

    async def target(self) -> int:
        """Return how many are wanted: a process for each piece of work."""
        tasks = self.cluster.scheduler.tasks.values()
        wanted = self.kind.starts(sum(self._is_mine(task) for task in tasks))
        self._tell(wanted)
        return wanted

    async def workers_to_close(self, target: int) -> list[str]:
        """Return those that have nothing to do, as many as there are too many."""
        idle = [
            name
            for name in sorted(self.observed)
            if not any(process.processing for process in self._processes(name))
        ]
        # those that have not come yet go first
        return idle[: max(0, len(self.observed) - target)]

    # both as `Adaptive` has them: its parent's hints are those of workers, here there are names
    async def scale_up(self, n: int) -> None:  # type: ignore[override]
        """Start more, until there are so many."""
        while len(self.plan) < n:
            self.cluster.worker_spec[self._new_name()] = self.kind.spec
        await self.cluster

    async def scale_down(self, workers: Iterable[str]) -> None:  # type: ignore[override]
        """Let those go that are still idle or never came."""
        names = set(workers) & self.plan
        # from here to the scheduler's own note that they leave nothing else runs: no work is lost
        leaving = [p.address for name in names for p in self._processes(name) if not p.processing]
        if leaving:
            await self.cluster.scheduler.retire_workers(workers=leaving)
        for name in names - self.observed:
            del self.cluster.worker_spec[name]
        await self.cluster

    def _mine(self, names: Iterable[object]) -> set[str]:
        return {str(name) for name in names if str(name).startswith(f"{self.kind.name}-")}

    def _is_mine(self, task: Any) -> bool:  # noqa: ANN401 - distributed has no types
        asked = dict(task.resource_restrictions or {})
        return task.state in _WANTED and asked == dict(self.kind.resources)

    def _processes(self, name: str) -> list[Any]:
        """Return the processes of a start, which Dask names after it."""
        workers = self.cluster.scheduler.workers.values()
        return [w for w in workers if str(w.name) == name or str(w.name).startswith(f"{name}-")]

    def _new_name(self) -> str:
        names = (f"{self.kind.name}-{number}" for number in self._numbers)
        return next(name for name in names if name not in self.cluster.worker_spec)

    def _tell(self, wanted: int) -> None:
        """Say from time to time that work waits for a first worker."""
        if self.observed or not (wanted or self.minimum):
            self._told = time.monotonic()
        elif time.monotonic() - self._told > _SAY_AGAIN_S:
            self._told = time.monotonic()
            _log.warning("still no %s worker: %s", self.kind.name, self.waiting_for())

    def waiting_for(self) -> str:
        """Return what a worker that is to come waits for, in words."""
        return f"{len(self.plan)} are being started"


@contextmanager
def scaled(
    cluster: Any,  # noqa: ANN401 - distributed has no types
    scalings: Sequence[Scaling],
    stop: Stop,
) -> Iterator[DaskWorkers]:
    """Wait for a first worker, then give all that come and go.

    Parameters
    ----------
    cluster : distributed.SpecCluster
    scalings : sequence of Scaling
        One per kind of worker, those for any work first.
    stop : Stop

    Raises
    ------
    WorkerError
        If no worker can come. One that waits for its place is waited for.
    StoppedError
        If somebody asks for it meanwhile.
    """

    def look(resources: Mapping[str, float]) -> None:
        for scaling in scalings:
            if dict(scaling.kind.resources) == dict(resources):
                scaling.check()

    try:
        with Client(cluster, set_as_default=False) as client:
            while not client.scheduler_info(n_workers=-1)["workers"]:
                stop.check()
                look({})
                with suppress(TimeoutError):
                    client.wait_for_workers(1, timeout=_LOOK_S)
            coming = [Coming(one.kind.bounds[1], one.kind.resources) for one in scalings]
            workers = DaskWorkers(client, coming, look)
            for scaling in scalings:
                scaling.begin()
            yield workers
    finally:
        for scaling in scalings:
            cluster.sync(scaling.end)
