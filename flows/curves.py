"""A training -> Prefect's progress and markdown artifacts: how far, the curves, the examples."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from flows.progress import Artifacts, embedded
from hcs.run.budget import in_words
from hcs.run.diary import CURVES, EXAMPLES
from hcs.run.train import TrainingReport, training_folder

if TYPE_CHECKING:
    from hcs.isl.train import Progress

# the bar moves at most so often
_BAR_S = 2.0
# pictures stay in the server's database and in its events: rarer, the longer the training is
_PICTURES_S, _PICTURES_SHARE = 30.0, 0.05


class Curves(Artifacts):
    """The artifacts of one training.

    Parameters
    ----------
    name : str
        Of the network.
    output : Path
        Its weights file; the pictures lie beside it.
    """

    def __init__(
        self, name: str, output: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name)
        self._folder = training_folder(output)
        self._clock = clock
        self._bar_due = self._page_due = -1.0

    def start(self) -> None:
        """Show a bar at zero."""
        self._move_bar(0.0, "training")

    def move(self, progress: Progress) -> None:
        """Move the bar after a step, and show new pictures, neither too often."""
        now = self._clock()
        text = f"step {progress.step} of {progress.steps}, {in_words(progress.seconds_left)} left"
        if now >= self._bar_due:
            self._move_bar(100 * progress.step / progress.steps, text)
            self._bar_due = self._clock() + _BAR_S
        if progress.validation is not None and now >= self._page_due:
            self._show_page(text)
            wait = max(_PICTURES_S, _PICTURES_SHARE * progress.seconds)
            self._page_due = self._clock() + wait

    def finish(self, report: TrainingReport) -> None:
        """Show the last pictures and the scores."""
        scores = ", ".join(f"{name} {score:.3f}" for name, score in report.scores.items())
        text = f"{report.path.name} {report.state}; {scores or 'no scores'}"
        self._move_bar(100.0, text)
        self._show_page(text)

    def _show_page(self, text: str) -> None:
        page = markdown_page(self._folder, text)
        self._show("training", create_markdown_artifact, page, text)


def markdown_page(folder: Path, text: str) -> str:
    """Return the pictures of a training as markdown that holds them."""
    named = {"loss and scores": folder / CURVES, "examples": folder / EXAMPLES}
    there = [embedded(name, path.read_bytes()) for name, path in named.items() if path.exists()]
    return "\n\n".join([text, *there])
