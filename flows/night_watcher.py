"""Who started a night from this process, hears of its plates, and gets its report.

Apart from the flow itself, as `flows.watcher` is.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.watcher import Watcher, current_watcher
from hcs.run.night import OnPlate
from hcs.run.night_report import NightReport


@dataclass
class NightWatcher(Watcher):
    """What a night tells the one who started it here."""

    on_plate: OnPlate | None = None
    night: NightReport | None = None


def current_night_watcher() -> NightWatcher:
    """Return who watches; in a process that Prefect started, one that nobody asks."""
    watcher = current_watcher()
    return watcher if isinstance(watcher, NightWatcher) else NightWatcher()
