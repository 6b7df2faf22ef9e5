"""Well outcomes -> Prefect's progress and table artifacts; trouble with the API is one warning."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from hcs.run.outcome import Report, WellOutcome

_log = logging.getLogger(__name__)

# what an API that is down, slow or gone raises
API_ERRORS = (PrefectException, httpx.HTTPError, OSError, RuntimeError)


class Artifacts:
    """The artifacts of one run; the first trouble with the API is told, then it is left alone.

    Parameters
    ----------
    name : str
        Of the plate or network, part of the artifacts' keys.
    """

    def __init__(self, name: str) -> None:
        self._key = artifact_key(name)
        self._one_at_a_time = threading.Lock()
        self._silent = False

    def warn(self, error: BaseException) -> None:
        """Say once that the run goes on without the API."""
        if not self._silent:
            _log.warning("Prefect's API does not answer, the run goes on without it: %s", error)
        self._silent = True

    def _call(self, function: Callable[..., Any], *arguments: object) -> UUID | None:
        with self._one_at_a_time:
            if self._silent:
                return None
            try:
                answer: UUID = function(*arguments)
            except API_ERRORS as error:
                self.warn(error)
                return None
            return answer


class Progress(Artifacts):
    """How far the analysis of a plate is."""

    def __init__(self, plate: str) -> None:
        super().__init__(plate)
        self._artifact: UUID | None = None

    def start(self) -> None:
        """Show a bar at zero."""
        key = f"{self._key}-progress"
        self._artifact = self._call(create_progress_artifact, 0.0, key, "wells analysed")

    def move(self, outcome: WellOutcome, through: int, wells: int) -> None:
        """Move the bar after a well."""
        share = 100 * through / max(wells, 1)
        text = f"{through} of {wells} wells; the last was {outcome.line}"
        if self._artifact is not None:
            self._call(update_progress_artifact, self._artifact, share, text)

    def finish(self, report: Report) -> None:
        """Show a row per well."""
        text = f"{len(report.done)} of {len(report.outcomes)} wells done in {report.seconds:.0f} s"
        self._call(create_table_artifact, table_rows(report.outcomes), f"{self._key}-wells", text)


def artifact_key(plate: str) -> str:
    """Return a plate's name as Prefect takes it in keys.

    Examples
    --------
    >>> artifact_key("Plate_07 (drugs)")
    'plate-07-drugs'
    """
    return re.sub(r"[^a-z0-9]+", "-", plate.lower()).strip("-") or "plate"


def table_rows(outcomes: Sequence[WellOutcome]) -> list[dict[str, Any]]:
    """Return a row per well for people."""
    return [
        {
            "well": outcome.well.name,
            "state": outcome.state,
            "steps": ", ".join(outcome.steps),
            "objects": outcome.n_objects,
            "seconds": round(outcome.seconds, 1),
            "attempts": outcome.attempts,
            "worker": outcome.worker,
            "cause": outcome.failure.message if outcome.failure else "",
            "hint": outcome.failure.hint if outcome.failure else "",
        }
        for outcome in outcomes
    ]
