"""What is to be done and why, from metadata and markers alone; no pixel is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from hcs.errors import HcsError, MissingError, PlateError, WorkerError, WriteError
from hcs.plate.check import find_problems
from hcs.plate.commit import JSON, Marker, input_fingerprint
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import WellPath
from hcs.run import needs
from hcs.run.channel import choose_channel
from hcs.run.models import Model, check_channels, fit
from hcs.run.outcome import Failure, failure_of
from hcs.run.pool import current_pool
from hcs.run.spans import Source
from hcs.run.steps import (
    LABEL_FREE,
    STATISTICS,
    Pool,
    Step,
    StepStatus,
    Wanted,
    check_step,
    check_steps,
    on_gpus,
    steps_of,
)
from hcs.run.stopping import Stop
from hcs.settings import RunSettings, Settings

T = TypeVar("T")

# a look at a well waits for the disk or the network
_THREADS = 8
_MEND = "mend it or import the well anew, then run again; the other wells are done without it"


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
        return sum(needs.bytes_read(s.step, i) for s in self.todo for i in self.images)

    @property
    def bytes_written(self) -> int:
        """Bytes that the steps to be done write, label images compressed; an estimate."""
        if self.wanted is None:
            return 0
        isl = self.wanted.settings.isl
        return sum(needs.bytes_written(s.step, i, isl) for s in self.todo for i in self.images)

    @property
    def files_written(self) -> int:
        """Files of pixels that the steps to be done write."""
        return sum(needs.files_written(s.step, i) for s in self.todo for i in self.images)


@dataclass(frozen=True)
class Plan:
    """What is to be done with a plate.

    Parameters
    ----------
    url : str
    settings : Settings
    channel : str
        The label-free one; empty where no step asks for one.
    steps : tuple of Step
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
    steps: tuple[Step, ...]
    wells: tuple[WellPlan, ...]
    pool: Pool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def waits_for_pool(self) -> bool:
        """Whether a well waits for the plate's pooled model."""
        return any(status.state == "waiting" for well in self.wells for status in well.statuses)

    @property
    def adds_to_pool(self) -> bool:
        """Whether a well's statistics, of which the plate's pooled model is made, are to come."""
        return any(s.step.kind == "statistics" for well in self.wells for s in well.todo)

    @property
    def is_hopeless(self) -> bool:
        """Whether no well can be analysed, and something is wrong with each."""
        return bool(self.wells) and all(well.failure for well in self.wells)

    @property
    def run(self) -> RunSettings:
        """How the work is spread; no GPU is looked for where no network is to run."""
        networks = any(s.step.model for well in self.wells for s in well.todo)
        return self.settings.run.model_copy(update={} if networks else {"device": "cpu"})

    @property
    def memory_per_worker(self) -> int:
        """Bytes that one worker needs for the largest frame; an estimate."""
        images = [image for well in self.wells if not well.failure for image in well.images]
        working = (needs.working_bytes(image, self.steps, self.settings) for image in images)
        return needs.WORKER_BYTES + max(working, default=0)

    def source(self, token: int) -> Source:
        """Return where the workers of a run read."""
        settings = self.settings
        return Source(self.url, settings.calibration, self.channel, settings.plane, token)


def look_first(plate: Plate, settings: Settings) -> None:
    """Refuse what `make_plan` would, as far as the settings and one well tell: soon on any plate.

    Raises
    ------
    HcsError
        If a well or a channel is not there, a method is not known, or a network cannot be used.
    """
    wells = select_wells(plate, settings.wells)
    _channel((describe_well(plate, well) for well in wells), settings, steps_of(settings))


def make_plan(plate: Plate, settings: Settings, stop: Stop | None = None) -> Plan:
    """Return what is to be done with a plate.

    Raises
    ------
    HcsError
        If a well or a channel is not there, a method is not known, or a network cannot be used.
    StoppedError
        If somebody asked for it meanwhile.
    """
    stop = stop or Stop()
    steps = steps_of(settings)
    selected = select_wells(plate, settings.wells)
    described: Sequence[WellPlan]
    described = _at_once(lambda well: describe_well(plate, well), selected, stop)
    channel = _channel(described, settings, steps)
    readable = [well.well for well in described if not well.failure]
    checked = find_problems(plate, channel=channel or None, wells=readable)
    described = _with_problems(described, checked.problems)
    warnings = (*checked.warnings, *needs.warn_of_chunks(checked.images, steps, settings))
    plan = Plan(plate.storage.url, settings, channel, steps, (), warnings=warnings)
    wells = _at_once(lambda well: _look(plate, _want(plate, well, plan), None), described, stop)
    plan = replace(plan, wells=wells)
    if not plan.waits_for_pool:
        return plan
    return with_pool(plate, plan, current_pool(plate, plate_statistics(plate, plan, stop)), stop)


