"""Finished wells -> what the plate as a whole needs: equal label images everywhere, plate tables.

The tables come from what the measurement of each well noted in its marker, so that no well is read
again, and are written only when something changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hcs.errors import QUALITY, CorruptError, HcsError, PlateError, StorageError, WorkerError
from hcs.plate.commit import (
    JSON,
    Marker,
    fingerprint,
    read_marker,
    remove_marker,
    verify,
    write_marker,
)
from hcs.plate.consolidated import renew_consolidated
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.table import read_table, table_names, write_table
from hcs.plate.write import write_empty_label_image
from hcs.run.frames import frames_from_json
from hcs.run.outcome import Report
from hcs.run.plan import Plan, WellPlan, describe_well
from hcs.run.provenance import Outputs, provenance_of_plate, versions, write_crate
from hcs.run.stains import fill_in_stains, stain_models, withdraw_stains
from hcs.run.standing import Standing, look_at
from hcs.run.steps import label_images_of, record_of
from hcs.run.stopping import Stop
from hcs.tables.schema import QUARANTINE
from hcs.tables.wells import (
    FieldRecord,
    MeasuredWell,
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
_NO_MAP = "the plate map is left out of `wells`: %s"
_NOT_DONE = (WorkerError.cause, "the well was not finished", "run again")
# raise it when the same wells give other tables than before
ALGORITHM = 3


@dataclass(frozen=True)
class _Ended:
    """A well at the end of a run.

    Parameters
    ----------
    well : WellPlan
    state : str
        done, failed; of wells that were not selected: earlier (results of the same steps are
        there) or pending.
    standing : Standing
        Whichever run made it.
    """

    well: WellPlan
    state: str
    standing: Standing


def finish(plate: Plate, plan: Plan, report: Report, token: int, stop: Stop) -> tuple[str, ...]:
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
    stop : Stop

    Raises
    ------
    StoppedError
        Between two wells; the next run makes the tables.
    """
    label_images = label_images_of(plan.steps)
    failed = {outcome.well for outcome in report.failed}
    selected = {well.well: well for well in plan.wells}
    ended = []
    for path in stop.heeded(plate.layout.wells):
        well = selected.get(path) or describe_well(plate, path)
        one = _end(plate, well, plan, "failed" if path in failed else "")
        with _said(path):
            if path in failed:
                _withdraw(plate, well, plan, token)
                one = _end(plate, well, plan, "failed")
            _fill_in(plate, one, plan)
        ended.append(one)
    _write_tables(plate, plan, ended, _failed(plate, plan, report), token)
    done = set(report.done)
    shown = [image.path for well in plan.wells if well.well in done for image in well.images][:1]
    keys = [f"{path}/labels/{name}" for path in shown for name in label_images]
    keys += [f"{path}/tables/{name}_objects" for path in shown for name in label_images]
    keys += [f"tables/{name}" for name in TABLES]
    stains = stain_models(plan.steps) if done else ()
    sisters = [plate.sister(model.card.step).storage.url for model in stains]
    return (*(f"{plate.storage.url}/{key}" for key in keys), *sisters)


@contextmanager
def _said(well: WellPath) -> Iterator[None]:
    """Take what keeps one well's label images from being written for a warning."""
    try:
        yield
    except (PlateError, StorageError) as error:
        _log.warning("%s: its label images are left as they are: %s", well, error)


def _end(plate: Plate, well: WellPlan, plan: Plan, state: str) -> _Ended:
    standing = look_at(plate, well, plan.steps)
    if not state:
        kinds = {"measure": standing.measured, "stain": standing.stained}
        whole = all(
            (step.label_image or step.name) in kinds[step.kind]
            for step in plan.steps
            if step.kind in kinds
        )
        state = "done" if well.wanted else "earlier" if whole else "pending"
    return _Ended(well, state, standing)


def _withdraw(plate: Plate, well: WellPlan, plan: Plan, token: int) -> None:
    """Take away what is left of earlier settings in a failed well: markers, then pixels."""
    stale = [s.step for s in well.statuses if s.state != "done" and s.step.kind != "statistics"]
    for step in stale:
        remove_marker(plate, well.well, step.name, token)
    for image in well.images:
        there = plate.label_names(image.path)
        for name in label_images_of([step for step in stale if step.kind != "measure"]):
            if name not in there or not _is_empty(plate, image.path, name, "failed"):
                write_empty_label_image(plate, image.path, name, "failed")
    for model in stain_models(stale):
        withdraw_stains(plate, model, well.images, plan.settings.isl, "failed")


def _fill_in(plate: Plate, one: _Ended, plan: Plan) -> None:
    """Give each field of a well each label image: viewers expect the same ones everywhere."""
    images, state = one.well.images, one.state
    for image in images:
        for name in set(label_images_of(plan.steps)) - set(plate.label_names(image.path)):
            write_empty_label_image(plate, image.path, name, state)
    for model in stain_models(plan.steps):
        fill_in_stains(plate, model, images, plan.settings.isl, state)
    if state != "done" and images:
        renew_consolidated(plate, one.well.well)


def _is_empty(plate: Plate, field: FieldPath, name: str, state: str) -> bool:
    return plate.attributes(label_key(field, name)).get("state") == state


