"""Read a multiscale image's metadata, of a field or of a label image, into our model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from typing import Any

import numpy as np
from pydantic import Field

from hcs.errors import PlateError
from hcs.plate.group import ome_part
from hcs.plate.metadata import AXES, Channel, FieldImage, Level, Version
from hcs.plate.ngff import Liberal, check_version
from hcs.plate.omero import parse_channels
from hcs.plate.path import FieldPath
from hcs.plate.problems import Problems
from hcs.plate.storage import check_key
from hcs.plate.units import full_name, pixel_size, step_size

# what no microscope makes: more levels, channels, planes, frames, or pixels in a frame
_MOST_LEVELS = 100
_MOST: Mapping[str, int] = {"t": 1_000_000, "c": 1000, "z": 100_000, "y": 200_000, "x": 200_000}
_MOST_PIXELS = 2**31
_MOST_CHUNKS = 10_000_000
# a chunk is decoded whole; one that is larger than this may be so many times what it covers of its
# array: tiles pad the last row, and movies end before their time
_LARGE_PIXELS = 2**26
_MOST_BEYOND = 64
# a whole field may be one shard, of which parts are read; its index is read with each of them
_MOST_SHARD_PIXELS = 2**34
_MOST_SHARD_CHUNKS = 2**20


class _Axis(Liberal):
    name: str
    unit: str | None = None


class _Transformation(Liberal):
    type: str
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


class _Dataset(Liberal):
    path: str
    coordinateTransformations: tuple[_Transformation, ...] = ()


class _Multiscale(Liberal):
    axes: tuple[_Axis, ...] = Field(min_length=2, max_length=len(AXES))
    datasets: tuple[_Dataset, ...] = Field(min_length=1, max_length=_MOST_LEVELS)
    coordinateTransformations: tuple[_Transformation, ...] = ()


class _Image(Liberal):
    multiscales: tuple[_Multiscale, ...] = Field(min_length=1)


@dataclass(frozen=True)
class StoredArray:
    """What an array's own metadata say.

    Parameters
    ----------
    shape, chunks : tuple of int
    shards : tuple of int or None
    dtype : str
        In native byte order, as NumPy prints it.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dtype: str


def level_paths(version: Version, attributes: Mapping[str, Any], subject: str) -> tuple[str, ...]:
    """Return the paths of the levels that an image group lists, finest first.

    Raises
    ------
    PlateError
        The metadata cannot be read, or a path leaves the image.
    """
    found = Problems()
    multiscale = _parse(version, attributes, subject, found)
    paths = tuple(dataset.path for dataset in multiscale.datasets)
    for path in paths:
        try:
            check_key(path)
        except PlateError as error:
            found.problem(error.message)
    found.check(subject)
    return paths


