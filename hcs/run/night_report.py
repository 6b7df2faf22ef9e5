"""What became of each plate of a night, and what the night came to."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hcs.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_PARTIAL,
    EXIT_STOPPED,
    HcsError,
    NoWorkersError,
)
from hcs.run.outcome import Failure, Report, WellOutcome, failure_of

_log = logging.getLogger(__name__)

PlateState = Literal[
    "done",
    "partly done",
    "failed",
    "no time left",
    "no workers",
    "stopped",
    "unreadable",
    "in use",
    "under way",
    "to come",
    "still arriving",
    "nothing to do",
]
# in the order of the summary: what needs somebody comes first
STATES: tuple[PlateState, ...] = (
    "failed",
    "unreadable",
    "partly done",
    "no workers",
    "stopped",
    "no time left",
    "in use",
    "done",
    "under way",
    "to come",
    "still arriving",
    "nothing to do",
)
_NOT_DONE: tuple[PlateState, ...] = (
    "failed",
    "unreadable",
    "partly done",
    "no workers",
    "stopped",
    "no time left",
)
_SOME_DONE: tuple[PlateState, ...] = ("done", "partly done", "nothing to do")
_BY_EXIT_CODE: dict[int, PlateState] = {
    EXIT_DONE: "done",
    EXIT_PARTIAL: "partly done",
    EXIT_FAILED: "failed",
}


@dataclass(frozen=True)
class PlateRecord:
    """What became of one plate.

    Parameters
    ----------
    url : str
    state : str
        ``failed``: nothing of it was done; ``no workers``: or not all, as there were none or no
        more; ``in use``: by another run; ``no time left``: it was not begun because of the hour;
        ``stopped``: the night was, before the plate was done; ``under way``, ``to come``: while the
        night goes on.
    why, hint : str
        Why it is not done, and what to do about it.
    wells, done : int or None
        Selected wells, and those that are done, whoever did them; None where nobody counted them:
        of plates that were not opened, and of those that another run is at.
    failed : tuple of WellOutcome
        The wells that are not, of a run that ended; that failed, of one that was stopped.
    quarantined : int or None
        Rows of the plate's table `quarantine`; None where it has none yet.
    seconds : float or None
        That it took tonight; None where it was not begun.
    expected_s : float or None
        That it was expected to take.
    settings_files : tuple of str
        Beside the plate, that changed its settings.
    link : str
        Where its run can be looked at.
    since : datetime or None
        That nights saw it in this state, of those that arrive or are in use.
    overdue : bool
        That is longer than it should be.
    """

    url: str
    state: PlateState
    why: str = ""
    hint: str = ""
    wells: int | None = None
    done: int | None = None
    failed: tuple[WellOutcome, ...] = ()
    quarantined: int | None = None
    seconds: float | None = None
    expected_s: float | None = None
    settings_files: tuple[str, ...] = ()
    link: str = ""
    since: datetime | None = None
    overdue: bool = False


@dataclass(frozen=True)
class NightReport:
    """What a night came to.

    Parameters
    ----------
    folder : str
        URL.
    began, ended : datetime
        UTC.
    until : datetime or None
        No plate was begun that could not be done by then.
    plates : tuple of PlateRecord
        In the order of `STATES`.
    warnings : tuple of str
    stopped : bool
        Whether somebody stopped the night.
    failure : str
        What broke the night off; empty for one that came to its end.
    is_over : bool
        Whether it does not go on.
    """

    folder: str
    began: datetime
    ended: datetime
    until: datetime | None
    plates: tuple[PlateRecord, ...]
    warnings: tuple[str, ...] = ()
    stopped: bool = False
    failure: str = ""
    is_over: bool = True

    @property
    def exit_code(self) -> int:
        """0 no plate left undone, 2 some, 1 none done; those in use or arriving do not count.

        130 where the night was stopped.
        """
        if self.stopped:
            return EXIT_STOPPED
        if not self.failure and not any(plate.state in _NOT_DONE for plate in self.plates):
            return EXIT_DONE
        some = any(plate.state in _SOME_DONE for plate in self.plates)
        return EXIT_PARTIAL if some else EXIT_FAILED

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look: plates not done or overdue, warnings."""
        overdue = any(plate.overdue for plate in self.plates)
        return self.exit_code != EXIT_DONE or bool(self.warnings) or overdue

    @property
    def had_work(self) -> bool:
        """Whether a plate was analysed, or should have been."""
        return any(plate.state not in ("nothing to do", "still arriving") for plate in self.plates)

    @property
    def line(self) -> str:
        """How many plates came to what.

        Examples
        --------
        >>> now = datetime(2026, 11, 21)
        >>> plates = (PlateRecord("a.zarr", "failed"), PlateRecord("b.zarr", "done"))
        >>> NightReport("plates", now, now, None, plates).line
        '1 plate failed, 1 done'
        """
        counts = Counter(plate.state for plate in self.plates)
        told = [f"{counts[state]} {state}" for state in STATES if counts[state]]
        if not told:
            return "no plates"
        number, _, state = told[0].partition(" ")
        return ", ".join([f"{number} plate{'s' * (number != '1')} {state}", *told[1:]])


def record_of(url: str, report: Report) -> PlateRecord:
    """Return the record of a plate that was analysed."""
    failure = report.failure
    causes = Counter(one.failure.cause if one.failure else "not done" for one in report.failed)
    told = [f"{cause} ({count})" for cause, count in causes.most_common()]
    if warned := [line for outcome in report.outcomes for line in outcome.warnings]:
        told.append(f"warned of ({len(warned)}): {warned[0]}")
    is_lacking = NoWorkersError.cause in causes
    return PlateRecord(
        url,
        "no workers" if is_lacking else _BY_EXIT_CODE[report.exit_code],
        why=", ".join([*told, *([f"tables: {failure.message}"] if failure else [])]),
        hint=failure.hint if failure else "",
        wells=len(report.outcomes),
        done=len(report.done),
        failed=report.failed,
        seconds=report.seconds,
    )


def failed_plate(url: str, error: Exception) -> PlateRecord:
    """Return the record of a plate that failed for whatever reason; the unexpected is logged."""
    if not isinstance(error, HcsError):
        _log.error("plate %s", url, exc_info=error)
    return failed_record(url, error)


def failed_record(url: str, error: BaseException) -> PlateRecord:
    """Return the record of a plate that could not be analysed as a whole."""
    failure: Failure = failure_of(error)
    state: PlateState = "no workers" if isinstance(error, NoWorkersError) else "failed"
    return PlateRecord(url, state, failure.message, failure.hint)
