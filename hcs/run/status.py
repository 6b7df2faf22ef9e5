"""How a plate stands, from the names of its markers alone: at any time, without settings.

A step is done when its marker is there, by whatever settings. Which steps are missing, and why, is
told by the records of the runs (`hcs.run.history`) and by the starts that workers write down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hcs.errors import HcsError
from hcs.plate.lock import Holding, look
from hcs.plate.open import Plate
from hcs.plate.path import WellPath
from hcs.plate.storage import Storage
from hcs.plate.table import table_names
from hcs.run.finish import STEP as FINISH
from hcs.run.history import RunRecord, read_history
from hcs.run.outcome import Failure

# running, waiting: a run holds the plate; interrupted: begun by a run that is no more
StepState = Literal["done", "running", "waiting", "failed", "interrupted", "not begun"]


@dataclass(frozen=True)
class WellStatus:
    """How one well stands.

    Parameters
    ----------
    well : WellPath
    steps : mapping of str to str
        State by step.
    state : str
        Done where all steps of the latest run are; else that of the first that is not.
    failure : Failure or None
        Why the step that failed did.
    """

    well: WellPath
    steps: Mapping[str, StepState]
    state: StepState
    failure: Failure | None = None


@dataclass(frozen=True)
class PlateStatus:
    """How a plate stands.

    Parameters
    ----------
    url : str
    lock : Holding
    run : RunRecord or None
        The latest; None where nobody ran the plate since records are kept.
    wells : tuple of WellStatus
    finished : bool
        Whether the tables of the plate are those of a finished run.
    quarantine : tuple of mapping
        Rows of the table: well, cause, message, hint.
    problem : str
        Why the quarantine table cannot be read.
    """

    url: str
    lock: Holding
    run: RunRecord | None
    wells: tuple[WellStatus, ...]
    finished: bool
    quarantine: tuple[Mapping[str, str], ...] = ()
    problem: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of all steps, in order."""
        return tuple(self.wells[0].steps) if self.wells else ()

    @property
    def marked(self) -> tuple[str, ...]:
        """Names of the steps that some well has done, in order."""
        done = (step for step in self.steps if any(w.steps[step] == "done" for w in self.wells))
        return tuple(done)


@dataclass
class _Beside:
    """What lies beside the plate, by name; each folder is listed once."""

    companion: Storage
    lock: Holding
    runs: tuple[RunRecord, ...]
    starts: dict[int, dict[str, bool]] = field(default_factory=dict)

    def begun(self, run: RunRecord, well: str) -> Literal["no", "open", "ended"]:
        """Say whether a run started on a well, and whether some start has not come back."""
        if run.token not in self.starts:
            self.starts[run.token] = _starts(self.companion, run.token)
        started = self.starts[run.token].get(well)
        return "no" if started is None else "open" if started else "ended"


def plate_status(plate: Plate) -> PlateStatus:
    """Return how a plate stands; nothing is written, and no marker is opened.

    A marker that is damaged counts as done here: `hcs.run.verify` opens them.

    Raises
    ------
    PlateError
        The plate's storage cannot be read.
    """
    companion = plate.companion
    beside = _Beside(companion, look(companion), read_history(companion))
    rows = dict.fromkeys(well.row for well in plate.layout.wells)
    keys = {key for row in (*rows, "plate") for key in companion.sizes(row)}
    steps = _all_steps(beside.runs, keys, plate.layout.wells)
    wells = tuple(_well_status(beside, well, steps, keys) for well in plate.layout.wells)
    quarantine, problem = _quarantine(plate)
    return PlateStatus(
        plate.storage.url,
        beside.lock,
        beside.runs[0] if beside.runs else None,
        wells,
        f"plate/{FINISH}.json" in keys,
        quarantine,
        problem,
    )


def _all_steps(
    runs: Sequence[RunRecord], keys: Collection[str], wells: Iterable[WellPath]
) -> tuple[str, ...]:
    """Return the steps that have markers, and those of the latest run, in order."""
    known = {str(well) for well in wells}
    marked = {
        name.removesuffix(".json")
        for well, _, name in (key.rpartition("/") for key in keys)
        if well in known and name.endswith(".json") and not name.startswith(".")
    }
    latest = runs[0].steps if runs else ()
    order = [step for run in runs for step in run.steps]
    others = sorted(marked - {*latest}, key=lambda s: (s in order, s))
    return (*others, *latest)


def _well_status(
    beside: _Beside, well: WellPath, steps: Sequence[str], keys: Collection[str]
) -> WellStatus:
    missing = [step for step in steps if f"{well}/{step}.json" not in keys]
    states: dict[str, StepState] = {
        step: "not begun" if step in missing else "done" for step in steps
    }
    run = next((r for r in beside.runs if str(well) in r.wells), None)
    failure = None
    if run and (first := next((step for step in run.steps if step in missing), None)):
        states[first] = _first_missing(beside, run, str(well))
        failure = run.failures.get(str(well)) if states[first] == "failed" else None
    asked = beside.runs[0].steps if beside.runs else steps
    state = next((states[step] for step in asked if step in missing), None)
    # of a plate that nobody ran, nothing is done, not even where there is nothing to do
    return WellStatus(well, states, state or ("done" if asked else "not begun"), failure)


def _first_missing(beside: _Beside, run: RunRecord, well: str) -> StepState:
    """Return the state of the first step of a run that a well lacks."""
    going_on = beside.lock.state == "held" and beside.lock.token == run.token
    begun = beside.begun(run, well)
    if begun == "open":
        return "running" if going_on else "interrupted"
    if well in run.failures:
        return "failed"
    if going_on:
        return "waiting"
    # a run that came to its end left the step done: its result was taken away since then
    return "not begun" if begun == "no" or run.ended else "interrupted"


def _starts(companion: Storage, token: int) -> dict[str, bool]:
    """Return by well whether a start has not come back."""
    top = f"attempts/{token:08d}/"
    keys = companion.sizes(top.rstrip("/"))
    found: dict[str, bool] = {}
    for key in keys:
        if key.endswith(".json"):
            well = "/".join(key.removeprefix(top).split("/")[:2])
            stem = key.removesuffix(".json")
            is_open = f"{stem}.back" not in keys and f"{stem}.retired" not in keys
            found[well] = found.get(well, False) or is_open
    return found


def _quarantine(plate: Plate) -> tuple[tuple[Mapping[str, str], ...], str]:
    try:
        if "quarantine" not in table_names(plate, None):
            return (), ""
        rows = plate.table("quarantine").astype(str).to_dict("records")
    except HcsError as error:
        return (), str(error)
    return tuple({str(name): value for name, value in row.items()} for row in rows), ""
