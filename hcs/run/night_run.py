"""How a night has its plates analysed, and what it hears of them meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.night_look import Ready
from hcs.run.night_report import PlateRecord, PlateState
from hcs.run.outcome import OnOutcome, Report, WellOutcome
from hcs.run.stopping import Stop
from hcs.settings import Settings


@dataclass(frozen=True)
class PlateRun:
    """What a run of a plate came to, and where it can be looked at."""

    report: Report
    link: str = ""


# analyses a plate, several at once from several threads, until the night's end is asked for, and
# tells of its wells
RunPlate = Callable[[str, Settings, Stop, OnOutcome], PlateRun]


def unwatched(url: str, settings: Settings, stop: Stop, on_outcome: OnOutcome) -> PlateRun:
    """Analyse a plate that nobody watches."""
    return PlateRun(analyse(url, settings, on_outcome=on_outcome, stop=stop))


class UnderWay:
    """A plate that a night has begun.

    Parameters
    ----------
    plate : Ready
    now : callable
        What time it is.
    """

    def __init__(self, plate: Ready, now: Callable[[], datetime]) -> None:
        self.plate = plate
        self._now, self._begun = now, now()
        self._heard = dict[WellPath, WellOutcome]()
        # when the first well that is done began, and the last one ended
        self._at_work: tuple[datetime, datetime] | None = None

    def hear(self, outcome: WellOutcome, _through: int, _wells: int) -> None:
        """Hear of a well that is through."""
        self._heard[outcome.well] = outcome
        if outcome.state == "done":
            now = self._now()
            first, _ = self._at_work or (now - timedelta(seconds=outcome.seconds), now)
            self._at_work = first, now

    @property
    def at_work_s(self) -> float:
        """How long wells were worked on that are done: no queue, nobody that hangs; 0 for none."""
        if self._at_work is None:
            return 0.0
        first, last = self._at_work
        return (last - first).total_seconds()

    @property
    def seconds(self) -> float:
        """How long ago it was begun."""
        return (self._now() - self._begun).total_seconds()

    def record(self, state: PlateState) -> PlateRecord:
        """Return the record of a plate that has not come to its end, as far as was heard."""
        heard = tuple(self._heard.values())
        done = self.plate.done.union(one.well for one in heard if one.state in ("done", "kept"))
        return PlateRecord(
            self.plate.url,
            state,
            wells=len(self.plate.bytes_of),
            done=len(done),
            failed=tuple(one for one in heard if one.state == "failed"),
            seconds=self.seconds,
        )
