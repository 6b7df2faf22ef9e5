"""Zarr arrays of a plate: open, make, and know where their write units end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.array import AsyncArray, parse_array_metadata
from zarr.storage import StorePath

from hcs.errors import MissingError, PlateError, WriteError
from hcs.plate.codecs import check_codecs
from hcs.plate.group import document_key, read_document
from hcs.plate.metadata import Level, Version
from hcs.plate.multiscale import StoredArray
from hcs.plate.storage import Storage, write_errors

_NUMBERS = "buifc"
# codecs that find a flipped bit: with a checksum of their own, or made of nothing else
_CHECKSUMS = ("crc32", "crc32c", "adler32", "fletcher32", "gzip", "zlib")


def open_array(storage: Storage, store: Store, version: Version, path: str) -> zarr.Array[Any]:
    """Return the array at a path; every chunk written through it is kept, even if it is empty.

    Its metadata are read as any document is. Zarr would send each through its event loop, which
    takes longer than all else, and a large plate has some ten thousand arrays.

    Parameters
    ----------
    storage : Storage
        Of the metadata.
    store : Store
        Of the chunks.
    version : {"0.4", "0.5"}
    path : str

    Raises
    ------
    MissingError
        There is no array.
    PlateError
        Its metadata are damaged, or name a codec that we lack.
    StorageError
        They cannot be read now.
    """
    try:
        document = read_document(
            storage, document_key(path, ".zarray" if version == "0.4" else "zarr.json")
        )
        if document is None:
            raise MissingError(f"there is no array at {path}")
        check_codecs(document, path)
        metadata: Any = parse_array_metadata(document)
        opened = AsyncArray(metadata, StorePath(store, path), {"write_empty_chunks": True})
    except PlateError as error:
        problem = f"the array at {path} cannot be opened: {error.message}"
        raise PlateError(problem, error.hint) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        # what zarr says to metadata that it cannot make sense of
        raise PlateError(f"the array at {path} cannot be opened: {error}") from error
    return zarr.Array(opened)


def stored_array(array: zarr.Array[Any]) -> StoredArray:
    """Return what an array's metadata say; text, times and records are objects here."""
    dtype = np.dtype(array.dtype)
    name = dtype.newbyteorder("=").name if dtype.kind in _NUMBERS else "object"
    return StoredArray(array.shape, array.chunks, array.shards, name)


def has_checksum(array: zarr.Array[Any]) -> bool:
    """Tell whether reading a chunk of this array would find a flipped bit."""
    return any(_checks(codec) for codec in (*array.filters, *array.compressors))


def _checks(codec: object) -> bool:
    configuration: dict[str, Any] = (
        codec.get_config() if isinstance(codec, numcodecs.abc.Codec) else vars(codec)
    )
    name = type(codec).__name__.lower()
    return bool(configuration.get("checksum")) or any(name.startswith(c) for c in _CHECKSUMS)


def create_array(
    store: Store,
    version: Version,
    path: str,
    level: Level,
    dtype: str,
    *,
    axes: tuple[str, ...],
    kind: Literal["image", "labels"],
) -> None:
    """Make an array without pixels; its codecs carry checksums.

    Images in Zarr v3 are compressed with blosc (zstd 1, bits shuffled) and sealed by crc32c;
    Zarr v2 knows no order of codecs that does the same and that web viewers read, so there and
    for labels it is zstd 1 with its own checksum.
    """
    compressors: Sequence[BytesBytesCodec] | numcodecs.abc.Codec
    if version == "0.4":
        compressors = numcodecs.Zstd(level=1, checksum=True)
    elif kind == "labels":
        compressors = [ZstdCodec(level=1, checksum=True)]
    else:
        compressors = [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()]
    with write_errors(path):
        zarr.create_array(
            store,
            name=path,
            shape=level.shape,
            chunks=level.chunks,
            shards=level.shards,
            dtype=dtype,
            compressors=compressors,
            fill_value=0,
            zarr_format=2 if version == "0.4" else 3,
            chunk_key_encoding={"name": "v2" if version == "0.4" else "default", "separator": "/"},
            dimension_names=None if version == "0.4" else axes,
        )


def write_aligned(array: zarr.Array[Any], start: tuple[int, ...], pixels: NDArray[Any]) -> None:
    """Write pixels that fill whole write units: chunks, or shards where there are some.

    Two writers in one unit lose each other's pixels without any error, so nobody may write a
    part of one.

    Raises
    ------
    WriteError
        The pixels do not begin and end on units, or do not fit; or the disk is full or read-only.
    """
    units = array.shards or array.chunks
    stop = tuple(a + n for a, n in zip(start, pixels.shape, strict=True))
    for axis, (a, b, unit, n) in enumerate(zip(start, stop, units, array.shape, strict=True)):
        if b > n:
            raise WriteError(f"{array.path} ends at {n} on axis {axis}, {a} to {b} do not fit")
        if a % unit or (b % unit and b != n):
            raise WriteError(
                f"{a} to {b} on axis {axis} of {array.path} cut a write unit of {unit}",
                hint="write whole chunks, or whole shards where the array is sharded",
            )
    with write_errors(array.path):
        array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = pixels
