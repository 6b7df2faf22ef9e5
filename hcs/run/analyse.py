"""One plate, start to finish: plan, wells on workers, pooled model where it is needed, finish.

Knows no progress bar and no Prefect: `on_outcome` hears of every well, `each` decides how the
visits to the wells are spread and watched.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import chain

from hcs.errors import NoWorkersError, PlateError, StoppedError, StorageError, WriteError
from hcs.plate.commit import check_writable, sweep
from hcs.plate.lock import acquire
from hcs.plate.open import Plate, open_plate
from hcs.run.attempts import Attempts
from hcs.run.calls import Cluster
from hcs.run.cluster import open_cluster, worker_memory
from hcs.run.finish import finish
from hcs.run.history import History
from hcs.run.outcome import OnOutcome, Report, failure_of
from hcs.run.plan import (
    Plan,
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
from hcs.run.visits import Each, Visits, in_threads, unvisited
from hcs.settings import Settings


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
        Hears of one well after the other that is through, from several threads.
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
        outcomes = {well.well: unvisited(well) for well in plan.wells}
        if any(well.todo for well in plan.wells):
            check_writable(plate)
            with open_cluster(plan.run, stop) as cluster, stop.calling(cluster.close):
                plan = _placed(plan, cluster)
                attempts = Attempts(companion, lock.token, settings.run.attempts)
                visits = Visits(
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
        raise NoWorkersError(
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


def _visit_wells(plate: Plate, visits: Visits, each: Each) -> Plan:
    """Visit the wells; then make the pooled model, and visit those again that need it."""
    plan = visits.plan
    if plan.pool and plan.adds_to_pool:
        # who would use it now would be done again with the next one
        plan = visits.plan = with_pool(plate, plan, None, visits.stop)
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
