"""Wells on their way through the cluster, and what became of them."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from threading import Lock
from typing import Any, Protocol

from hcs.errors import HcsError, LockedError, StorageError, WorkerError
from hcs.plate.path import WellPath
from hcs.run.attempts import Attempts
from hcs.run.calls import Call, Cluster
from hcs.run.log import heard
from hcs.run.outcome import OnOutcome, WellOutcome, combine, failure_of
from hcs.run.plan import Plan, WellPlan
from hcs.run.stopping import Stop
from hcs.run.well import Compute, WellJob, analyse_well
from hcs.shown import shown


class Visit(Protocol):
    """Analyses one well after the other, or several at once from several threads."""

    def __call__(self, well: WellPath) -> WellOutcome:
        """Analyse a well; whatever happens to it is in its outcome."""

    @property
    def outcomes(self) -> Mapping[WellPath, WellOutcome]:
        """How every well of the plan stands, also those that are not visited."""

    def stop(self) -> None:
        """Let the workers go, so that those who wait for them end."""


# how many wells may be on their way now: workers come and go
AtOnce = Callable[[], int]
# visits each well, at most so many at once, and returns when all are through
Each = Callable[[Visit, Sequence[WellPath], AtOnce], None]

_WELLS_PER_WORKER = 2
# between two counts of the workers, seconds
_COUNT_S = 2.0
# all but `waiting`
_THROUGH = ("done", "kept", "failed")


def spread(
    begin: Callable[[WellPath], Future[Any]], wells: Sequence[WellPath], at_once: AtOnce
) -> Iterator[Future[Any]]:
    """Begin wells in their order, as many at once as there may be; give those that have ended."""
    waiting, under_way = deque(wells), set[Future[Any]]()
    while waiting or under_way:
        while waiting and len(under_way) < at_once():
            under_way.add(begin(waiting.popleft()))
        ended, under_way = wait(under_way, _COUNT_S, FIRST_COMPLETED)
        yield from ended


def in_threads(visit: Visit, wells: Sequence[WellPath], at_once: AtOnce) -> None:
    """Visit each well from a thread of this process."""
    with ThreadPoolExecutor(max(1, len(wells)), thread_name_prefix="visit") as threads:
        try:
            for future in spread(lambda well: threads.submit(visit, well), wells, at_once):
                future.result()
        except BaseException:
            # an error of the whole run, or Ctrl-C
            threads.shutdown(wait=False, cancel_futures=True)
            visit.stop()
            raise


class _PerWorker:
    """As many wells as keep the workers busy that are there now.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known, self._due = 1, time.monotonic()

    def __call__(self) -> int:
        if time.monotonic() >= self._due:
            # where there is no scheduler any more, each well finds out for itself
            with suppress(WorkerError):
                self._known = _WELLS_PER_WORKER * self._cluster.n_workers
            self._due = time.monotonic() + _COUNT_S
        return self._known


