"""A night as a Prefect flow: a sub-flow per plate, one summary as an artifact and as messages.

The flow only shows what `hcs.run.night` does. Runs from Python, from ``hcs nightly``, and as a
deployment::

    from flows.nightly import nightly

    nightly.serve(name="nightly", cron="0 18 * * *")  # parameters: folder, night, settings

Annotations are real here, not postponed: Prefect sends a served flow to a new process, where it
reads them without the names of this module.
"""

import logging
from pathlib import PurePosixPath
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.utilities.urls import url_for

from flows.analyse import analyse_plate
from flows.cancelling import ending_by_signals, heeding_cancellation
from flows.from_command import run_from_command
from flows.log import repeating_warnings
from flows.night_watcher import NightWatcher, current_night_watcher
from flows.notify import Messenger
from flows.progress import API_ERRORS, Artifacts
from flows.watcher import Watcher, watching
from hcs.errors import EXIT_DONE, EXIT_PARTIAL, HcsError
from hcs.run.analyse import analyse
from hcs.run.night import Clock, OnPlate, run_night
from hcs.run.night_notes import with_warnings
from hcs.run.night_report import NightReport, PlateRecord
from hcs.run.night_run import PlateRun
from hcs.run.night_settings import NightSettings
from hcs.run.night_summary import to_markdown, to_text
from hcs.run.outcome import OnOutcome
from hcs.run.stopping import Stop
from hcs.settings import Settings

_log = logging.getLogger(__name__)

_UNSEEN = "Prefect's API did not answer: this night is not seen there"


def run_nightly(
    folder: str, settings: Settings, night: NightSettings, on_plate: OnPlate | None = None
) -> NightReport:
    """Analyse the plates of a folder under Prefect, and return the report even where it fails.

    Parameters
    ----------
    folder : str
    settings : Settings
    night : NightSettings
    on_plate : callable or None
        As in `hcs.run.night.run_night`.

    Raises
    ------
    Exception
        As `hcs.run.night.run_night` does; the night is then not begun again without Prefect.
    """
    watcher = NightWatcher(on_plate=on_plate)
    try:
        with watching(watcher):
            given = {"folder": folder, "night": night, "settings": settings}
            run_from_command(nightly, given)
    except API_ERRORS as error:
        Artifacts("").warn(error)
    if watcher.error:
        raise watcher.error
    if watcher.night:
        return watcher.night
    # the API was gone, or shut, before the flow could begin
    report = run_night(folder, settings, night, on_plate=on_plate, stop=watcher.stop)
    # by the morning it may answer again: blocks are kept there
    return _told(with_warnings(report, [_UNSEEN]), night, Messenger(night.notify))


def _run_name() -> str:
    return PurePosixPath(str(flow_run.parameters.get("folder", "plates"))).name


@flow(name="nightly", flow_run_name=_run_name, retries=0)
def nightly(
    folder: str,
    night: NightSettings = NightSettings(),  # noqa: B008 - frozen
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> State[Any]:
    """Analyse the plates that have arrived in a folder.

    Parameters
    ----------
    folder : str
        A local path, ``s3://bucket`` or ``s3://bucket/prefix``.
    night : NightSettings
        Those of ``hcs nightly --explain``.
    settings : Settings
        Those of ``hcs settings``, for plates that have no others beside them.
    """
    watcher, messenger = current_night_watcher(), Messenger(night.notify)
    log = get_run_logger()
    for warning in messenger.warnings:
        # while somebody is still there to mend it
        log.warning(warning)

    def on_plate(record: PlateRecord) -> None:
        log.info("%s %s: %s", record.url, record.state, record.why)
        if watcher.on_plate:
            watcher.on_plate(record)

    stop, clock = watcher.stop, Clock(scheduled=flow_run.scheduled_start_time)
    try:
        with (
            watcher.told(),
            repeating_warnings(),
            ending_by_signals(),
            heeding_cancellation(stop.ask),
        ):
            report = run_night(
                folder, settings, night, run=_analysed, on_plate=on_plate, clock=clock, stop=stop
            )
    except HcsError as error:
        for warning in messenger.send(f"hcs: no night in {folder}", str(error)):
            log.warning(warning)
        return Failed(message=str(error))
    watcher.night = report
    # those that could not be loaded may be there by now
    messenger = Messenger(night.notify) if messenger.warnings else messenger
    watcher.night = _told(report, night, messenger)
    return _state_of(report)


class Summary(Artifacts):
    """The artifact of a night, with a key of the folder's name."""

    def show(self, markdown: str, line: str) -> None:
        """Show the summary."""
        self._create("night", create_markdown_artifact, markdown, line)


def _analysed(url: str, settings: Settings, stop: Stop, on_outcome: OnOutcome) -> PlateRun:
    """Analyse one plate as a sub-flow, which ends with the night and not the night with it."""
    watcher, link = Watcher(on_outcome), ""
    with stop.calling(watcher.stop.ask):
        try:
            with watching(watcher):
                state: State[Any] = analyse_plate(url, settings, return_state=True)
            link = url_for("flow-run", state.state_details.flow_run_id) or ""
        except API_ERRORS as error:
            Artifacts("").warn(error)
        if watcher.error:
            raise watcher.error
        # the API was gone before the sub-flow could begin
        report = watcher.report or analyse(url, settings, on_outcome=on_outcome, stop=watcher.stop)
        return PlateRun(report, link)


def _told(report: NightReport, night: NightSettings, messenger: Messenger) -> NightReport:
    """Tell of the night: messages, where they are wanted, and the artifact.

    Blocks that are not there are told of by those that are, and in all summaries; messages that
    could not be sent, in the summaries.
    """
    link = _link()
    report = with_warnings(report, messenger.warnings)
    trouble = report.is_trouble
    wanted = {"always": True, "work": report.had_work or trouble, "trouble": trouble}
    if wanted[night.notify_on]:
        name = PurePosixPath(report.folder).name
        failed = messenger.send(f"hcs, {name}: {report.line}", to_text(report, link))
        report = with_warnings(report, failed)
    try:
        Summary(PurePosixPath(report.folder).name).show(to_markdown(report, link), report.line)
    except Exception as error:  # noqa: BLE001 - the night is over, and its message is sent
        _log.warning("the summary is not shown", exc_info=error)
    return report


def _link() -> str:
    return (flow_run.id and url_for("flow-run", flow_run.id)) or ""


def _state_of(report: NightReport) -> State[Any]:
    if report.stopped:
        return Cancelled(message=report.line)
    if report.exit_code == EXIT_DONE:
        return Completed(message=report.line)
    if report.exit_code == EXIT_PARTIAL:
        return Completed(name="Partial", message=report.line)
    return Failed(message=report.line)
