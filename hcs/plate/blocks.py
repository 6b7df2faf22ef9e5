"""Frames that are read together, and what that takes in memory; from metadata alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hcs.plate.metadata import FieldImage

# frames of one chunk are decoded together, and kept, as long as they do not take more than this;
# 100 of 2160 x 2160 pixels, uint16, take 0.93e9
_KEPT_BYTES = 2**30
# chunks that zarr decodes at the same time (its `async.concurrency`)
_CHUNKS_AT_ONCE = 10


@dataclass(frozen=True)
class Reading:
    """What reading frames one after the other takes.

    Parameters
    ----------
    n_together : int
        Frames of one chunk that are decoded together.
    kept_bytes : int
        Of these frames, which are kept until the last of them was asked for.
    decoding_bytes : int
        Of whole chunks, while they are decoded.
    n_times : int
        How often a chunk is decoded, since what is kept of it is bounded.
    """

    n_together: int
    kept_bytes: int
    decoding_bytes: int
    n_times: int


def reading_of(image: FieldImage, n_channels: int = 1, n_planes: int = 1) -> Reading:
    """Return what it takes to read frames of so many channels and planes, of full resolution.

    Examples
    --------
    >>> from hcs.plate.metadata import Channel, FieldPath, Level
    >>> level = Level("0", (9, 8, 8), (4, 8, 8), None, (1.0,) * 3, (0.0,) * 3)
    >>> field = FieldPath.parse("B/03/0")
    >>> reading_of(FieldImage(field, ("t", "y", "x"), "uint16", (level,), (Channel("BF"),)))
    Reading(n_together=4, kept_bytes=512, decoding_bytes=512, n_times=1)
    """
    item = np.dtype(image.dtype).itemsize
    chunk = dict(zip(image.axes, image.levels[0].chunks, strict=True))
    frame_bytes = n_channels * n_planes * math.prod(image.frame_shape) * item
    in_chunk = min(chunk.get("t", 1), image.n_frames)
    together = min(in_chunk, max(_KEPT_BYTES // frame_bytes, 1))
    asked = {"c": n_channels, "z": n_planes, "y": image.length("y"), "x": image.length("x")}
    n_chunks = math.prod(-(-n // chunk.get(axis, 1)) for axis, n in asked.items())
    decoding = min(n_chunks, _CHUNKS_AT_ONCE) * math.prod(chunk.values()) * item
    return Reading(together, together * frame_bytes, decoding, -(-in_chunk // together))
