"""One plate, before a night begins it: has it arrived, is anything to do, by which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hcs.errors import QUALITY, HcsError, PlateError, StoppedError
from hcs.plate.arrivals import is_product
from hcs.plate.commit import read_marker
from hcs.plate.lock import look
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import WellPath
from hcs.plate.storage import Storage
from hcs.plate.table import table_names
from hcs.run import finish
from hcs.run.arrivals import arrival_of, sentinel_of
from hcs.run.night_memory import Memory, digest_of
from hcs.run.night_report import PlateRecord, failed_record
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import WellOutcome
from hcs.run.overrides import PlateSettings, settings_of
from hcs.run.plan import Plan, WellPlan, make_plan
from hcs.run.steps import record_of
from hcs.run.stopping import Stop
from hcs.settings import Settings


@dataclass(frozen=True)
class Ready:
    """A plate that has arrived and has something to do.

    Parameters
    ----------
    url : str
    own : PlateSettings
    bytes_of : mapping of WellPath to int
        Decoded bytes that the steps to be done read, of each selected well.
    done : frozenset of WellPath
        Wells of which no step is to be done.
    """

    url: str
    own: PlateSettings
    bytes_of: Mapping[WellPath, int]
    done: frozenset[WellPath]

    @property
    def n_bytes(self) -> int:
        """Decoded bytes of all wells."""
        return sum(self.bytes_of.values())


def look_at(
    url: str,
    folder: str,
    given: Settings,
    night: NightSettings,
    now: datetime,
    stop: Stop,
    memory: Memory,
) -> Ready | PlateRecord | None:
    """Return a plate to begin, or why it is not begun; None for what is no input.

    Parameters
    ----------
    url : str
        Of the plate.
    folder : str
        That is watched.
    given : Settings
        Before files beside the plate change them.
    night : NightSettings
    now : datetime
        With a time zone.
    stop : Stop
    memory : Memory
        Spares the look at a plate that had nothing to do and is as it was.

    Raises
    ------
    StoppedError
        If somebody asks for it meanwhile.
    """
    if night.sentinel:
        arrival = sentinel_of(url, night.sentinel)
        if not arrival.is_there:
            return PlateRecord(url, "still arriving", arrival.why)
    try:
        own = settings_of(url, folder, given)
        # as it was before the look: what changes meanwhile is seen by the next one
        before = digest_of(url, own.settings) if was_finished(url) else ""
        if before and (known := memory.recall(url, before)):
            return known
        plate = open_plate(url, **own.settings.calibration.model_dump())
    except PlateError as error:
        return _unopened(url, error)
    except HcsError as error:
        return failed_record(url, error)
    if is_product(plate):
        return None
    found = _look(plate, own, night, now, stop)
    if before and isinstance(found, PlateRecord) and found.state == "nothing to do":
        memory.remember(found, before)
    return found


def was_finished(url: str) -> bool:
    """Tell whether a run of a plate came to its end, whatever is to be done now."""
    return Storage.open(url).sibling(".hcs").exists(f"plate/{finish.STEP}.json")


def is_held(url: str) -> bool:
    """Tell whether a run has a plate, as far as can be seen without waiting for its heartbeat."""
    try:
        return look(Storage.open(url).sibling(".hcs")).state == "held"
    except HcsError:
        # who asks for the lock finds out
        return True


def is_done(plate: Plate, plan: Plan) -> bool:
    """Tell whether a run would do nothing: no step is to be done, and the plate's tables know it.

    A run that was killed before its end leaves tables that do not.
    """
    if any(well.todo for well in plan.wells):
        return False
    marker = read_marker(plate, None, finish.STEP)
    if marker is None:
        return not plan.wells
    parts: Any = record_of(marker).get("parts")
    try:
        noted = {path: (state, measured) for path, state, measured in parts["wells"]}
    except (KeyError, TypeError, ValueError):
        # of another version of hcs: the next run makes the tables anew
        return False
    return all(noted.get(str(well.well)) == _standing(well) for well in plan.wells)


def with_quarantine(record: PlateRecord) -> PlateRecord:
    """Return a record with the rows of the plate's table of quarantine, as far as that is known.

    Among them are wells that are done, and that somebody should look at.
    """
    try:
        plate = open_plate(record.url)
        if "quarantine" not in table_names(plate, None):
            return record
        table = plate.table("quarantine")
    except HcsError:
        # what cannot be read is told of where it matters
        return record
    if "cause" not in table:
        # of somebody else: the next run of the plate tells
        return record
    causes = list(table["cause"])
    flagged = causes.count(QUALITY)
    told = [record.why, *([f"{QUALITY} ({flagged})"] if flagged else [])]
    return replace(record, quarantined=len(causes), why=", ".join(filter(None, told)))


def _look(
    plate: Plate, own: PlateSettings, night: NightSettings, now: datetime, stop: Stop
) -> Ready | PlateRecord:
    url = plate.storage.url
    if not was_finished(url):
        # there is something to do, if it is there: no plan is needed to wait for it
        arrival = arrival_of(plate, night, now)
        if not arrival.is_there:
            return PlateRecord(url, "still arriving", arrival.why, wells=len(plate.layout.wells))
    try:
        plan, error = make_plan(plate, own.settings, stop), None
    except StoppedError:
        raise
    except HcsError as refused:
        # what is still arriving may lack what the plan asks for
        plan, error = None, refused
    if plan and is_done(plate, plan):
        return _nothing_to_do(url, plan)
    arrival = arrival_of(plate, night, now)
    if not arrival.is_there:
        return PlateRecord(url, "still arriving", arrival.why, wells=len(plate.layout.wells))
    if plan is None:
        return failed_record(url, error or PlateError("it has no plan"))
    done = frozenset(well.well for well in plan.wells if well.is_done)
    return Ready(url, own, {well.well: well.bytes_read for well in plan.wells}, done)


def _standing(well: WellPlan) -> tuple[str, dict[str, str]]:
    """Return how a well stands in the tables of the plate, if they are up to date."""
    measured = {
        status.step.label_image: status.marker.fingerprint
        for status in well.statuses
        if status.step.kind == "measure" and status.marker
    }
    return ("failed" if well.failure else "done"), measured


def _unopened(url: str, error: PlateError) -> PlateRecord:
    storage = Storage.open(url)
    if not storage.exists("zarr.json") and not storage.exists(".zattrs"):
        return PlateRecord(url, "still arriving", "it has no metadata yet")
    return PlateRecord(url, "unreadable", error.message, error.hint)


def _nothing_to_do(url: str, plan: Plan) -> PlateRecord:
    failed = tuple(
        WellOutcome(well.well, "failed", failure=well.failure)
        for well in plan.wells
        if well.failure
    )
    record = PlateRecord(
        url,
        "nothing to do",
        wells=len(plan.wells),
        done=sum(well.is_done for well in plan.wells),
        failed=failed,
    )
    return with_quarantine(record)