@dataclass
class Visits:
    """Wells on their way through the cluster."""

    plan: Plan
    cluster: Cluster
    attempts: Attempts
    outcomes: dict[WellPath, WellOutcome]
    on_outcome: OnOutcome
    stop: Stop
    _over: set[WellPath] = field(init=False)
    _one_at_a_time: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        """Count those that need no visit."""
        self._over = {well for well, one in self.outcomes.items() if one.state in _THROUGH}

    def pay(self, each: Each, wells: Sequence[WellPlan], number: int) -> None:
        """Visit wells for the first or second time."""
        given = self.plan.settings.run.wells_in_flight
        at_once = (lambda: given) if given else _PerWorker(self.cluster)
        visit = _Round(self, {well.well: well for well in wells}, number)
        each(visit, tuple(visit.wells), at_once)
        self.stop.check()
        # a monitor that fails must not cost a well
        in_threads(visit, [path for path in visit.wells if path not in visit.seen], at_once)

    def visit(self, well: WellPlan, number: int) -> WellOutcome:
        """Visit one well."""
        name, begun = f"{well.well}/{number}", time.monotonic()
        try:
            outcome = combine(list(self._through(well, name)))
        except LockedError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad well never stops the others
            # who is stopped loses its worker
            self.stop.check()
            outcome = _failed(well.well, error, time.monotonic() - begun)
        # how often it was started, and where, is for people to read
        with suppress(StorageError):
            outcome = replace(outcome, attempts=self.attempts.most(name))
            worker = outcome.worker or self.attempts.latest_worker(name)
            outcome = replace(outcome, worker=worker)
        self._note(outcome, number)
        return outcome

    def _through(self, well: WellPlan, name: str) -> Iterator[WellOutcome]:
        """Do the steps of a well, those that go to the same workers together.

        Where a well is long, or some of its work asks for what few workers have, each worker is
        given a part: a GPU that waits for labels to be linked and written would be wasted.
        """
        if well.wanted is None:
            yield unvisited(well)
            return
        todo = {status.step.name for status in well.todo}
        source = self.plan.source(self.attempts.token)
        placed = groupby(well.wanted.steps, key=lambda step: dict(step.resources))
        for index, (resources, group) in enumerate(placed):
            steps = tuple(step.name for step in group)
            if not todo.intersection(steps):
                continue
            job, call_name = WellJob(source, well.wanted, steps), f"{name}/{index}"
            long = max(i.n_frames for i in well.images) > self.plan.settings.run.span_frames
            if long or resources:
                yield analyse_well(job, self._spread(call_name))
            else:
                yield self.cluster.run(Call(call_name, analyse_well, (job,)), self.attempts)

    def _spread(self, name: str) -> Compute:
        """Return a way to compute the parts of a well on all workers."""
        numbers = count()

        def compute(
            function: Callable[..., Any],
            spans: Sequence[tuple[Any, ...]],
            resources: Mapping[str, float],
        ) -> list[Any]:
            calls = [
                Call(f"{name}/{function.__name__}-{next(numbers)}", function, arguments, resources)
                for arguments in spans
            ]
            with ThreadPoolExecutor(min(len(calls), self.cluster.n_workers)) as threads:
                # who listens to this thread hears what their workers say
                futures = [
                    threads.submit(copy_context().run, self.cluster.run, call, self.attempts)
                    for call in calls
                ]
                return [future.result() for future in futures]

        return compute

    def _note(self, outcome: WellOutcome, number: int) -> None:
        # who hears of wells hears of one after the other, and of more and more that are through
        with self._one_at_a_time:
            before = [self.outcomes[outcome.well]] if number > 1 else []
            self.outcomes[outcome.well] = whole = combine([*before, outcome])
            if whole.state in _THROUGH:
                self._over.add(whole.well)
            self.on_outcome(whole, len(self._over), len(self.outcomes))


@dataclass
class _Round:
    """The first or the second visit of wells."""

    visits: Visits
    wells: dict[WellPath, WellPlan]
    number: int
    seen: set[WellPath] = field(default_factory=set)

    @property
    def outcomes(self) -> Mapping[WellPath, WellOutcome]:
        return self.visits.outcomes

    def __call__(self, well: WellPath) -> WellOutcome:
        outcome = self.visits.visit(self.wells[well], self.number)
        self.seen.add(well)
        return outcome

    def stop(self) -> None:
        self.visits.stop.ask()


def unvisited(well: WellPlan) -> WellOutcome:
    """Return how a well stands before its first visit."""
    if well.failure:
        return WellOutcome(well.well, "failed", failure=well.failure)
    return WellOutcome(well.well, "kept" if well.is_done else "waiting")


def _failed(well: WellPath, error: Exception, seconds: float) -> WellOutcome:
    where = () if isinstance(error, HcsError) else traceback.format_exception(error)
    log = (*heard(error), *map(shown, where))
    return WellOutcome(well, "failed", seconds=seconds, failure=failure_of(error), log=log)
