"""How a night has its plates analysed, and what it hears of them meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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
    begun : datetime
    """

    def __init__(self, plate: Ready, begun: datetime) -> None:
        self.plate = plate
        self._begun = begun
        self._heard = dict[WellPath, WellOutcome]()

    def hear(self, outcome: WellOutcome, _through: int, _wells: int) -> None:
        """Hear of a well that is through; may be called from several threads."""
        self._heard[outcome.well] = outcome

    def seconds(self, now: datetime) -> float:
        """Return how long ago it was begun."""
        return (now - self._begun).total_seconds()

    def record(self, state: PlateState, now: datetime) -> PlateRecord:
        """Return the record of a plate that has not come to its end, as far as was heard."""
        heard = tuple(self._heard.values())
        done = self.plate.done.union(one.well for one in heard if one.state in ("done", "kept"))
        return PlateRecord(
            self.plate.url,
            state,
            wells=len(self.plate.bytes_of),
            done=len(done),
            failed=tuple(one for one in heard if one.state == "failed"),
            seconds=self.seconds(now),
        )