def axis_units(version: Version, attributes: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the unit of each axis under its full name; None where it has none that we know.

    `attributes` are those of an image that `parse_image` could read.
    """
    axes = ome_part(version, attributes)["multiscales"][0]["axes"]
    return {axis["name"]: full_name(axis["name"], axis.get("unit")) for axis in axes}


def parse_image(
    path: FieldPath,
    version: Version,
    attributes: Mapping[str, Any],
    arrays: Sequence[StoredArray],
    subject: str,
) -> tuple[FieldImage, tuple[str, ...]]:
    """Return the image that a group's attributes and its arrays describe, and warnings.

    Parameters
    ----------
    path : FieldPath
    version : {"0.4", "0.5"}
    attributes : mapping
        Of the image group.
    arrays : sequence of StoredArray
        As many as `level_paths` lists.
    subject : str
        How messages name the image.

    Raises
    ------
    PlateError
        With every problem there is.
    """
    found = Problems()
    part = ome_part(version, attributes)
    multiscale = _parse(version, attributes, subject, found)
    if len(part["multiscales"]) > 1:
        found.warn(f"{subject} holds several multiscale images; the first is read")
    check_version(version, part["multiscales"][0], part, subject, found)
    axes = tuple(axis.name for axis in multiscale.axes)
    _check_axes(axes, found)
    _check_arrays(axes, arrays, found)
    found.check(subject)
    levels = _levels(multiscale, arrays, subject, found)
    found.check(subject)
    omero = part.get("omero")
    # without a channel axis nobody expects a name
    named = "c" in axes or omero is not None
    n_channels = levels[0].shape[axes.index("c")] if "c" in axes else 1
    steps = {
        axis.name: step_size(axis.name, axis.unit, step, subject, found)
        for axis, step in zip(multiscale.axes, levels[0].scale, strict=True)
        if axis.name != "c"
    }
    image = FieldImage(
        path,
        axes,
        arrays[0].dtype,
        levels,
        parse_channels(omero, n_channels, subject, found) if named else (Channel("channel_0"),),
        pixel_size_um=pixel_size(steps["y"], steps["x"], subject, found),
        interval_s=steps.get("t"),
        z_step_um=steps.get("z"),
    )
    return image, tuple(found.warnings)


def _parse(
    version: Version, attributes: Mapping[str, Any], subject: str, found: Problems
) -> _Multiscale:
    part = ome_part(version, attributes)
    if "multiscales" not in part:
        raise PlateError(f"{subject}: its metadata have no 'multiscales': it is no image")
    return found.parse(_Image, part, "metadata", subject).multiscales[0]


def _check_axes(axes: tuple[str, ...], found: Problems) -> None:
    unknown = [axis for axis in axes if axis not in AXES]
    for axis in unknown:
        found.problem(f"axis {axis!r} is unknown: axes are among t c z y x")
    for axis, count in Counter(axes).items():
        if count > 1:
            found.problem(f"axis {axis!r} is listed {count} times")
    missing = [axis for axis in ("y", "x") if axis not in axes]
    for axis in missing:
        found.problem(f"there is no axis {axis!r}")
    if not found.problems and axes != tuple(axis for axis in AXES if axis in axes):
        found.problem(f"axes are in the order {' '.join(axes)}: it must be that of t c z y x")


def _check_arrays(axes: tuple[str, ...], arrays: Sequence[StoredArray], found: Problems) -> None:
    for number, array in enumerate(arrays):
        if len(array.shape) != len(axes):
            found.problem(
                f"level {number} has {len(array.shape)} dimensions, the axes are {len(axes)}"
            )
        elif 0 in (*array.shape, *array.chunks):
            found.problem(
                f"level {number} is empty: its shape is {array.shape}, its chunks {array.chunks}"
            )
        else:
            _check_size(number, dict(zip(axes, array.shape, strict=True)), array.chunks, found)
            _check_shards(number, array, found)
            _check_cover(number, array, found)
        if array.dtype != arrays[0].dtype:
            found.problem(f"level {number} is {array.dtype}, level 0 is {arrays[0].dtype}")
    if np.dtype(arrays[0].dtype).kind not in "uifb":
        found.problem(f"pixels of type {arrays[0].dtype} are not numbers")


def _check_size(
    number: int, lengths: Mapping[str, int], chunks: tuple[int, ...], found: Problems
) -> None:
    """Refuse an array, or a chunk of one, that takes more than anybody's memory."""
    for axis, length in lengths.items():
        if length > _MOST.get(axis, _MOST_PIXELS):
            found.problem(f"level {number} has a length of {length} along {axis}: that is too much")
    frame = lengths.get("y", 1) * lengths.get("x", 1)
    for what, pixels in (("a frame", frame), ("a chunk", prod(chunks))):
        if pixels > _MOST_PIXELS:
            found.problem(f"level {number} has {pixels} pixels in {what}: up to 2**31 are read")
    n_chunks = prod(-(-n // max(m, 1)) for n, m in zip(lengths.values(), chunks, strict=False))
    if n_chunks > _MOST_CHUNKS:
        found.problem(f"level {number} has {n_chunks} chunks: up to {_MOST_CHUNKS} are read")


def _check_shards(number: int, array: StoredArray, found: Problems) -> None:
    if array.shards is None:
        return
    pixels, chunk = prod(array.shards), prod(array.chunks)
    if pixels > _MOST_SHARD_PIXELS:
        found.problem(f"level {number} has {pixels} pixels in a shard: up to 2**34 are read")
    if pixels > _MOST_SHARD_CHUNKS * chunk:
        found.problem(
            f"level {number} has {pixels // chunk} chunks in a shard: up to 2**20 are read"
        )


def _check_cover(number: int, array: StoredArray, found: Problems) -> None:
    """Refuse chunks and shards that lie nearly all beyond their array: a few bytes fill them."""
    for what, sides in (("chunk", array.chunks), ("shard", array.shards or array.chunks)):
        pixels = prod(sides)
        covered = prod(map(min, sides, array.shape))
        if pixels > max(_LARGE_PIXELS, _MOST_BEYOND * covered):
            found.problem(
                f"level {number} has {pixels} pixels in a {what}, which covers {covered}: up to "
                f"{_MOST_BEYOND} times as many are read"
            )
            return


def _levels(
    multiscale: _Multiscale, arrays: Sequence[StoredArray], subject: str, found: Problems
) -> tuple[Level, ...]:
    n = len(multiscale.axes)
    outer = _transformation(multiscale.coordinateTransformations, n, found)
    levels, first_scale = list[Level](), tuple[float, ...]()
    for dataset, array in zip(multiscale.datasets, arrays, strict=True):
        if not dataset.coordinateTransformations:
            found.warn(f"{subject} gives no scale for level {dataset.path!r}")
            ratio = np.divide(arrays[0].shape, array.shape)
            finest = first_scale or (1.0,) * n
            scale = tuple(float(a * b) for a, b in zip(finest, ratio, strict=True))
            translation = (0.0,) * n
        else:
            scale, translation = _transformation(dataset.coordinateTransformations, n, found)
        first_scale = first_scale or scale
        scale = tuple(a * b for a, b in zip(scale, outer[0], strict=False))
        moved = tuple(a * s + b for a, s, b in zip(translation, outer[0], outer[1], strict=False))
        finite = all(0 < a < inf for a in scale) and all(map(isfinite, moved))
        if not found.problems and not finite:
            found.problem(f"level {dataset.path!r} has no finite size or place")
        levels.append(Level(dataset.path, array.shape, array.chunks, array.shards, scale, moved))
    return tuple(levels)


def _transformation(
    parts: tuple[_Transformation, ...], n: int, found: Problems
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale, translation = (1.0,) * n, (0.0,) * n
    for part in parts:
        values = {"scale": part.scale, "translation": part.translation}.get(part.type)
        if part.type == "identity":
            continue
        if values is None:
            found.problem(f"transformation of type {part.type!r} without values is not supported")
        elif len(values) != n:
            found.problem(f"{part.type} has {len(values)} values, the axes are {n}")
        elif part.type == "scale":
            scale = values
            if not all(0 < value < inf for value in values):
                found.problem(f"scale {list(values)} is not positive")
        else:
            translation = values
    return scale, translation
