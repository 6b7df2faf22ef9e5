"""How a night has its plates analysed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hcs.run.analyse import analyse
from hcs.run.outcome import Report
from hcs.run.stopping import Stop
from hcs.settings import Settings


@dataclass(frozen=True)
class PlateRun:
    """What a run of a plate came to, and where it can be looked at."""

    report: Report
    link: str = ""


# analyses a plate, several at once from several threads, until the night's end is asked for
RunPlate = Callable[[str, Settings, Stop], PlateRun]


def unwatched(url: str, settings: Settings, stop: Stop) -> PlateRun:
    """Analyse a plate that nobody watches."""
    return PlateRun(analyse(url, settings, stop=stop))
