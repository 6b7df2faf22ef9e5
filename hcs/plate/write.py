"""Write pixels: whole frames, all levels at once, each file by exactly one writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.errors import WriteError
from hcs.image.pyramid import halve, shrink, shrink_labels
from hcs.plate.array import open_array, write_aligned
from hcs.plate.create import (
    create_empty_label_image,
    create_field_image,
    create_label_image,
    create_plate,
    create_wells,
)
from hcs.plate.levels import ImageSpec
from hcs.plate.metadata import AXES, FieldImage
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.record import RecordingStore

__all__ = [
    "ImageSpec",
    "create_field_image",
    "create_label_image",
    "create_plate",
    "create_wells",
    "write_empty_label_image",
    "write_frames",
    "write_label_frames",
    "write_product_frames",
]


def write_frames(
    plate: Plate, field: FieldPath, first_frame: int, frames: NDArray[Any]
) -> dict[str, str]:
    """Write frames of a field at full resolution and at every coarser level.

    Parameters
    ----------
    plate : Plate
    field : FieldPath
    first_frame : int
    frames : ndarray, shape (t, c, z, y, x)
        In the image's type; length 1 along the axes that it lacks.

    Returns
    -------
    dict of str to str
        Digest of each file written, by key: for the manifest.

    Raises
    ------
    WriteError
        The frames do not fit the image, or cut a chunk or shard along time.
    """
    image = plate.field_image(field)
    _check_frames(f"field {field}", frames, image, image.dtype, AXES)
    return _write(plate, str(field), image, first_frame, frames, lambda fine, _: halve(fine))


def write_product_frames(
    sister: Plate, field: FieldPath, first_frame: int, frames: NDArray[np.float32]
) -> dict[str, str]:
    """Write frames of an image product (`hcs.plate.sister`), as `write_frames` does.

    Its levels are those of the input, whoever made them: also such that are no halves.
    """
    image = sister.field_image(field)
    _check_frames(f"field {field}", frames, image, image.dtype, AXES)
    return _write(sister, str(field), image, first_frame, frames, shrink)


def write_label_frames(
    plate: Plate, field: FieldPath, name: str, first_frame: int, labels: NDArray[np.uint32]
) -> dict[str, str]:
    """Write frames of a label image at full resolution and at every coarser level.

    Parameters
    ----------
    plate : Plate
    field : FieldPath
    name : str
    first_frame : int
    labels : ndarray of uint32, shape (t, y, x)

    Returns
    -------
    dict of str to str
        Digest of each file written, by key: for the manifest.

    Raises
    ------
    WriteError
        The frames do not fit the label image.
    """
    image = plate.label_image(field, name)
    _check_frames(f"label image {label_key(field, name)}", labels, image, "uint32", ("t", "y", "x"))
    frames = labels[:, None, None]
    return _write(plate, label_key(field, name), image, first_frame, frames, shrink_labels)


def write_empty_label_image(
    plate: Plate, field: FieldPath, name: str, state: str
) -> dict[str, str]:
    """Make a label image for a field that has none, so that every field has the same.

    It holds no chunk: all of it reads as background. A later `create_label_image` replaces it.

    Parameters
    ----------
    plate : Plate
    field : FieldPath
    name : str
    state : str
        Why it is empty, ``"failed"``; stands in its attributes.

    Returns
    -------
    dict of str to str
        Digest of each file written, by key: for the manifest.
    """
    return create_empty_label_image(plate, field, name, state)


def _check_frames(
    subject: str,
    frames: NDArray[Any],
    image: FieldImage,
    dtype: str,
    axes: tuple[str, ...],
) -> None:
    if frames.dtype != np.dtype(dtype):
        raise WriteError(f"{subject} holds {dtype}, the frames are {frames.dtype}")
    wanted = tuple(image.length(axis) for axis in axes[1:])
    if frames.ndim != len(axes) or frames.shape[1:] != wanted:
        raise WriteError(
            f"{subject} takes frames of shape {('t', *wanted)} along {' '.join(axes)}, "
            f"not {frames.shape}"
        )


def _write(
    plate: Plate,
    key: str,
    image: FieldImage,
    first_frame: int,
    frames: NDArray[Any],
    coarser: Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]],
) -> dict[str, str]:
    """Write frames of shape (t, c, z, y, x) to every level, finest first."""
    store = RecordingStore(plate.storage.zarr_store(read_only=False))
    start = tuple(first_frame if axis == "t" else 0 for axis in image.axes)
    missing = tuple(i for i, axis in enumerate(AXES) if axis not in image.axes)
    if 0 in missing and (first_frame, len(frames)) != (0, 1):
        raise WriteError(f"{key} has no time axis: it takes one frame, not {len(frames)}")
    for number, level in enumerate(image.levels):
        y, x = (level.shape[image.axes.index(axis)] for axis in "yx")
        if number:
            frames = coarser(frames, (y, x))
        if frames.shape[-2:] != (y, x):
            raise WriteError(
                f"level {level.path} of {key} is {y} x {x} pixels, not half of the level before"
            )
        array = open_array(plate.storage, store, plate.layout.version, f"{key}/{level.path}")
        write_aligned(array, start, np.squeeze(frames, axis=missing))
    return dict(sorted(store.manifest.items()))
