"""What steps read, write and hold in memory; estimates, from metadata alone.

Bytes are those of decoded pixels; on disk they are fewer. Memory is what a worker needs to be
there at all, so many bytes for each pixel of a frame, and chunks that hold more than a frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from hcs.isl.segment import pixel_scale
from hcs.isl.settings import IslSettings
from hcs.plate.blocks import reading_of
from hcs.plate.levels import label_levels, product_levels
from hcs.plate.metadata import FieldImage, Level
from hcs.run.ahead import READERS
from hcs.run.models import Model
from hcs.run.steps import Kind, Step
from hcs.settings import Settings

# measured, peak of a worker on simulated wells (tests/faults/test_memory.py): 0.55 GB at 256^2,
# 0.57 at 512^2, 0.67 at 1080^2, 0.98 at 2160^2; here is a little more
WORKER_BYTES = 550_000_000
# float32 temporaries of a pair of frames: flow, features, log-odds, boundary refinement
_BYTES_PER_PIXEL = 100
# measured: torch and densenet121 take 0.8 GB more in a worker, a small network 0.65; docs/scale.md
# has the peaks of both processors that the bytes per pixel of a batch are of, one thread
_NETWORK_BYTES = 800_000_000
_FP32_BYTES_PER_PIXEL = 600
_BF16_BYTES_PER_PIXEL = 400
_BF16_FLAGS = {"avx512_bf16", "amx_tile"}
# numbers that wait to be computed and to be written, per pixel and plane
_WAITING_BYTES = 12
# label images are mostly runs of one value; predictions hardly shrink, and have coarser levels
_LABEL_COMPRESSION = 20
_STAIN_LEVELS = 4 / 3
# times that a step reads each frame of the label-free channel
_PASSES: Mapping[Kind, int] = {"statistics": 2, "ssl": 1, "segmenter": 1}


def bytes_read(step: Step, image: FieldImage) -> int:
    """Return the decoded bytes that a step reads of a field."""
    pixels, item = _pixels(image), np.dtype(image.dtype).itemsize
    if step.kind == "measure":
        # every channel, a float32 per stain, and the label image
        return pixels * (len(image.channels) * item + 4 * len(step.stains) + 4)
    if step.model:
        inputs = [one.plane for one in step.model.card.inputs]
        planes = sum(1 if isinstance(plane, int) else image.length("z") for plane in inputs)
        return planes * pixels * item
    return _PASSES[step.kind] * pixels * item


def bytes_written(step: Step, image: FieldImage, isl: IslSettings) -> int:
    """Return the bytes that a step writes for a field, label images compressed."""
    if step.kind in ("ssl", "segmenter", "objects"):
        return 4 * _pixels(image) // _LABEL_COMPRESSION
    if step.kind == "stain" and step.model:
        planes = step.model.card.n_outputs * (2 if isl.uncertainty == "flips" else 1)
        return int(planes * 4 * _pixels(image) * _STAIN_LEVELS)
    return 0


def files_written(step: Step, image: FieldImage) -> int:
    """Return the files of pixels that a step writes for a field; metadata and tables come on top.

    A file is a chunk, or a shard where there are some.
    """
    levels: Sequence[Level] = ()
    if step.kind in ("ssl", "segmenter", "objects"):
        levels = label_levels(image)
    elif step.kind == "stain" and step.model:
        levels = product_levels(image, step.model.card.n_outputs)
    return sum(_units(level) for level in levels)


def working_bytes(image: FieldImage, steps: Sequence[Step], settings: Settings) -> int:
    """Return what the steps of a field hold in memory, beside what a worker does anyway."""
    frame = image.frame_shape[0] * image.frame_shape[1]
    plugin = any(step.kind == "segmenter" for step in steps)
    # a segmenter gets all frames of a field at once, and returns as many label images
    item = np.dtype(image.dtype).itemsize
    field = frame * image.n_frames * (item + 4 + 8) if plugin else 0
    networks = [_network_bytes(step.model, image, settings) for step in steps if step.model]
    n_channels, n_planes = _asked(image, steps, settings)
    reading = reading_of(image, n_channels, n_planes)
    # beyond the frame that is worked on
    kept = max(reading.kept_bytes - n_channels * _plane_bytes(image), 0)
    most = max(frame * _BYTES_PER_PIXEL + field, reading.decoding_bytes)
    return max(kept + most, *networks, 0)


def warn_of_chunks(
    images: Sequence[FieldImage], steps: Sequence[Step], settings: Settings
) -> list[str]:
    """Return a warning if frames of one chunk are too many to be kept while they are used."""
    readings = (reading_of(image, *_asked(image, steps, settings)) for image in images)
    times = max((reading.n_times for reading in readings), default=1)
    if times == 1:
        return []
    return [
        f"a chunk holds so many frames that it is decoded up to {times} times in each pass: up to "
        "1 GiB of frames are kept, of all channels that are measured; chunks of fewer frames are "
        "faster"
    ]


def _asked(image: FieldImage, steps: Sequence[Step], settings: Settings) -> tuple[int, int]:
    """Return the most channels and planes that are read of a frame."""
    measures = any(step.kind == "measure" for step in steps)
    planes = 1 if isinstance(settings.plane, int) else image.length("z")
    return len(image.channels) if measures else 1, planes


def _network_bytes(model: Model, image: FieldImage, settings: Settings) -> int:
    isl, scale = settings.isl, pixel_scale(model.card, image.pixel_size_um, settings.isl)
    height, width = (side * scale for side in image.frame_shape)
    tile = min(height, isl.tile_px) * min(width, isl.tile_px)
    # a GPU has memory of its own
    computing = isl.batch * tile * _bytes_per_pixel(isl) if settings.run.device == "cpu" else 0
    planes = len(model.card.inputs) + model.card.n_outputs
    # frames wait on their own pixels, and on those of the network
    largest = max(height * width, math.prod(image.frame_shape))
    waiting = isl.batch * largest * planes * _WAITING_BYTES
    return int(_NETWORK_BYTES + computing + waiting) + _decoding_beside(model, image)


def _decoding_beside(model: Model, image: FieldImage) -> int:
    """Return what chunks take that hold more than a plane, decoded while a network computes."""
    inputs = [one.plane for one in model.card.inputs]
    counts = [1 if isinstance(plane, int) else image.length("z") for plane in inputs]
    reading = reading_of(image, n_planes=max(counts))
    beyond = max(reading.decoding_bytes - _plane_bytes(image), 0)
    if reading.n_together == 1:
        return READERS * beyond
    # one reader goes through the chunk of each input
    return beyond + sum(reading_of(image, n_planes=count).kept_bytes for count in counts)


def _plane_bytes(image: FieldImage) -> int:
    return math.prod(image.frame_shape) * np.dtype(image.dtype).itemsize


def _bytes_per_pixel(isl: IslSettings) -> int:
    """Return what a network holds per pixel; workers are taken to have this machine's processor."""
    in_bf16 = isl.precision == "bf16" or (isl.precision == "auto" and processor_has_bf16())
    return _BF16_BYTES_PER_PIXEL if in_bf16 else _FP32_BYTES_PER_PIXEL


@cache
def processor_has_bf16() -> bool:
    """Return what `hcs.isl.device.has_bf16` says of this processor, without torch; False off Linux.

    A plan is made where torch may be missing, and does not wait until it is loaded.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return any(_BF16_FLAGS.intersection(line.split()) for line in lines)


def _units(level: Level) -> int:
    sides = zip(level.shape, level.shards or level.chunks, strict=True)
    return math.prod(-(-length // unit) for length, unit in sides)


def _pixels(image: FieldImage) -> int:
    """Pixels of one channel in all frames."""
    return image.n_frames * image.frame_shape[0] * image.frame_shape[1]
