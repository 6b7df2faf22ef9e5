"""One plate, start to finish: plan, wells on workers, pooled model where it is needed, finish.

Knows no progress bar and no Prefect: `on_outcome` hears of every well, `each` decides how the
visits to the wells are spread and watched.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from itertools import chain, count, groupby
from typing import Any, Protocol

from hcs.errors import (
    HcsError,
    LockedError,
    PlateError,
    StoppedError,
    StorageError,
    WorkerError,
    WriteError,
)
from hcs.plate.commit import check_writable, sweep
from hcs.plate.lock import acquire
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import WellPath
from hcs.run.attempts import Attempts
from hcs.run.calls import Call, Cluster
from hcs.run.cluster import open_cluster, worker_memory
from hcs.run.finish import finish
from hcs.run.history import History
from hcs.run.log import heard
from hcs.run.outcome import OnOutcome, Report, WellOutcome, combine, failure_of
from hcs.run.plan import (
    Plan,
    WellPlan,
    check_fit,
    make_plan,
    placed_on_gpus,
    placed_on_processors,
    plate_statistics,
    with_batch_that_fits,
    with_pool,
)
from hcs.run.pool import current_pool, make_pool
from hcs.run.stains import prepare_stains
from hcs.run.steps import GPU
from hcs.run.stopping import Stop
from hcs.run.well import Compute, WellJob, analyse_well
from hcs.settings import Settings
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


# visits each well, at most so many at once, and returns when all are through
Each = Callable[[Visit, Sequence[WellPath], int], None]

_WELLS_PER_WORKER = 2
# all but `waiting`
_THROUGH = ("done", "kept", "failed")


def analyse(
    url: str,
    settings: Settings | None = None,
    *,
    on_outcome: OnOutcome | None = None,
    each: Each | None = None,
    stop: Stop | None = None,
) -> Report:
    """Analyse a plate: do what is missing or whose settings changed, and nothing else.

    Parameters
    ----------
    url : str
        A local path or ``s3://bucket/key/plate.zarr``.
    settings : Settings or None
        None for the defaults.
    on_outcome : callable or None
        Hears of every well that is through; may be called from several threads.
    each : callable or None
        How visits are spread; None for threads of this process.
    stop : Stop or None
        Ends the run before its time, whatever it is at.

    Returns
    -------
    Report
        Also where wells failed: one bad well never stops the others.

    Raises
    ------
    HcsError
        If the plate as a whole cannot be analysed: no plate, locked, read-only, wrong settings.
    StoppedError
        If somebody asked for it; what is finished is kept.
    """
    begun = time.monotonic()
    try:
        report = _analyse(
            url, settings or Settings(), on_outcome, each or in_threads, stop or Stop()
        )
    except StoppedError as error:
        raise StoppedError(f"{url}: {error.message}", hint=error.hint) from error
    return replace(report, seconds=time.monotonic() - begun)


def _analyse(
    url: str, settings: Settings, on_outcome: OnOutcome | None, each: Each, stop: Stop
) -> Report:
    begun = time.monotonic()
    plate = open_plate(url, **settings.calibration.model_dump())
    companion = plate.companion
    with acquire(companion) as lock:
        plate.hold(lock.token)
        sweep(plate)
        plan = _fitted(make_plan(plate, settings, stop))
        prepare_stains(plate, plan.steps)
        history = History(companion, lock.token)
        history.begin(plan)
        outcomes = {well.well: _unvisited(well) for well in plan.wells}
        if any(well.todo for well in plan.wells):
            check_writable(plate)
            with open_cluster(plan.run, stop) as cluster, stop.calling(cluster.close):
                plan = _placed(plan, cluster)
                attempts = Attempts(companion, lock.token, settings.run.attempts)
                visits = _Visits(
                    plan, cluster, attempts, outcomes, history.hearing(on_outcome), stop
                )
                plan = _visit_wells(plate, visits, each)
        lock.check()
        done = tuple(well.well for well in plan.wells if well.is_done)
        report = Report(url, done, tuple(outcomes[well.well] for well in plan.wells))
        report = _finished(plate, plan, report, lock.token, stop)
        history.end(report, time.monotonic() - begun)
    told = chain(plan.warnings, *(outcome.warnings for outcome in report.outcomes))
    warnings = tuple(dict.fromkeys(told))
    return replace(report, warnings=warnings)


def _fitted(plan: Plan) -> Plan:
    """Return a plan that fits the workers' memory, if it can."""
    memory = worker_memory(plan.run)
    plan = with_batch_that_fits(plan, memory)
    check_fit(plan, memory)
    return plan


