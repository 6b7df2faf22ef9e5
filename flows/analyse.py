"""One plate as a Prefect flow: one visible task run per well, each waiting for its Dask futures.

The tasks only show what `hcs.run` does: attempts, timeouts and quarantine live there, and the
markers on disk say what is done. Runs from Python, from ``hcs run``, and as a deployment::

    from flows.analyse import analyse_plate

    analyse_plate.serve(name="nightly")  # parameters: plate, settings

Annotations are real here, not postponed: Prefect sends a served flow to a new process, where it
reads them without the names of this module.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectConcurrentFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.cancelling import ending_by_signals, heeding_cancellation
from flows.from_command import run_from_command
from flows.log import repeating_warnings
from flows.progress import API_ERRORS, Progress
from flows.watcher import Watcher, current_watcher, watching
from hcs.errors import HcsError, StoppedError
from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.outcome import OnOutcome, Report, WellOutcome
from hcs.run.stopping import Stop
from hcs.run.visits import AtOnce, Visit, spread
from hcs.settings import Settings

_log = logging.getLogger(__name__)


def run_flow(url: str, settings: Settings, on_outcome: OnOutcome | None = None) -> Report:
    """Analyse a plate under Prefect, and return the report even where Prefect fails.

    Parameters
    ----------
    url : str
    settings : Settings
    on_outcome : callable or None
        As in `hcs.run.analyse.analyse`.

    Raises
    ------
    Exception
        As `hcs.run.analyse.analyse` does; the plate is then not analysed again without Prefect.
    """
    watcher = Watcher(on_outcome)
    try:
        with watching(watcher):
            run_from_command(analyse_plate, {"plate": url, "settings": settings})
    except API_ERRORS as error:
        Progress("").warn(error)
    if watcher.error:
        raise watcher.error
    # the API was gone before the flow could begin
    return watcher.report or analyse(url, settings, on_outcome=on_outcome, stop=watcher.stop)


def _run_name() -> str:
    return PurePosixPath(str(flow_run.parameters.get("plate", "plate"))).name


@flow(name="analyse", flow_run_name=_run_name, retries=0)
def analyse_plate(plate: str, settings: Settings = Settings()) -> State[Any]:  # noqa: B008 - frozen
    """Analyse one plate.

    Parameters
    ----------
    plate : str
        URL of the plate, a local path or ``s3://bucket/key/plate.zarr``.
    settings : Settings
        Those of ``hcs settings``.
    """
    watcher = current_watcher()
    progress = Progress(PurePosixPath(plate).stem)

    def on_outcome(outcome: WellOutcome, through: int, wells: int) -> None:
        progress.move(outcome, through, wells)
        if watcher.on_outcome:
            watcher.on_outcome(outcome, through, wells)

    def each(visit: Visit, wells: Sequence[WellPath], at_once: AtOnce) -> None:
        with progress.showing(visit.outcomes):
            _visit_as_tasks(visit, wells, at_once, progress, watcher.stop)

    try:
        with (
            watcher.told(),
            repeating_warnings(),
            ending_by_signals(),
            heeding_cancellation(watcher.stop.ask),
        ):
            report = analyse(plate, settings, on_outcome=on_outcome, each=each, stop=watcher.stop)
    except (StoppedError, KeyboardInterrupt) as error:
        progress.stop()
        return Cancelled(message=str(error) or "stopped by a signal")
    except HcsError as error:
        return Failed(message=str(error))
    watcher.report = report
    _show_end(progress, report)
    return _state_of(report)


def _visit_as_tasks(
    visit: Visit, wells: Sequence[WellPath], at_once: AtOnce, progress: Progress, stop: Stop
) -> None:
    """Visit each well in a task run of its own, in threads of this process."""

    @task(name="well", cache_policy=NO_CACHE, retries=0)
    def well_task(well: str) -> State[Any]:
        path = WellPath.parse(well)
        try:
            with progress.running(path):
                outcome = visit(path)
        except StoppedError as error:
            return Cancelled(message=str(error))
        _repeat_log(outcome)
        if outcome.failure:
            return Failed(message=outcome.line)
        return Completed(message=outcome.line)

    # Prefect complains of futures that nobody holds
    begun = list[PrefectConcurrentFuture[Any]]()

    def begin(well: WellPath) -> Future[Any]:
        named = well_task.with_options(task_run_name=str(well))
        begun.append(runner.submit(named, {"well": str(well)}))
        return begun[-1].wrapped_future

    try:
        threads = max(1, len(wells))
        runner: ThreadPoolTaskRunner[State[Any]] = ThreadPoolTaskRunner(max_workers=threads)
        with runner, _stopping(visit):
            for _ in spread(begin, wells, at_once):
                if stop.is_asked:
                    # wells that nobody began get no task run
                    break
    except API_ERRORS as error:
        progress.warn(error)


@contextmanager
def _stopping(visit: Visit) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Ctrl-C: the runner waits for its threads, and they for workers
        visit.stop()
        raise


def _repeat_log(outcome: WellOutcome) -> None:
    """Say in the task run what the worker said, and what became of the well."""
    log, levels = get_run_logger(), logging.getLevelNamesMapping()
    for line in outcome.log:
        level, _, text = line.partition(" ")
        # a traceback names no level
        log.log(levels.get(level, logging.ERROR), text if level in levels else line)
    if not outcome.failure:
        log.info(outcome.line)


def _show_end(progress: Progress, report: Report) -> None:
    try:
        progress.finish(report)
    except Exception as error:  # noqa: BLE001 - a plate that is done stays done, seen or not
        _log.warning("the results of %s are not shown", report.plate, exc_info=error)


def _state_of(report: Report) -> State[Any]:
    text = f"{len(report.done)} of {len(report.outcomes)} wells done"
    if not report.failed:
        return Completed(message=text)
    if report.done:
        return Completed(name="Partial", message=text)
    return Failed(message=text)
