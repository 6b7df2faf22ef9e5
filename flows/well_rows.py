"""How wells stand -> rows of a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hcs.plate.path import WellPath
from hcs.run.night_summary import escaped
from hcs.run.outcome import Failure, WellOutcome


def table_rows(
    outcomes: Sequence[WellOutcome], running: Mapping[WellPath, float] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Return a row per well for people, in the plate's order; what is long comes last.

    Prefect's UI takes texts for Markdown.

    Parameters
    ----------
    outcomes : sequence of WellOutcome
    running : mapping of WellPath to float
        Wells that run, and for how many seconds.
    """
    ordered = sorted(outcomes, key=lambda outcome: _place(outcome.well))
    return [_row(outcome, running.get(outcome.well)) for outcome in ordered]


def _row(outcome: WellOutcome, running_s: float | None) -> dict[str, Any]:
    # of a well that was not visited in this run there is nothing to count
    visited = outcome.attempts > 0
    seconds = outcome.seconds if running_s is None else running_s
    failure = outcome.failure or Failure("", "")
    row = {
        "well": outcome.well.name,
        "state": outcome.state if running_s is None else "running",
        "seconds": round(seconds, 1) if visited or running_s is not None else "",
        "attempts": outcome.attempts if visited else "",
        "objects": outcome.n_objects if visited else "",
        "worker": outcome.worker,
        "cause": failure.cause,
        "message": failure.message,
        "hint": failure.hint,
        "steps": ", ".join(outcome.steps),
    }
    return {name: escaped(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _place(well: WellPath) -> tuple[int, str, int, str]:
    # column 10 after column 9, row AA after row Z
    return len(well.row), well.row, len(well.column), well.column
