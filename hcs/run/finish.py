"""Finished wells -> what the plate as a whole needs: equal label images everywhere, plate tables.

The tables come from what the measurement of each well noted in its marker, so that no well is read
again, and are written only when something changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hcs.errors import QUALITY, HcsError, WorkerError
from hcs.plate.commit import JSON, Marker, fingerprint, read_marker, remove_marker, write_marker
from hcs.plate.consolidated import renew_consolidated
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.table import read_table, table_names, write_table
from hcs.plate.write import write_empty_label_image
from hcs.run.frames import frames_from_json
from hcs.run.outcome import Report
from hcs.run.plan import Plan, WellPlan, describe_well
from hcs.run.provenance import versions, write_crate
from hcs.run.steps import label_images_of, record_of, steps_of
from hcs.tables.schema import QUARANTINE, WELL_FRAMES
from hcs.tables.wells import (
    FieldRecord,
    Quarantined,
    WellKey,
    WellRecord,
    flagged,
    quarantine,
    well_frames,
    wells,
)

_log = logging.getLogger(__name__)

STEP = "finish"
TABLES = ("well_frames", "wells", "quarantine")
_NOT_DONE = (WorkerError.cause, "the well was not finished", "run again")
# raise it when the same wells give other tables than before
ALGORITHM = 2


@dataclass(frozen=True)
class _Standing:
    """How a well stands at the end of a run.

    Parameters
    ----------
    well : WellPlan
    state : str
        done, failed; of wells that were not selected: earlier (results of other settings are
        there) or pending.
    measured : mapping of str to Marker
        By label image: what is measured and still stands.
    """

    well: WellPlan
    state: str
    measured: Mapping[str, Marker]


def finish(plate: Plate, plan: Plan, report: Report, token: int) -> tuple[str, ...]:
    """Write what the plate as a whole needs, and return where the outputs lie.

    Parameters
    ----------
    plate : Plate
    plan : Plan
        As the wells stand now.
    report : Report
        For the wells that failed.
    token : int
        Of the run's lock.
    """
    label_images = label_images_of(plan.settings)
    failed = {outcome.well for outcome in report.failed}
    selected = {well.well: well for well in plan.wells}
    standings = []
    for path in plate.layout.wells:
        well = selected.get(path) or describe_well(plate, path)
        if path in failed:
            _withdraw(plate, well, plan, token)
        standing = _stand(plate, well, plan, "failed" if path in failed else "")
        _fill_in(plate, standing, label_images)
        standings.append(standing)
    _write_tables(plate, plan, standings, _failed(plate, plan, report), token)
    done = set(report.done)
    shown = [image.path for well in plan.wells if well.well in done for image in well.images][:1]
    keys = [f"{path}/labels/{name}" for path in shown for name in label_images]
    keys += [f"{path}/tables/{name}_objects" for path in shown for name in label_images]
    keys += [f"tables/{name}" for name in TABLES]
    return tuple(f"{plate.storage.url}/{key}" for key in keys)


def _stand(plate: Plate, well: WellPlan, plan: Plan, state: str) -> _Standing:
    steps = [step for step in steps_of(plan.settings) if step.kind == "measure"]
    markers = {step.label_image: read_marker(plate, well.well, step.name) for step in steps}
    measured = {name: marker for name, marker in markers.items() if marker}
    if not state:
        state = "done" if well.wanted else "earlier" if len(measured) == len(steps) else "pending"
    return _Standing(well, state, measured)


def _withdraw(plate: Plate, well: WellPlan, plan: Plan, token: int) -> None:
    """Take away what is left of earlier settings in a failed well: markers, then pixels."""
    stale = [s.step for s in well.statuses if s.state != "done" and s.step.kind != "statistics"]
    for step in stale:
        remove_marker(plate, well.well, step.name, token)
    for image in well.images:
        there = plate.label_names(image.path)
        for name in {step.label_image for step in stale if step.kind != "measure"}:
            if name not in there or not _is_empty(plate, image.path, name, "failed"):
                write_empty_label_image(plate, image.path, name, "failed")


def _fill_in(plate: Plate, standing: _Standing, label_images: Sequence[str]) -> None:
    """Give each field of a well each label image: viewers expect the same ones everywhere."""
    for image in standing.well.images:
        for name in set(label_images) - set(plate.label_names(image.path)):
            write_empty_label_image(plate, image.path, name, standing.state)
    if standing.state != "done" and standing.well.images:
        renew_consolidated(plate, standing.well.well)


def _is_empty(plate: Plate, field: FieldPath, name: str, state: str) -> bool:
    return plate.attributes(label_key(field, name)).get("state") == state


def _failed(plate: Plate, plan: Plan, report: Report) -> list[Quarantined]:
    """Return the wells that failed now, and those not looked at now that failed before."""
    looked_at = {well.well.name for well in plan.wells}
    before = QUARANTINE.empty()
    if "quarantine" in table_names(plate, None):
        before = read_table(plate, None, "quarantine")
    kept = before[~before["well"].isin(looked_at) & (before["cause"] != QUALITY)]
    rows = [Quarantined(*row) for row in kept.itertuples(index=False, name=None)]
    for outcome in report.failed:
        failure = outcome.failure
        told = (failure.cause, failure.message, failure.hint) if failure else _NOT_DONE
        rows.append(Quarantined(outcome.well.name, *told))
    return _in_order(plate, rows)


def _with_flagged(
    plate: Plate, failed: Sequence[Quarantined], frames: pd.DataFrame
) -> list[Quarantined]:
    """Add the wells that are done, but whose frames mostly failed quality control."""
    known = {row.well for row in failed}
    return _in_order(plate, [*failed, *(row for row in flagged(frames) if row.well not in known)])


def _in_order(plate: Plate, rows: Sequence[Quarantined]) -> list[Quarantined]:
    order = [well.name for well in plate.layout.wells]
    return sorted(rows, key=lambda row: order.index(row.well))


def _write_tables(
    plate: Plate,
    plan: Plan,
    standings: Sequence[_Standing],
    failed: Sequence[Quarantined],
    token: int,
) -> None:
    condition = _condition(plate)
    parts: dict[str, JSON] = {
        "step": STEP,
        "version": ALGORITHM,
        "wells": [
            [str(one.well.well), one.state, {k: m.fingerprint for k, m in one.measured.items()}]
            for one in standings
        ],
        "quarantine": quarantine(failed).to_json(),
        "condition": None if condition is None else condition.to_json(),
    }
    done = read_marker(plate, None, STEP)
    if done is not None and done.fingerprint == fingerprint(parts):
        return
    remove_marker(plate, None, STEP, token)
    label_images = label_images_of(plan.settings)
    frames = _all_frames(plate, standings)
    records = [_record(one) for one in standings]
    tables = {
        "well_frames": frames,
        "wells": wells(records, frames, label_images, condition),
        "quarantine": quarantine(_with_flagged(plate, failed, frames)),
    }
    manifest: dict[str, str] = {}
    for name, table in tables.items():
        made_by: dict[str, JSON] = {
            "step": STEP,
            "fingerprint": fingerprint(parts),
            "versions": versions(),
        }
        manifest |= write_table(plate, None, name, table, "generic_table", provenance=made_by)
    write_crate(plate, plan.settings, label_images, TABLES)
    renew_consolidated(plate, None)
    marker = Marker(STEP, fingerprint(parts), manifest, {"parts": parts}, token)
    write_marker(plate, None, marker, token)


def _all_frames(plate: Plate, standings: Sequence[_Standing]) -> pd.DataFrame:
    tables = [
        well_frames(_key(one.well), name, _field_records(plate, one.well.well, marker))
        for one in standings
        for name, marker in one.measured.items()
        if one.well.images
    ]
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else WELL_FRAMES.empty()


def _field_records(plate: Plate, path: WellPath, marker: Marker) -> list[FieldRecord]:
    well = plate.well(path)
    noted: Any = record_of(marker)["frames"]
    return [
        FieldRecord(acquisition, frames_from_json(noted[field.name]))
        for field, acquisition in zip(well.fields, well.acquisitions, strict=True)
        if field.name in noted
    ]


def _record(one: _Standing) -> WellRecord:
    n_frames = max((image.n_frames for image in one.well.images), default=None)
    return WellRecord(_key(one.well), one.state, n_frames)


def _key(well: WellPlan) -> WellKey:
    # a well of which nothing can be read still has its row
    first = well.images[0].path.name if well.images else ""
    return WellKey(well.well.row, well.well.column, first)


def _condition(plate: Plate) -> pd.DataFrame | None:
    """Return the plate map, if the plate has one that can be read."""
    if "condition" not in table_names(plate, None):
        return None
    try:
        return read_table(plate, None, "condition")
    except HcsError as error:
        _log.warning("the plate map is left out of `wells`: %s", error)
        return None
