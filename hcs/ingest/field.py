"""One field of an import: its files' planes become its frames, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby, islice
from multiprocessing import connection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hcs.errors import CorruptError
from hcs.ingest.ome_tiff import open_pages, read_page
from hcs.ingest.plan import FieldPlan, ImportPlan
from hcs.ingest.source import SourceImage
from hcs.plate.create import create_field_image
from hcs.plate.levels import ImageSpec
from hcs.plate.metadata import Channel
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.write import write_frames

# display window: these percentiles of a few frames, so that one hot pixel does not blacken all
_WINDOW_PERCENTILES = (0.1, 99.9)
_COLORS = ("FFFFFF", "00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")


@dataclass(frozen=True)
class FieldJob:
    """What a worker needs to write one field."""

    url: str
    field: FieldPlan
    spec: ImageSpec


def write_fields(
    jobs: list[FieldJob], processes: int
) -> Iterator[tuple[FieldPath, dict[str, str]]]:
    """Write the frames of many fields at once; yield the manifest of each when it is written."""
    if min(processes, len(jobs)) <= 1:
        yield from ((job.field.path, write_field(job)) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(jobs))
    with ProcessPoolExecutor(workers, context, initializer=_die_with_parent) as pool:
        futures = {pool.submit(write_field, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future].field.path, future.result()
        finally:
            # after an error nothing more is begun
            pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when the import is killed, so that it cannot write into the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_die, args=(parent.sentinel,), daemon=True).start()


def _wait_and_die(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def write_field(job: FieldJob) -> dict[str, str]:
    """Write one field anew, all levels, and return the digests of what was written."""
    plate = open_plate(job.url)
    plate.storage.delete(str(job.field.path))
    create_field_image(plate, job.field.path, job.spec)
    level = plate.field_image(job.field.path).levels[0]
    unit = (level.shards or level.chunks)[0]
    n_frames, n_channels = job.spec.shape[:2]
    shape = job.spec.shape[-2:]
    per_frame = len(job.field.images) // n_frames
    planes = read_planes(job.field.images, shape, job.spec.dtype)
    manifest = dict[str, str]()
    for first in range(0, n_frames, unit):
        n = min(unit, n_frames - first)
        stack = np.stack(list(islice(planes, n * per_frame)))
        frames = stack.reshape(n, n_channels, per_frame // n_channels, *shape)
        manifest |= write_frames(plate, job.field.path, first, frames)
    return manifest


def read_planes(
    images: Iterable[SourceImage], shape: tuple[int, ...], dtype: str
) -> Iterator[NDArray[Any]]:
    """Yield planes one by one, opening each file once where its planes follow each other.

    Raises
    ------
    CorruptError
        If a plane cannot be read, or is not what the plan saw.
    """
    for path, own in groupby(images, key=lambda image: image.path):
        with open_pages(path) as pages:
            for image in own:
                plane = read_page(path, pages, image.page)
                if plane.shape != shape or str(plane.dtype) != dtype:
                    raise CorruptError(
                        f"{image.name}: it is {plane.shape} {plane.dtype} now, "
                        f"it was {shape} {dtype} when the import began"
                    )
                yield plane


def image_spec(
    field: FieldPlan,
    plan: ImportPlan,
    channels: tuple[Channel, ...],
    storage: Literal["chunked", "sharded"],
) -> ImageSpec:
    """Return the image group of one field."""
    deep = plan.n_planes > 1
    lengths = (len(field.times), len(channels), *[plan.n_planes] * deep, *field.frame_shape)
    return ImageSpec(
        axes=("t", "c", *["z"] * deep, "y", "x"),
        shape=lengths,
        dtype=field.dtype,
        channels=channels,
        pixel_size_um=plan.calibration.pixel_size_um,
        interval_s=plan.calibration.interval_s,
        z_step_um=plan.calibration.z_step_um,
        storage=storage,
    )


def display_channels(plan: ImportPlan) -> tuple[Channel, ...]:
    """Return the plate's channels, with windows from the first field's first and last frame."""
    first = plan.fields[0]
    images = first.images
    n = len(plan.channels) * plan.n_planes
    planes = list(read_planes([*images[:n], *images[-n:]], first.frame_shape, first.dtype))
    channels = []
    for index, label in enumerate(plan.channels):
        own = np.stack(planes).reshape(2, len(plan.channels), -1)[:, index]
        start, end = (round(float(v), 6) for v in np.percentile(own, _WINDOW_PERCENTILES))
        low, high = _limits(own)
        color = _COLORS[index % len(_COLORS)]
        channels.append(Channel(label, color, (low, high, start, max(end, start + 1e-6))))
    return tuple(channels)


def _limits(pixels: NDArray[Any]) -> tuple[float, float]:
    if pixels.dtype.kind in "ui":
        limits = np.iinfo(pixels.dtype)
        return float(limits.min), float(limits.max)
    return float(pixels.min()), float(pixels.max())
