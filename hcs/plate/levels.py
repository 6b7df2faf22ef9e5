"""How an image that we make is laid out: its levels, chunks and shards; index arithmetic only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hcs.image.pyramid import halved_shape
from hcs.plate.metadata import AXES, Channel, FieldImage, Level

# viewers of whole plates show the coarsest level of every well
_COARSEST_PX = 256
# CONTRACT 3: a chunk is a whole plane, or a square of so many pixels
_CHUNK_PX = range(512, 1081)


@dataclass(frozen=True)
class ImageSpec:
    """What a new field image shall be.

    Parameters
    ----------
    axes : tuple of str
        A subset of t c z y x, in that order; y and x always.
    shape : tuple of int
        Along `axes`, at full resolution.
    dtype : str
        As NumPy prints it.
    channels : tuple of Channel
        As many as the ``c`` axis is long; one without it.
    pixel_size_um, interval_s, z_step_um : float or None
        None where nobody knows.
    storage : {"chunked", "sharded"}
        Sharded: one file holds all chunks of a frame; OME-Zarr 0.5 only.
    acquisition : int or None
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[Channel, ...]
    pixel_size_um: float | None = None
    interval_s: float | None = None
    z_step_um: float | None = None
    storage: Literal["chunked", "sharded"] = "chunked"
    acquisition: int | None = None


def label_levels(image: FieldImage) -> tuple[Level, ...]:
    """Return the levels of a label image that lies on a field's image.

    Their scales and translations are the image's, without ``c``; along ``z`` there is one plane.
    """
    return _levels_on(image, {axis: 1 for axis in image.axes if axis == "z"}, without="c")


def product_levels(image: FieldImage, n_channels: int) -> tuple[Level, ...]:
    """Return the levels of an image that was computed from a field's image, channels first.

    Their scales and translations are the image's; along ``z`` there is one plane.

    Examples
    --------
    >>> from hcs.plate.path import FieldPath
    >>> level = Level("0", (3, 9, 7), (1, 9, 9), None, (1, 1, 1), (0, 0, 0))
    >>> image = FieldImage(FieldPath.parse("B/03/0"), ("t", "y", "x"), "uint8", (level,), ())
    >>> product_levels(image, 2)[0].shape
    (3, 2, 9, 7)
    """
    return _levels_on(image, {"c": n_channels} | {axis: 1 for axis in image.axes if axis == "z"})


def _levels_on(
    image: FieldImage, lengths: Mapping[str, int], without: str = ""
) -> tuple[Level, ...]:
    """Return levels with the places of an image's, but other lengths along some axes."""
    axes = tuple(a for a in AXES if a in {*image.axes, *lengths} and a not in without)
    side = chunk_side(image.frame_shape)
    stored: Literal["chunked", "sharded"] = "sharded" if image.levels[0].shards else "chunked"
    nested = any("/" in level.path for level in image.levels)
    levels = []
    for number, level in enumerate(image.levels):
        shape = dict(zip(image.axes, level.shape, strict=True)) | dict(lengths)
        scale = dict(zip(image.axes, level.scale, strict=True))
        translation = dict(zip(image.axes, level.translation, strict=True))
        levels.append(
            _stored(
                str(number) if nested else level.path,
                {axis: shape[axis] for axis in axes},
                tuple(scale.get(axis, 1.0) for axis in axes),
                tuple(translation.get(axis, 0.0) for axis in axes),
                side,
                stored,
            )
        )
    return tuple(levels)


def image_levels(spec: ImageSpec) -> tuple[Level, ...]:
    """Return the levels of a new image, halved until no side is over 256 pixels."""
    lengths = dict(zip(spec.axes, spec.shape, strict=True))
    side = chunk_side((lengths["y"], lengths["x"]))
    sizes = {"t": spec.interval_s, "z": spec.z_step_um, "y": spec.pixel_size_um}
    sizes["x"] = sizes["y"]
    levels, factor = list[Level](), 1.0
    while True:
        scale = tuple(
            (sizes.get(axis) or 1.0) * (factor if axis in "yx" else 1.0) for axis in spec.axes
        )
        none = (0.0,) * len(scale)
        levels.append(_stored(str(len(levels)), lengths, scale, none, side, spec.storage))
        if max(lengths["y"], lengths["x"]) <= _COARSEST_PX:
            return tuple(levels)
        y, x = halved_shape((lengths["y"], lengths["x"]))
        lengths, factor = lengths | {"y": y, "x": x}, 2 * factor


def _stored(
    path: str,
    lengths: Mapping[str, int],
    scale: tuple[float, ...],
    translation: tuple[float, ...],
    side: int,
    storage: Literal["chunked", "sharded"],
) -> Level:
    chunks = {axis: side if axis in "yx" else 1 for axis in lengths}
    # a shard is a frame with all that belongs to it: one writer, one file
    shards = {axis: 1 if axis == "t" else -(-n // chunks[axis]) for axis, n in lengths.items()}
    return Level(
        path,
        tuple(lengths.values()),
        tuple(chunks.values()),
        tuple(n * chunks[axis] for axis, n in shards.items()) if storage == "sharded" else None,
        scale,
        translation,
    )


def chunk_side(frame_shape: tuple[int, int]) -> int:
    """Return the side of square chunks: a whole plane, or that of 512 to 1080 that pads least.

    Square and the same on every level, never clipped to a coarse level's shape: vizarr shows
    nothing else.

    Examples
    --------
    >>> chunk_side((300, 200)), chunk_side((2160, 2160)), chunk_side((1216, 1920))
    (300, 1080, 640)
    """
    if max(frame_shape) < _CHUNK_PX.start:
        return max(frame_shape)
    y, x = frame_shape
    # of those that pad alike the largest: fewer files
    return min(_CHUNK_PX, key=lambda side: (-(-y // side) * -(-x // side) * side * side, -side))
