"""Who started a training from this process, hears of its steps, and gets its report.

Apart from the flow itself, as `flows.watcher` is.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.watcher import Watcher, current_watcher
from hcs.run.prepare import Prepared
from hcs.run.train import OnProgress, TrainingReport


@dataclass
class Trainee(Watcher):
    """What a training tells the one who started it here."""

    prepared: Prepared | None = None
    on_progress: OnProgress | None = None
    trained: TrainingReport | None = None


def current_trainee() -> Trainee:
    """Return who watches; in a process that Prefect started, one that nobody asks."""
    watcher = current_watcher()
    return watcher if isinstance(watcher, Trainee) else Trainee()
