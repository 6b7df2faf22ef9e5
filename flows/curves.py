"""A training -> Prefect's progress and markdown artifacts: how far, the curves, the examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from flows.progress import Artifacts, embedded
from hcs.run.budget import in_words
from hcs.run.diary import CURVES, EXAMPLES
from hcs.run.night_summary import escaped
from hcs.run.train import TrainingReport, training_folder

if TYPE_CHECKING:
    from hcs.isl.train import Progress

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
        super().__init__(name, "training")
        self._folder = training_folder(output)
        self._clock = clock
        self._page_due = -math.inf
        # a step whose pictures are still to be shown
        self._looked_at: Progress | None = None

    def showing(self) -> AbstractContextManager[None]:
        """Show the bar every second, and new pictures now and then, while the block lasts."""
        return self._keeping_up(self.show_due)

    def move(self, progress: Progress) -> None:
        """Note how far the training is after a step."""
        self._bar = (100 * progress.step / progress.steps, _text_of(progress))
        if progress.validation is not None:
            self._looked_at = progress

    def show_due(self) -> None:
        """Move the bar, and show pictures that are new, not too often."""
        self.show_bar()
        if (step := self._looked_at) and self._clock() >= self._page_due:
            self._looked_at = None
            self._show_page(_text_of(step))
            self._page_due = self._clock() + max(_PICTURES_S, _PICTURES_SHARE * step.seconds)

    def finish(self, report: TrainingReport) -> None:
        """Show the last pictures and the scores."""
        scores = ", ".join(f"{name} {score:.3f}" for name, score in report.scores.items())
        text = f"{report.path.name} {report.state}; {scores or 'no scores'}"
        self._end_bar(text)
        self._show_page(text)

    def _show_page(self, text: str) -> None:
        page = markdown_page(self._folder, text)
        self._show("training", create_markdown_artifact, page, text)


def _text_of(progress: Progress) -> str:
    left = in_words(progress.seconds_left)
    return f"step {progress.step} of {progress.steps}, {left} left"


def markdown_page(folder: Path, text: str) -> str:
    """Return the pictures of a training as markdown that holds them."""
    named = {"loss and scores": folder / CURVES, "examples": folder / EXAMPLES}
    there = [embedded(name, path.read_bytes()) for name, path in named.items() if path.exists()]
    return "\n\n".join([escaped(text), *there])
