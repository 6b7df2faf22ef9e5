"""The pixels of an opened image, read part by part; what is damaged or missing is found out."""

from __future__ import annotations

import gzip
import logging
import lzma
import math
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.storage import StorePath, WrapperStore

from hcs.errors import CorruptError, HcsError
from hcs.plate.array import open_array
from hcs.plate.blocks import reading_of
from hcs.plate.codecs import decoded_bytes, largest_file, largest_part, pipeline_of
from hcs.plate.group import OWN
from hcs.plate.metadata import AXES, FieldImage
from hcs.plate.open import Plate
from hcs.plate.storage import read_errors

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

logger = logging.getLogger(__name__)

_COPY_ANEW = "copy it anew from where the plate came from"
_MAKE_ANEW = "hcs verify --repair, then hcs run, make it anew"
# what the codecs of zarr and numcodecs raise on bytes that they did not write
_DECODE_ERRORS = (
    RuntimeError, ValueError, TypeError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


class NotingStore(WrapperStore[Store]):
    """Pass reads on to another store, and keep the keys that it did not have.

    Zarr reads a missing chunk as fill values without a word.

    Parameters
    ----------
    store : Store
    largest, largest_part : int
        Bytes that a file of chunks may have, and that may be asked for of a shard at a time.
    """

    def __init__(self, store: Store, largest: int, largest_part: int) -> None:
        super().__init__(store)
        self.missing = list[str]()
        self._largest = largest
        self._largest_part = largest_part

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a file, and note if there is none; no more of it than one that is sound has."""
        if byte_range:
            self._check_part(byte_range)
        part = byte_range or RangeByteRequest(0, self._largest + 1)
        content = await super().get(key, prototype, part)
        if content is None:
            self.missing.append(key)
        elif len(content) > self._largest:
            raise ValueError(f"its file has more than {self._largest} bytes")
        return content

    def _check_part(self, part: ByteRequest) -> None:
        """Refuse what no shard that is sound has: its index may say anything."""
        if isinstance(part, RangeByteRequest):
            size, end = part.end - part.start, part.end
        else:
            size = end = part.suffix if isinstance(part, SuffixByteRequest) else self._largest
        if not 0 <= size <= self._largest_part or end > self._largest:
            raise ValueError(f"{size} bytes of a shard are asked for, up to byte {end}")


class Pixels:
    """One level of an image, opened to be read part by part, by any number of threads.

    Parameters
    ----------
    plate : Plate
    key : str
        Of the image group.
    image : FieldImage
    level : int
        0 is full resolution.
    """

    def __init__(self, plate: Plate, key: str, image: FieldImage, level: int = 0) -> None:
        attributes = plate.attributes(key)
        own = attributes.get(OWN)
        # in what we made every chunk is written, unless it is said to be empty
        own = own if isinstance(own, dict) else {}
        self._chunks = own.get("chunks")
        self._hint = _MAKE_ANEW if "step" in own else _COPY_ANEW
        self._storage = plate.storage_of(key)
        self._store = self._storage.zarr_store(read_only=True)
        self._image = image
        path = f"{key}/{image.levels[level].path}"
        self.array: zarr.Array[Any] = open_array(
            self._storage, self._store, plate.layout.version, path
        )

    @property
    def writes_all(self) -> bool:
        """Whether every chunk was written, so that one that is missing was lost."""
        return self._chunks == "all"

    def read(self, frames: range, channels: slice, planes: slice, what: str) -> NDArray[Any]:
        """Return pixels of shape (t, c, z, y, x) in native byte order."""
        time = slice(frames[0], frames[-1] + 1, max(frames.step, 1))
        wanted = {"t": time, "c": channels, "z": planes}
        axes = self._image.axes
        pixels = self.take(
            tuple(wanted.get(axis, slice(None)) for axis in axes), f"{what}, {frames_name(frames)}"
        )
        absent = tuple(i for i, axis in enumerate(AXES) if axis not in axes)
        return np.expand_dims(pixels, absent)

    def each(
        self, frames: range, channels: slice, planes: slice, what: str
    ) -> Iterator[NDArray[Any]]:
        """Yield the pixels of each frame, (c, z, y, x); a chunk of several is decoded once."""
        for block in self._blocks(frames, channels, planes):
            pixels = self.read(block, channels, planes, what)
            for i in range(len(block)):
                # who keeps a frame is not to keep all of its chunk
                yield pixels[i] if len(block) == 1 else pixels[i].copy()
            # nor is it kept while the next is decoded
            del pixels

    def _blocks(self, frames: range, channels: slice, planes: slice) -> Iterator[range]:
        """Cut frames into runs that lie in one chunk and fit the memory for what is kept."""
        image = self._image
        along_t = self.array.chunks[image.axes.index("t")] if "t" in image.axes else 1
        asked = ((channels, "c"), (planes, "z"))
        counts = (len(range(*part.indices(image.length(axis)))) for part, axis in asked)
        most = reading_of(image, *counts).n_together if frames.step > 0 else 1
        for _, run in groupby(range(len(frames)), key=lambda i: frames[i] // along_t):
            indices = list(run)
            for first in indices[::most]:
                yield frames[first : min(first + most, indices[-1] + 1)]

    def take(self, selection: tuple[int | slice, ...], name: str) -> NDArray[Any]:
        """Return a part of the array in native byte order.

        Parameters
        ----------
        selection : tuple of int or slice
            One for each of the image's axes.
        name : str
            What is read, for messages.

        Raises
        ------
        CorruptError
            A chunk is damaged, or missing where we wrote one.
        """
        # one for each read: threads must not hear of each other's missing chunks
        store = NotingStore(self._store, largest_file(self.array), largest_part(self.array))
        here = StorePath(store, self.array.path)
        opened: zarr.AsyncArray[Any] = zarr.AsyncArray(self.array.metadata, here)
        # zarr's own would decode whatever a chunk holds
        object.__setattr__(opened, "codec_pipeline", pipeline_of(self.array.metadata))
        try:
            with read_errors(self.array.path):
                pixels = np.asarray(zarr.Array(opened)[selection])
        except _DECODE_ERRORS as error:
            raise CorruptError(
                f"{name}: a chunk of {self.array.path} is damaged ({error})",
                hint=self._hint,
            ) from error
        self._judge_missing(store.missing, name)
        return pixels.astype(self._image.dtype, copy=False)

    def is_whole(self, key: str) -> bool:
        """Tell whether a file of chunks decodes to all of its pixels, without a look at them.

        False of what only `take` can tell, or say in words: shards, filters, damage.
        """
        array = self.array
        expected = math.prod(array.chunks) * array.dtype.itemsize
        try:
            content = self._storage.read(key, largest_file(array))
            return decoded_bytes(array.metadata, content) == expected
        except (HcsError, OSError, *_DECODE_ERRORS):
            return False

    def _judge_missing(self, missing: list[str], name: str) -> None:
        if not missing or self._chunks == "none":
            return
        if self._chunks == "all":
            raise CorruptError(
                f"{name}: {missing[0]} is missing",
                hint=f"it was lost, or its writing did not finish: {self._hint}",
            )
        # other writers leave out chunks that hold the fill value only: legal, so only a warning
        logger.warning(
            "%s: %s is missing and reads as empty; whether it was lost cannot be told",
            name,
            missing[0],
        )


def frames_name(frames: range) -> str:
    """Return frames as messages name them.

    Examples
    --------
    >>> frames_name(range(3, 4)), frames_name(range(3, 6))
    ('frame 3', 'frames 3 to 5')
    """
    return f"frame {frames[0]}" if len(frames) == 1 else f"frames {frames[0]} to {frames[-1]}"