def _failed(plate: Plate, plan: Plan, report: Report) -> list[Quarantined]:
    """Return the wells that failed now, and those not looked at now that failed before."""
    looked_at = {well.well for well in plan.wells}
    rows = _failed_before(plate, [well for well in plate.layout.wells if well not in looked_at])
    for outcome in report.failed:
        failure = outcome.failure
        told = (failure.cause, failure.message, failure.hint) if failure else _NOT_DONE
        rows.append(Quarantined(outcome.well.name, *told))
    return _in_order(plate, rows)


def _failed_before(plate: Plate, wells: Sequence[WellPath]) -> list[Quarantined]:
    """Return what the table says of wells that failed before; nothing of one that is not ours."""
    if not wells or "quarantine" not in table_names(plate, None):
        return []
    try:
        if problems := verify(plate, _vouched_for(plate, "tables/quarantine/")):
            raise CorruptError("; ".join(problems), hint="hcs verify --repair, then hcs run")
        before = QUARANTINE.arrange(read_table(plate, None, "quarantine")).astype(str)
    except (HcsError, ValueError) as error:
        # a row less costs less than the run
        _log.warning("wells that failed before are left out of `quarantine`: %s", error)
        return []
    names = [well.name for well in wells]
    kept = before[before["well"].isin(names) & (before["cause"] != QUALITY)]
    return [Quarantined(*row) for row in kept.itertuples(index=False, name=None)]


def _vouched_for(plate: Plate, prefix: str) -> dict[str, str]:
    """Return the digests of files that the tables' marker tells, where there is one."""
    done = read_marker(plate, None, STEP)
    manifest = done.manifest if done else {}
    return {key: digest for key, digest in manifest.items() if key.startswith(prefix)}


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
    ended: Sequence[_Ended],
    failed: Sequence[Quarantined],
    token: int,
) -> None:
    condition, as_json = _condition(plate)
    parts: dict[str, JSON] = {
        "step": STEP,
        "version": ALGORITHM,
        "wells": [[str(one.well.well), one.state, one.standing.fingerprints] for one in ended],
        "quarantine": quarantine(failed).to_json(),
        "condition": as_json,
    }
    done = read_marker(plate, None, STEP)
    if done is not None and done.fingerprint == fingerprint(parts):
        return
    remove_marker(plate, None, STEP, token)
    outputs = _outputs(plan, ended)
    frames = _all_frames(plate, ended)
    records = [_record(one) for one in ended]
    tables = {
        "well_frames": frames,
        "wells": _wells(records, frames, outputs.label_images, condition),
        "quarantine": quarantine(_with_flagged(plate, failed, frames)),
    }
    manifest: dict[str, str] = {}
    made_by: dict[str, JSON] = {
        "step": STEP,
        "fingerprint": fingerprint(parts),
        "depends_on": provenance_of_plate({str(e.well.well): e.standing.steps for e in ended}),
        "versions": versions(plan.steps),
    }
    for name, table in tables.items():
        manifest |= write_table(plate, None, name, table, "generic_table", provenance=made_by)
    write_crate(plate, plan.settings, plan.steps, outputs)
    renew_consolidated(plate, None)
    marker = Marker(STEP, fingerprint(parts), manifest, {"parts": parts}, token)
    write_marker(plate, None, marker, token)


def _outputs(plan: Plan, ended: Sequence[_Ended]) -> Outputs:
    """Return what the run was asked for, and what of other runs stands in some well."""
    measured = (name for one in ended for name in one.standing.measured)
    stained = (name for one in ended for name in one.standing.stained)
    own = (step.name for step in plan.steps if step.kind == "stain")
    return Outputs(
        tuple(dict.fromkeys((*label_images_of(plan.steps), *measured))),
        tuple(dict.fromkeys((*own, *stained))),
        TABLES,
    )


def _all_frames(plate: Plate, ended: Sequence[_Ended]) -> pd.DataFrame:
    return well_frames(
        [
            MeasuredWell(_key(one.well), name, _field_records(plate, one.well.well, marker))
            for one in ended
            for name, marker in one.standing.measured.items()
            if one.well.images
        ]
    )


def _field_records(plate: Plate, path: WellPath, marker: Marker) -> list[FieldRecord]:
    well = plate.well(path)
    noted: Any = record_of(marker)["frames"]
    return [
        FieldRecord(acquisition, frames_from_json(noted[field.name]))
        for field, acquisition in zip(well.fields, well.acquisitions, strict=True)
        if field.name in noted
    ]


def _record(one: _Ended) -> WellRecord:
    n_frames = max((image.n_frames for image in one.well.images), default=None)
    return WellRecord(_key(one.well), one.state, n_frames)


def _key(well: WellPlan) -> WellKey:
    # a well of which nothing can be read still has its row
    first = well.images[0].path.name if well.images else ""
    return WellKey(well.well.row, well.well.column, first)


def _condition(plate: Plate) -> tuple[pd.DataFrame | None, str | None]:
    """Return the plate map, also as text, if the plate has one that can be read."""
    if "condition" not in table_names(plate, None):
        return None, None
    try:
        condition = read_table(plate, None, "condition")
        return condition, condition.to_json()
    except (HcsError, ValueError, OverflowError) as error:
        _log.warning(_NO_MAP, error)
        return None, None


def _wells(
    records: Sequence[WellRecord],
    frames: pd.DataFrame,
    label_images: Sequence[str],
    condition: pd.DataFrame | None,
) -> pd.DataFrame:
    """Return the table of wells, without a plate map that does not go with it."""
    try:
        return wells(records, frames, label_images, condition)
    except ValueError as error:
        if condition is None:
            raise
        _log.warning(_NO_MAP, error)
        return wells(records, frames, label_images)
