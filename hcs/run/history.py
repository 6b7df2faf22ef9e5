"""What a run set out to do, what went wrong on its way, and what it came to, kept beside the plate.

For people and for `hcs status`; nothing is decided by it, that is what markers are for. A run that
is killed leaves what it had written so far. The records and starts of old runs are dropped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from pydantic import BaseModel, TypeAdapter, ValidationError

from hcs.errors import PlateError, StorageError, WriteError
from hcs.plate.commit import JSON
from hcs.plate.documents import LARGEST_DOCUMENT
from hcs.plate.path import WellPath, is_number
from hcs.plate.storage import Storage
from hcs.run.outcome import Failure, OnOutcome, Report, WellOutcome
from hcs.run.plan import Plan

_log = logging.getLogger(__name__)

FOLDER = "runs"
# a fortnight of nights
_KEPT = 14


class Ended(BaseModel):
    """What a run came to.

    Parameters
    ----------
    at : str
        UTC.
    seconds : float
    exit_code : int
    done, failed : int
        Wells.
    failure : str
        Why the plate's own tables were not written; empty where they were.
    """

    at: str
    seconds: float
    exit_code: int
    done: int
    failed: int
    failure: str = ""


class _Begun(BaseModel):
    begun: str
    steps: tuple[str, ...]
    wells: tuple[str, ...]


@dataclass(frozen=True)
class RunRecord:
    """One run of a plate.

    Parameters
    ----------
    token : int
        Of its lock.
    begun : str
        UTC.
    steps : tuple of str
        In order.
    wells : tuple of str
        Those that it set out to work on: selected and not done.
    failures : mapping of str to Failure
        By well.
    ended : Ended or None
        None for a run that goes on, or was killed.
    """

    token: int
    begun: str
    steps: tuple[str, ...]
    wells: tuple[str, ...]
    failures: Mapping[str, Failure] = field(default_factory=dict)
    ended: Ended | None = None


class History:
    """Writes the record of one run; a disk that is full costs the record, never the run.

    Parameters
    ----------
    companion : Storage
    token : int
        Of the run's lock.
    """

    def __init__(self, companion: Storage, token: int) -> None:
        self._companion = companion
        self._token = token

    def begin(self, plan: Plan) -> None:
        """Write what the run sets out to do, and drop the records of old runs."""
        try:
            for token in _tokens(self._companion.sizes(FOLDER))[: -_KEPT + 1]:
                for folder in (FOLDER, "attempts"):
                    self._companion.delete(f"{folder}/{token:08d}")
        except (PlateError, StorageError, WriteError) as error:
            _log.warning("records of old runs stay: %s", error)
        self._write(
            "run",
            {
                "begun": _now(),
                "steps": [step.name for step in plan.steps],
                "wells": [str(well.well) for well in plan.wells if not well.is_done],
            },
        )
        for well in plan.wells:
            if well.failure:
                self._note(well.well, well.failure)

    def hearing(self, on_outcome: OnOutcome | None) -> OnOutcome:
        """Return what notes failures, and passes every outcome on.

        One who hears of wells and fails costs none of them; it is told once.
        """
        failures = list[Exception]()

        def note(outcome: WellOutcome, through: int, wells: int) -> None:
            if outcome.failure:
                self._note(outcome.well, outcome.failure)
            try:
                if on_outcome:
                    on_outcome(outcome, through, wells)
            except Exception as error:  # noqa: BLE001 - any monitor
                failures.append(error)
                if len(failures) == 1:
                    _log.warning("the run goes on, and its monitor failed", exc_info=error)

        return note

    def end(self, report: Report, seconds: float) -> None:
        """Write what the run came to."""
        failed = sum(outcome.state == "failed" for outcome in report.failed)
        failure = report.failure.message if report.failure else ""
        ended = Ended(
            at=_now(),
            seconds=seconds,
            exit_code=report.exit_code,
            done=len(report.done),
            failed=failed,
            failure=failure,
        )
        self._write("report", ended.model_dump())

    def _note(self, well: WellPath, failure: Failure) -> None:
        self._write(f"failed/{well}", asdict(failure))

    def _write(self, name: str, content: Mapping[str, JSON]) -> None:
        key = f"{FOLDER}/{self._token:08d}/{name}.json"
        try:
            self._companion.write(key, json.dumps(content, indent=1).encode())
        except (WriteError, StorageError) as error:
            _log.warning("the record of this run is not complete: %s", error)


def read_history(companion: Storage) -> tuple[RunRecord, ...]:
    """Return the runs of a plate, newest first; a record that is damaged is left out."""
    sizes = companion.sizes(FOLDER)
    found = (_read_run(companion, token, sizes) for token in reversed(_tokens(sizes)))
    return tuple(run for run in found if run)


def _read_run(companion: Storage, token: int, sizes: Mapping[str, int]) -> RunRecord | None:
    top = f"{FOLDER}/{token:08d}"
    failures = {
        key.removeprefix(f"{top}/failed/").removesuffix(".json"): key
        for key in sizes
        if key.startswith(f"{top}/failed/")
    }
    try:
        begun = _Begun.model_validate_json(companion.read(f"{top}/run.json", LARGEST_DOCUMENT))
        return RunRecord(
            token,
            begun.begun,
            begun.steps,
            begun.wells,
            {
                well: _failure.validate_json(companion.read(key, LARGEST_DOCUMENT))
                for well, key in failures.items()
            },
            Ended.model_validate_json(companion.read(f"{top}/report.json", LARGEST_DOCUMENT))
            if f"{top}/report.json" in sizes
            else None,
        )
    except (ValidationError, PlateError, FileNotFoundError):
        return None


_failure = TypeAdapter(Failure)


def _tokens(keys: Mapping[str, int]) -> list[int]:
    names = {key.split("/")[1] for key in keys if key.count("/") > 1}
    return sorted(int(name) for name in names if is_number(name))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