def with_batch_that_fits(plan: Plan, worker_bytes: int | None) -> Plan:
    """Return a plan whose networks compute as many frames together as a worker has room for.

    How many they are never changes a result by more than rounding.

    Parameters
    ----------
    plan : Plan
    worker_bytes : int or None
        Memory limit of a worker; None where it is not known.
    """
    while worker_bytes is not None and plan.memory_per_worker > worker_bytes:
        batch = plan.settings.isl.batch // 2
        if not batch or not any(step.model for step in plan.steps):
            break
        isl = plan.settings.isl.model_copy(update={"batch": batch})
        plan = _changed(plan, settings=plan.settings.model_copy(update={"isl": isl}))
    return plan


def placed_on_gpus(plan: Plan) -> Plan:
    """Return a plan whose networks run on workers that offer a GPU."""
    return _changed(plan, steps=on_gpus(plan.steps))


def placed_on_processors(plan: Plan) -> Plan:
    """Return a plan whose networks run on any worker, since none offers a GPU."""
    run = plan.settings.run.model_copy(update={"device": "cpu"})
    return _changed(plan, settings=plan.settings.model_copy(update={"run": run}))


def _changed(plan: Plan, **changes: Any) -> Plan:  # noqa: ANN401 - settings or steps
    """Return a plan of other settings or steps that lead to the same results."""
    wells = tuple(
        replace(well, wanted=replace(well.wanted, **changes)) if well.wanted else well
        for well in plan.wells
    )
    return replace(plan, wells=wells, **changes)


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
            hint="start fewer workers (--workers) or allow them more (--memory)"
            + ("; or lower isl.tile_px" if any(step.model for step in plan.steps) else ""),
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


def plate_statistics(plate: Plate, plan: Plan, stop: Stop) -> dict[WellPath, Marker]:
    """Return the SSL statistics of every well of the plate that has some, in its order.

    Wells that are not selected count if they have statistics already.
    """
    selected = {well.well: well for well in plan.wells}
    step = next(step for step in plan.steps if step.name == STATISTICS)
    found: dict[WellPath, Marker] = {}
    for path in stop.heeded(plate.layout.wells):
        known = selected.get(path) or _want(plate, describe_well(plate, path), plan)
        status = check_step(plate, known.wanted, step, {}) if known.wanted else None
        if status and status.state == "done" and status.marker:
            found[path] = status.marker
    return found


def with_pool(plate: Plate, plan: Plan, pool: Pool | None, stop: Stop) -> Plan:
    """Return a plan as it stands now, by the markers, with the plate's pooled model."""
    wells = _at_once(lambda well: _look(plate, well, pool), plan.wells, stop)
    return replace(plan, pool=pool, wells=wells)


def _at_once(look: Callable[[T], WellPlan], wells: Sequence[T], stop: Stop) -> tuple[WellPlan, ...]:
    """Look at wells, several at once, in their order; each is many small files."""

    def heeding(well: T) -> WellPlan:
        stop.check()
        return look(well)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="plan") as threads:
        # who listens to this thread hears what theirs say
        looks = (partial(copy_context().run, heeding, well) for well in wells)
        return tuple(threads.map(lambda look: look(), looks))


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


def _want(plate: Plate, well: WellPlan, plan: Plan) -> WellPlan:
    """Say what is wanted of a well, and what its results depend on."""
    if well.failure:
        return well
    try:
        root: dict[str, JSON] = {"input": input_fingerprint(plate, well.well)}
        if plan.channel:
            index = {image.channel_index(plan.channel) for image in well.images}
            root |= {"channel_index": sorted(index), "plane": plan.settings.plane}
        models = [step.model for step in plan.steps if step.model]
        fits = {model.card.step: _fits(model, well, plan.settings) for model in models}
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
    wanted = Wanted(well.well, plan.settings, plan.steps, root, {"fields": names}, fits)
    return replace(well, wanted=wanted)


def _fits(model: Model, well: WellPlan, settings: Settings) -> JSON:
    return {image.path.name: fit(model, image, settings.isl) for image in well.images}


def _channel(wells: Iterable[WellPlan], settings: Settings, steps: Sequence[Step]) -> str:
    """Return the label-free channel, if a step asks for one; refuse what networks cannot use."""
    image = next(chain.from_iterable(well.images for well in wells), None)
    if image is None:
        return ""
    labels = [channel.label for channel in image.channels]
    check_channels([step.model for step in steps if step.model], labels, settings.isl.channels)
    asks = any(step.kind in LABEL_FREE for step in steps)
    return choose_channel(labels, settings.channel) if asks else ""
