"""Stream frames and label images: one at a time, never a whole well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hcs.errors import MissingError, PlateError
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.pixels import Pixels

Plane = int | Literal["max", "mean"]


def read_frames(
    plate: Plate, field: FieldPath, channel: str, frames: range, plane: Plane = 0
) -> Iterator[NDArray[Any]]:
    """Return an iterator over frames of one channel, each read when it is asked for.

    Parameters
    ----------
    plate : Plate
    field : FieldPath
    channel : str
    frames : range
        Which frames, counted from 0.
    plane : int or {"max", "mean"}
        One plane along z, or their projection; the mean of integers is rounded.

    Yields
    ------
    ndarray, shape (y, x)
        In the image's type.

    Raises
    ------
    MissingError
        There is no such channel, frame or plane.
    CorruptError
        A chunk is damaged, or missing where we wrote one; names field, channel and frame.
    """
    image = plate.field_image(field)
    index = image.channel_index(channel)
    _check_frames(f"field {field}", image, frames)
    planes = _planes(image, plane)
    pixels = Pixels(plate, str(field), image)
    what = f"field {field}, channel {channel!r}"

    def stream() -> Iterator[NDArray[Any]]:
        for stack in pixels.each(frames, slice(index, index + 1), planes, what):
            yield _project(stack[0], plane)

    return stream()


def read_channels(
    plate: Plate, field: FieldPath, frames: range, plane: Plane = 0
) -> Iterator[dict[str, NDArray[Any]]]:
    """Return an iterator over frames of every channel, (y, x) by name; see `read_frames`."""
    image = plate.field_image(field)
    _check_frames(f"field {field}", image, frames)
    planes = _planes(image, plane)
    pixels = Pixels(plate, str(field), image)
    names = [channel.label for channel in image.channels]

    def stream() -> Iterator[dict[str, NDArray[Any]]]:
        for stack in pixels.each(frames, slice(None), planes, f"field {field}, every channel"):
            yield {name: _project(stack[i], plane) for i, name in enumerate(names)}

    return stream()


def read_frame_channels(
    plate: Plate, field: FieldPath, frame: int, plane: Plane = 0
) -> dict[str, NDArray[Any]]:
    """Return one frame of every channel, (y, x) by name; see `read_frames`."""
    return next(read_channels(plate, field, range(frame, frame + 1), plane))


def read_label_image(
    plate: Plate, field: FieldPath, name: str, frames: range
) -> Iterator[NDArray[np.uint32]]:
    """Return an iterator over frames of a label image, each read when it is asked for.

    Yields
    ------
    ndarray of uint32, shape (y, x)

    Raises
    ------
    MissingError
        There is no such label image or frame.
    CorruptError
        A chunk is damaged, or missing where we wrote one; names field, label image and frame.
    PlateError
        It has several planes, or values that are no labels.
    """
    image = plate.label_image(field, name)
    what = f"label image {name!r} of field {field}"
    _check_frames(what, image, frames)
    if image.length("z") > 1:
        raise PlateError(
            f"{what} has {image.length('z')} planes; only label images of one are read"
        )
    if np.dtype(image.dtype).kind not in "ui":
        raise PlateError(f"{what} is {image.dtype}: labels are whole numbers")
    pixels = Pixels(plate, label_key(field, name), image)

    def stream() -> Iterator[NDArray[np.uint32]]:
        for stack in pixels.each(frames, slice(0, 1), slice(0, 1), what):
            yield _as_labels(stack[0, 0], what)

    return stream()


def _as_labels(labels: NDArray[Any], what: str) -> NDArray[np.uint32]:
    if labels.dtype == np.uint32:
        return labels
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise PlateError(f"{what} has values from {low} to {high}: they do not fit uint32")
    return labels.astype(np.uint32)


def _check_frames(what: str, image: FieldImage, frames: range) -> None:
    outside = [frame for frame in frames if not 0 <= frame < image.n_frames]
    if outside:
        raise MissingError(
            f"{what} has no frame {outside[0]}", hint=f"it has {image.n_frames}, counted from 0"
        )


def _planes(image: FieldImage, plane: Plane) -> slice:
    if not isinstance(plane, int):
        return slice(None)
    if not 0 <= plane < image.length("z"):
        raise MissingError(
            f"field {image.path} has no plane {plane}",
            hint=f"it has {image.length('z')}, counted from 0",
        )
    return slice(plane, plane + 1)


def _project(stack: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """Return one (y, x) of planes (z, y, x)."""
    if plane == "max":
        return np.asarray(stack.max(axis=0))
    if plane == "mean":
        mean = np.asarray(stack.mean(axis=0))
        return (mean if stack.dtype.kind == "f" else np.rint(mean)).astype(stack.dtype, copy=False)
    return np.asarray(stack[0])
