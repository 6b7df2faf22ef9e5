"""What a training tells while it runs: its curve as JSON and picture, examples, and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from hcs.plate.storage import Storage
from hcs.report.training import (
    CurveRow,
    ExampleRow,
    draw_curves,
    draw_examples,
    example_row,
    training_page,
)
from hcs.run.budget import in_words
from hcs.run.judge import plane_names
from hcs.run.training import TrainingSettings

if TYPE_CHECKING:
    from hcs.isl.train import Progress, Trained

CURVE, CURVES, EXAMPLES, PAGE = "curve.json", "curves.png", "examples.png", "index.html"

# a browser that shows the page of a training reads it anew so often
_REFRESH_S = 30
# drawing takes at most one part in so many of a training
_DRAWN_RARELY = 20


class Curve(BaseModel):
    """What ``curve.json`` holds.

    Parameters
    ----------
    name, state : str
        Of the training, and how far it is.
    best_step : int or None
        Whose weights are kept.
    scores : mapping of str to float
        The latest.
    rows : list of CurveRow
        One for each look at the validation frames.
    """

    name: str
    state: str
    best_step: int | None
    scores: Mapping[str, float]
    rows: list[CurveRow]


@dataclass(frozen=True)
class _Entry:
    """How a training stands."""

    state: str
    best_step: int | None
    part: str
    scores: Mapping[str, float]
    refresh_s: int | None = None


class Diary:
    """The folder of a training as people look at it; each file is replaced as a whole.

    Parameters
    ----------
    folder : Path
        ``<output>.training``.
    settings : TrainingSettings
    """

    def __init__(self, folder: Path, settings: TrainingSettings) -> None:
        self._storage = Storage.open(folder)
        self._settings = settings
        self._rows: list[CurveRow] | None = None
        self._losses = list[float]()
        self._due = time.monotonic()

    def note(self, progress: Progress) -> None:
        """Take in a step; after a look at the validation frames, tell of it, and draw it if due."""
        rows = self._rows_before(progress.step)
        self._losses.append(progress.loss)
        if progress.validation is None:
            return
        loss = sum(self._losses) / len(self._losses)
        rows.append(CurveRow(progress.step, loss, progress.validation))
        self._losses = []
        state = f"step {progress.step} of {progress.steps}, {in_words(progress.seconds_left)} left"
        best = progress.best_step if progress.validation else None
        entry = _Entry(state, best, "validation", progress.validation, _REFRESH_S)
        begun = time.monotonic()
        if begun >= self._due:
            names = plane_names(self._settings)
            examples = [
                example_row(one.name, one.inputs, one.target, one.prediction, names)
                for one in progress.shown
            ]
            self._draw(rows, entry, examples)
            now = time.monotonic()
            self._due = now + _DRAWN_RARELY * (now - begun)
        self._tell(rows, entry)

    def end(
        self,
        trained: Trained,
        part: str,
        scores: Mapping[str, float],
        examples: Sequence[ExampleRow],
    ) -> None:
        """Write what came out; scores and examples are of one part."""
        rows = [CurveRow(p.step, p.loss, p.validation) for p in trained.curve]
        why = {"steps": "all steps made", "patience": "it got no better"}[trained.ended]
        state = (
            f"ended at step {trained.step} ({why}) after {in_words(trained.seconds)}; the weights "
            f"of step {trained.best_step} are kept"
        )
        best = trained.best_step if trained.scores else None
        entry = _Entry(state, best, part, scores)
        self._draw(rows, entry, examples)
        self._tell(rows, entry)

    def _rows_before(self, step: int) -> list[CurveRow]:
        """Return the rows so far; those of a training that was killed up to its checkpoint."""
        if self._rows is None:
            self._rows = [row for row in read_curve(self._storage) if row.step < step]
        return self._rows

    def _draw(
        self, rows: Sequence[CurveRow], entry: _Entry, examples: Sequence[ExampleRow]
    ) -> None:
        name = self._settings.name
        self._storage.write(CURVES, draw_curves(rows, entry.best_step, name))
        if examples:
            picture = draw_examples(examples, f"{name}: {entry.part} frames")
            self._storage.write(EXAMPLES, picture)

    def _tell(self, rows: Sequence[CurveRow], entry: _Entry) -> None:
        content = {
            "name": self._settings.name,
            "state": entry.state,
            "best_step": entry.best_step,
            "scores": dict(entry.scores),
            "rows": [asdict(row) for row in rows],
        }
        self._storage.write(CURVE, json.dumps(content, indent=1).encode())
        facts = {f"{key}, {entry.part}": f"{score:.4g}" for key, score in entry.scores.items()}
        pictures = [name for name in (CURVES, EXAMPLES) if self._storage.exists(name)]
        page = training_page(self._settings.name, entry.state, facts, pictures, entry.refresh_s)
        self._storage.write(PAGE, page.encode())


def read_curve(storage: Storage) -> list[CurveRow]:
    """Return what a training noted before; nothing where it noted nothing that can be read."""
    if not storage.exists(CURVE):
        return []
    try:
        return Curve.model_validate_json(storage.read(CURVE)).rows
    except ValidationError:
        # it is only to look at: the next note writes it anew
        return []