def _placed(plan: Plan, cluster: Cluster) -> Plan:
    """Return a plan whose networks run where the settings want them.

    Raises
    ------
    WorkerError
        If they want GPUs and no worker offers one.
    """
    device = plan.run.device
    if device == "cpu":
        return plan
    if cluster.offers(GPU):
        return placed_on_gpus(plan)
    if device == "gpu":
        raise WorkerError(
            "run.device is gpu, and no worker offers a GPU",
            hint="start workers with --resources GPU=1, look at nvidia-smi where they run, or say "
            "--device any",
        )
    return _fitted(placed_on_processors(plan))


def _finished(plate: Plate, plan: Plan, report: Report, token: int, stop: Stop) -> Report:
    """Write the plate's tables; where that fails, what became of the wells is told all the same."""
    try:
        return replace(report, outputs=finish(plate, plan, report, token, stop))
    except (WriteError, StorageError, PlateError) as error:
        return replace(report, failure=failure_of(error))


def in_threads(visit: Visit, wells: Sequence[WellPath], at_once: int) -> None:
    """Visit each well from a thread of this process."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="visit") as threads:
        futures = [threads.submit(visit, well) for well in wells]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            # an error of the whole run, or Ctrl-C
            threads.shutdown(wait=False, cancel_futures=True)
            visit.stop()
            raise


@dataclass
class _Visits:
    """Wells on their way through the cluster."""

    plan: Plan
    cluster: Cluster
    attempts: Attempts
    outcomes: dict[WellPath, WellOutcome]
    on_outcome: OnOutcome
    stop: Stop
    _over: set[WellPath] = field(init=False)

    def __post_init__(self) -> None:
        self._over = {well for well, one in self.outcomes.items() if one.state in _THROUGH}

    def pay(self, each: Each, wells: Sequence[WellPlan], number: int) -> None:
        """Visit wells for the first or second time."""
        at_once = self.plan.settings.run.wells_in_flight
        at_once = at_once or _WELLS_PER_WORKER * self.cluster.n_workers
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
            yield _unvisited(well)
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
        before = [self.outcomes[outcome.well]] if number > 1 else []
        self.outcomes[outcome.well] = whole = combine([*before, outcome])
        if whole.state in _THROUGH:
            self._over.add(whole.well)
        self.on_outcome(whole, len(self._over), len(self.outcomes))


@dataclass
class _Round:
    """The first or the second visit of wells."""

    visits: _Visits
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


def _visit_wells(plate: Plate, visits: _Visits, each: Each) -> Plan:
    """Visit the wells; then make the pooled model, and visit those again that need it."""
    plan = visits.plan
    visits.pay(each, [w for w in plan.wells if any(s.state == "todo" for s in w.statuses)], 1)
    plan = with_pool(plate, plan, None, visits.stop)
    if plan.waits_for_pool:
        statistics = plate_statistics(plate, plan, visits.stop)
        pool = current_pool(plate, statistics) or make_pool(
            plate, statistics, visits.attempts.token
        )
        plan = visits.plan = with_pool(plate, plan, pool, visits.stop)
        failed = {path for path, outcome in visits.outcomes.items() if outcome.state == "failed"}
        visits.pay(each, [w for w in plan.wells if w.todo and w.well not in failed], 2)
        plan = with_pool(plate, plan, pool, visits.stop)
    return plan


def _unvisited(well: WellPlan) -> WellOutcome:
    if well.failure:
        return WellOutcome(well.well, "failed", failure=well.failure)
    return WellOutcome(well.well, "kept" if well.is_done else "waiting")


def _failed(well: WellPath, error: Exception, seconds: float) -> WellOutcome:
    where = () if isinstance(error, HcsError) else traceback.format_exception(error)
    log = (*heard(error), *map(shown, where))
    return WellOutcome(well, "failed", seconds=seconds, failure=failure_of(error), log=log)
