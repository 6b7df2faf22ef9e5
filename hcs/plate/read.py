"""Stream frames and label images: one at a time, never a whole well."""

from __future__ import annotations

import gzip
import logging
import lzma
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.storage import WrapperStore

from hcs.errors import CorruptError, MissingError, PlateError
from hcs.plate.array import open_array
from hcs.plate.create import OWN
from hcs.plate.metadata import AXES, FieldImage
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.storage import read_errors

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

logger = logging.getLogger(__name__)

Plane = int | Literal["max", "mean"]
# frames of one chunk are decoded together, as long as they do not take more than this
_READ_AHEAD_BYTES = 64 * 2**20
# what the codecs of zarr and numcodecs raise on bytes that they did not write
_DECODE_ERRORS = (
    RuntimeError, ValueError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


class NotingStore(WrapperStore[Store]):
    """Pass reads on to another store, and keep the keys that it did not have.

    Zarr reads a missing chunk as fill values without a word.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.missing = list[str]()

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a file, and note if there is none."""
        content = await super().get(key, prototype, byte_range)
        if content is None:
            self.missing.append(key)
        return content


class _Pixels:
    """The full resolution of an image, opened to be read part by part.

    Parameters
    ----------
    plate : Plate
    key : str
        Of the image group.
    image : FieldImage
    """

    def __init__(self, plate: Plate, key: str, image: FieldImage) -> None:
        attributes = plate.attributes(key)
        own = attributes.get(OWN)
        # in what we made every chunk is written, unless it is said to be empty
        self._chunks = own.get("chunks") if isinstance(own, dict) else None
        self._store = NotingStore(plate.storage.zarr_store(read_only=True))
        self._image = image
        path = f"{key}/{image.levels[0].path}"
        self.array: zarr.Array[Any] = open_array(self._store, plate.layout.version, path)

    def read(self, frames: range, channels: slice, planes: slice, what: str) -> NDArray[Any]:
        """Return pixels of shape (t, c, z, y, x) in native byte order."""
        self._store.missing.clear()
        time = slice(frames[0], frames[-1] + 1, max(frames.step, 1))
        wanted = {"t": time, "c": channels, "z": planes}
        axes = self._image.axes
        selection = tuple(wanted.get(axis, slice(None)) for axis in axes)
        name = f"{what}, {_frames_name(frames)}"
        try:
            with read_errors(self.array.path):
                pixels = np.asarray(self.array[selection])
        except _DECODE_ERRORS as error:
            raise CorruptError(
                f"{name}: a chunk of {self.array.path} is damaged ({error})",
                hint="copy it anew from where the plate came from",
            ) from error
        self._judge_missing(name)
        absent = tuple(i for i, axis in enumerate(AXES) if axis not in axes)
        return np.expand_dims(pixels, absent).astype(self._image.dtype, copy=False)

    def _judge_missing(self, name: str) -> None:
        if not self._store.missing or self._chunks == "none":
            return
        first = self._store.missing[0]
        if self._chunks == "all":
            raise CorruptError(
                f"{name}: {first} is missing", hint="it was lost, or its writing did not finish"
            )
        # other writers leave out chunks that hold the fill value only: legal, so only a warning
        logger.warning(
            "%s: %s is missing and reads as empty; whether it was lost cannot be told", name, first
        )

    def blocks(self, frames: range, planes: slice) -> Iterator[range]:
        """Cut frames into runs that lie in one chunk and fit the memory to read ahead."""
        along_t = self.array.chunks[self._image.axes.index("t")] if "t" in self._image.axes else 1
        n_planes = len(range(*planes.indices(self._image.length("z"))))
        frame_bytes = n_planes * int(np.prod(self._image.frame_shape)) * self.array.dtype.itemsize
        most = max(_READ_AHEAD_BYTES // frame_bytes, 1) if frames.step > 0 else 1
        for _, run in groupby(range(len(frames)), key=lambda i: frames[i] // along_t):
            indices = list(run)
            for first in indices[::most]:
                yield frames[first : min(first + most, indices[-1] + 1)]


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
    pixels = _Pixels(plate, str(field), image)
    what = f"field {field}, channel {channel!r}"

    def stream() -> Iterator[NDArray[Any]]:
        for block in pixels.blocks(frames, planes):
            for stack in pixels.read(block, slice(index, index + 1), planes, what):
                yield _project(stack[0], plane)

    return stream()


def read_frame_channels(
    plate: Plate, field: FieldPath, frame: int, plane: Plane = 0
) -> dict[str, NDArray[Any]]:
    """Return one frame of every channel, (y, x) by name; see `read_frames`."""
    image = plate.field_image(field)
    frames = range(frame, frame + 1)
    _check_frames(f"field {field}", image, frames)
    planes = _planes(image, plane)
    pixels = _Pixels(plate, str(field), image).read(
        frames, slice(None), planes, f"field {field}, every channel"
    )
    names = [channel.label for channel in image.channels]
    return {name: _project(pixels[0, i], plane) for i, name in enumerate(names)}


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
    pixels = _Pixels(plate, label_key(field, name), image)

    def stream() -> Iterator[NDArray[np.uint32]]:
        for block in pixels.blocks(frames, slice(0, 1)):
            for stack in pixels.read(block, slice(0, 1), slice(0, 1), what):
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


def _frames_name(frames: range) -> str:
    return f"frame {frames[0]}" if len(frames) == 1 else f"frames {frames[0]} to {frames[-1]}"
