"""How a night has its plates analysed, and how that is stopped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hcs.plate.path import WellPath
from hcs.run.analyse import Visit, analyse, in_threads
from hcs.run.outcome import Report
from hcs.settings import Settings


@dataclass(frozen=True)
class PlateRun:
    """What a run of a plate came to, and where it can be looked at."""

    report: Report
    link: str = ""


class RunPlate(Protocol):
    """Analyses plates, several at once from several threads."""

    def __call__(self, url: str, settings: Settings) -> PlateRun:
        """Analyse one plate."""

    def stop(self) -> None:
        """End what is on its way in other threads, soon."""


class Unwatched:
    """Analyses plates that nobody watches."""

    def __init__(self) -> None:
        self._visits = list[Visit]()
        self._stopped = threading.Event()

    def __call__(self, url: str, settings: Settings) -> PlateRun:
        """Analyse one plate."""
        return PlateRun(analyse(url, settings, each=self._each))

    def stop(self) -> None:
        """End what is on its way, and what comes after."""
        self._stopped.set()
        for visit in list(self._visits):
            visit.stop()

    def _each(self, visit: Visit, wells: Sequence[WellPath], at_once: int) -> None:
        self._visits.append(visit)
        try:
            if self._stopped.is_set():
                visit.stop()
            else:
                in_threads(visit, wells, at_once)
        finally:
            self._visits.remove(visit)
