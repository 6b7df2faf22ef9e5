"""What is to be done and why, from metadata and markers alone; no pixel is read.

Bytes are those of decoded pixels; on disk they are fewer. Memory is an estimate: what a worker
needs to be there at all, and so many bytes for each pixel of a frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hcs.errors import HcsError, MissingError, PlateError, WorkerError, WriteError
from hcs.plate.check import find_problems
from hcs.plate.commit import JSON, Marker, input_fingerprint
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import WellPath
from hcs.run.channel import choose_channel
from hcs.run.outcome import Failure, failure_of
from hcs.run.pool import current_pool
from hcs.run.spans import Source
from hcs.run.steps import (
    STATISTICS,
    Pool,
    StepStatus,
    Wanted,
    check_step,
    check_steps,
    steps_of,
)
from hcs.settings import Settings

# measured, peak of a process: 0.51 GB at 512^2, 0.59 at 1024^2, 1.03 at 2160^2; Dask adds some
_WORKER_BYTES = 500_000_000
# float32 temporaries of a pair of frames: flow, features, log-odds, boundary refinement
_BYTES_PER_PIXEL = 125
_MEND = "mend it or import the well anew, then run again; the other wells are done without it"
# label images are mostly runs of one value
_LABEL_COMPRESSION = 20
# times that a step reads each frame of the label-free channel; measure reads every channel once
_PASSES: Mapping[str, int] = {"statistics": 2, "ssl": 1, "segmenter": 1, "measure": 0}


@dataclass(frozen=True)
class WellPlan:
    """What is to be done with a well.

    Parameters
    ----------
    well : WellPath
    wanted : Wanted or None
        None for a well that cannot be read at all.
    images : tuple of FieldImage
    statuses : tuple of StepStatus
        In the order of the steps.
    failure : Failure or None
        Why the well cannot be analysed.
    """

    well: WellPath
    wanted: Wanted | None = None
    images: tuple[FieldImage, ...] = ()
    statuses: tuple[StepStatus, ...] = ()
    failure: Failure | None = None

    @property
    def todo(self) -> tuple[StepStatus, ...]:
        """The steps that are not done."""
        return tuple(status for status in self.statuses if status.state != "done")

    @property
    def is_done(self) -> bool:
        """Whether every step is done."""
        return self.failure is None and not self.todo

    @property
    def bytes_read(self) -> int:
        """Decoded bytes that the steps to be done read."""
        return sum(self._bytes_read(status) for status in self.todo)

    @property
    def bytes_written(self) -> int:
        """Bytes that the steps to be done write, label images compressed; an estimate."""
        kinds = [status.step.kind for status in self.todo]
        labels = kinds.count("ssl") + kinds.count("segmenter")
        return labels * 4 * sum(map(_pixels, self.images)) // _LABEL_COMPRESSION

    def _bytes_read(self, status: StepStatus) -> int:
        if status.step.kind == "measure":
            # every channel, and the label image
            return sum(_pixels(i) * (len(i.channels) * _itemsize(i) + 4) for i in self.images)
        passes = _PASSES[status.step.kind]
        return passes * sum(_pixels(image) * _itemsize(image) for image in self.images)


@dataclass(frozen=True)
class Plan:
    """What is to be done with a plate.

    Parameters
    ----------
    url : str
    settings : Settings
    channel : str
        The label-free one.
    wells : tuple of WellPlan
        Those selected, in the order of the plate.
    pool : Pool or None
        The pooled model, if a well needs it and it is up to date.
    warnings : tuple of str
        What is odd about the plate and stops no well.
    """

    url: str
    settings: Settings
    channel: str
    wells: tuple[WellPlan, ...]
    pool: Pool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def waits_for_pool(self) -> bool:
        """Whether a well waits for the plate's pooled model."""
        return any(status.state == "waiting" for well in self.wells for status in well.statuses)

    @property
    def memory_per_worker(self) -> int:
        """Bytes that one worker needs for the largest frame; an estimate."""
        images = [image for well in self.wells for image in well.images]
        working = (_working_bytes(image, self.settings) for image in images)
        return _WORKER_BYTES + max(working, default=0)

    def source(self, token: int) -> Source:
        """Return where the workers of a run read."""
        settings = self.settings
        return Source(self.url, settings.calibration, self.channel, settings.plane, token)


def make_plan(plate: Plate, settings: Settings) -> Plan:
    """Return what is to be done with a plate.

    Raises
    ------
    HcsError
        If a well or the channel is not there, or a method is not known.
    """
    described = [describe_well(plate, well) for well in select_wells(plate, settings.wells)]
    labels = _channels(described)
    channel = choose_channel(labels, settings.channel) if labels else ""
    checked = find_problems(
        plate, channel=channel, wells=[well.well for well in described if not well.failure]
    )
    described = _with_problems(described, checked.problems)
    wanted = [_want(plate, well, settings, channel) for well in described]
    wells = tuple(_look(plate, well, None) for well in wanted)
    plan = Plan(plate.storage.url, settings, channel, wells, warnings=checked.warnings)
    if not plan.waits_for_pool:
        return plan
    return with_pool(plate, plan, current_pool(plate, plate_statistics(plate, plan)))


def check_fit(plan: Plan, worker_bytes: int | None) -> None:
    """Refuse a plan whose frames do not fit a worker, or whose results do not fit the disk.

    Parameters
    ----------
    plan : Plan
    worker_bytes : int or None
        Memory limit of a worker; None where it is not known.

    Raises
    ------
    WorkerError, WriteError
        With both numbers.
    """
    if not any(well.todo for well in plan.wells):
        return
    need = plan.memory_per_worker
    if worker_bytes is not None and need > worker_bytes:
        raise WorkerError(
            f"a worker needs about {need / 1e9:.1f} GB for frames of this size and may have "
            f"{worker_bytes / 1e9:.1f} GB",
            hint="start fewer workers (--workers) or allow them more (--memory)",
        )
    if "://" not in plan.url:
        free = shutil.disk_usage(Path(plan.url)).free
        written = sum(well.bytes_written for well in plan.wells)
        if written > free:
            raise WriteError(
                f"results need about {written / 1e9:.1f} GB beside {plan.url}, "
                f"{free / 1e9:.1f} GB are free",
                hint="free some space, or analyse fewer wells at a time (--well)",
            )


def select_wells(plate: Plate, names: tuple[str, ...]) -> tuple[WellPath, ...]:
    """Return the wells of these names in the order of the plate; all of them for no name.

    Raises
    ------
    MissingError
        Naming every well that the plate does not have.
    """
    wanted = {WellPath.parse(name) for name in names}
    missing = sorted(str(well) for well in wanted - set(plate.layout.wells))
    if missing:
        there = ", ".join(str(well) for well in plate.layout.wells[:8])
        more = ", ..." if len(plate.layout.wells) > 8 else ""
        raise MissingError(
            f"plate {plate.layout.name} has no well {', '.join(missing)}",
            hint=f"it has {there}{more}",
        )
    return tuple(well for well in plate.layout.wells if not wanted or well in wanted)


def plate_statistics(plate: Plate, plan: Plan) -> dict[WellPath, Marker]:
    """Return the SSL statistics of every well of the plate that has some, in its order.

    Wells that are not selected count if they have statistics already.
    """
    selected = {well.well: well for well in plan.wells}
    step = next(step for step in steps_of(plan.settings) if step.name == STATISTICS)
    found: dict[WellPath, Marker] = {}
    for path in plate.layout.wells:
        known = selected.get(path) or _want(
            plate, describe_well(plate, path), plan.settings, plan.channel
        )
        status = check_step(plate, known.wanted, step, None) if known.wanted else None
        if status and status.state == "done" and status.marker:
            found[path] = status.marker
    return found


def with_pool(plate: Plate, plan: Plan, pool: Pool | None) -> Plan:
    """Return a plan as it stands now, by the markers, with the plate's pooled model."""
    return replace(plan, pool=pool, wells=tuple(_look(plate, w, pool) for w in plan.wells))


def _look(plate: Plate, well: WellPlan, pool: Pool | None) -> WellPlan:
    if well.wanted is None:
        return well
    wanted = replace(well.wanted, pool=pool)
    return replace(well, wanted=wanted, statuses=check_steps(plate, wanted))


def describe_well(plate: Plate, path: WellPath) -> WellPlan:
    """Read what a well is; what is wrong with it stops this well only."""
    try:
        images = tuple(plate.field_image(field) for field in plate.well(path).fields)
    except HcsError as error:
        return WellPlan(path, failure=failure_of(error))
    return WellPlan(path, images=images)


def _with_problems(
    wells: Sequence[WellPlan], problems: Sequence[tuple[WellPath, str]]
) -> list[WellPlan]:
    """Add what a look at all metadata says against single wells."""
    found: dict[WellPath, list[str]] = {}
    for path, text in problems:
        found.setdefault(path, []).append(text)
    failures = {
        path: failure_of(PlateError("; ".join(texts), hint=_MEND)) for path, texts in found.items()
    }
    return [replace(well, failure=well.failure or failures.get(well.well)) for well in wells]


def _want(plate: Plate, well: WellPlan, settings: Settings, channel: str) -> WellPlan:
    """Say what is wanted of a well, and what its results depend on."""
    if well.failure:
        return well
    try:
        index = {image.channel_index(channel) for image in well.images}
        root: dict[str, JSON] = {
            "input": input_fingerprint(plate, well.well),
            "channel_index": sorted(index),
            "plane": settings.plane,
        }
    except HcsError as error:
        return replace(well, failure=failure_of(error))
    names: dict[str, JSON] = {
        image.path.name: {
            "pixel_size_um": image.pixel_size_um,
            "interval_s": image.interval_s,
            "channels": [channel.label for channel in image.channels],
        }
        for image in well.images
    }
    wanted = Wanted(well.well, settings, root, {"fields": names})
    return replace(well, wanted=wanted)


def _channels(wells: Sequence[WellPlan]) -> list[str]:
    images = [image for well in wells for image in well.images]
    return [channel.label for channel in images[0].channels] if images else []


def _working_bytes(image: FieldImage, settings: Settings) -> int:
    frame = image.frame_shape[0] * image.frame_shape[1]
    plugin = any(step.kind == "segmenter" for step in steps_of(settings))
    # a segmenter gets all frames of a field at once, and returns as many label images
    field = frame * image.n_frames * (_itemsize(image) + 4 + 8) if plugin else 0
    return frame * _BYTES_PER_PIXEL + field


def _pixels(image: FieldImage) -> int:
    """Pixels of one channel in all frames."""
    return image.n_frames * image.frame_shape[0] * image.frame_shape[1]


def _itemsize(image: FieldImage) -> int:
    return np.dtype(image.dtype).itemsize
