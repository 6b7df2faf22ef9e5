"""Codecs of chunks that may come from anyone: those that are read, and none beyond its chunk.

A few kilobytes can decode to more than a memory holds, and a chunk's own header may lie about it.
What a chunk may decode to is told by its array: the bound is checked before, or while, bytes are
decoded. Codecs that are not on the list are not read at all: some run code (pickle), and of others
nobody knows a bound.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numcodecs
import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec, Codec
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ShardingCodec, ZstdCodec
from zarr.codecs._v2 import V2Codec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from hcs.errors import PlateError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

# that decode to more bytes than they are given
_COMPRESSORS = ("blosc", "bz2", "gzip", "lz4", "zlib", "zstd")
# that keep the number of elements; vlen-utf8 is the text of tables
_OTHERS = (
    "adler32", "astype", "bitround", "bytes", "crc32", "crc32c", "delta", "fixedscaleoffset",
    "fletcher32", "packbits", "quantize", "shuffle", "sharding_indexed", "transpose", "vlen-utf8",
)  # fmt: skip
_SHARDS = "sharding_indexed"
# of a filter's output: the widest number there is; and what headers and checksums take
_WIDEST_BYTES = 8
# of a name, in messages
_SHOWN = 60
_HEADERS_BYTES = 65_536
_ZSTD_MAGIC, _ZSTD_HEADER_BYTES = b"\x28\xb5\x2f\xfd", 18
# of a chunk in the index of its shard: where it begins, and how long it is
_INDEX_BYTES = 16
# of a chunk of text, whose length no array tells
_LARGEST_TEXT = 2**28


def check_codecs(document: Mapping[str, Any], path: str) -> None:
    """Raise unless all codecs that an array's metadata name are on the list.

    Raises
    ------
    PlateError
        Naming the array and the codecs.
    """
    named = [str(name)[:_SHOWN] for name in _named(document)]
    unknown = sorted({*named}.difference(_COMPRESSORS, _OTHERS))
    if unknown:
        raise PlateError(
            f"{path} names the codec {', '.join(map(repr, unknown))}, which is not read",
            hint=f"write it anew with one of {', '.join(_COMPRESSORS)}",
        )
    # zarr tells neither how many chunks such shards hold, nor reads a frame of one by itself
    is_plain = named.count(_SHARDS) == 1 and len(_list(document.get("codecs"))) == 1
    if _SHARDS in named and not is_plain:
        raise PlateError(
            f"{path} has shards inside of shards or of other codecs, which are not read",
            hint="write it anew with shards of chunks",
        )


def _named(document: Mapping[str, Any]) -> Iterable[object]:
    """Return the codecs that metadata of Zarr v2 or v3 name; anything may stand there."""
    config = document.get("configuration")
    inner = config if isinstance(config, Mapping) else {}
    for part, key in ((document, "codecs"), (inner, "codecs"), (inner, "index_codecs")):
        for codec in _list(part.get(key)):
            yield codec.get("name") if isinstance(codec, Mapping) else codec
            yield from _named(codec) if isinstance(codec, Mapping) else ()
    for codec in (document.get("compressor"), *_list(document.get("filters"))):
        if codec is not None:
            yield codec.get("id") if isinstance(codec, Mapping) else codec


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def decode(codec: Any, name: str, content: bytes | memoryview, most: int) -> Any:  # noqa: ANN401
    """Return what compressed bytes hold, if it is no more than it may be.

    Parameters
    ----------
    codec : numcodecs codec
    name : str
        Of the codec, as in ``"blosc"``.
    content : bytes or memoryview
        Not copied: a chunk can be large.
    most : int
        Bytes that it may decode to.

    Raises
    ------
    ValueError
        It holds more, or says that it does; or the codec did not write it.

    Examples
    --------
    >>> decode(numcodecs.Zlib(), "zlib", zlib.compress(bytes(99)), 10)
    Traceback (most recent call last):
    ValueError: it holds more than 10 bytes, which is too much for its chunk
    """
    content = memoryview(content).cast("B")
    if name in _SIZE_PLACES:
        _check(int.from_bytes(content[_SIZE_PLACES[name]], "little"), most)
        return codec.decode(content)
    try:
        found = _STREAMS[name](content, most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error
    _check(len(found), most)
    return found


def _check(size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"it holds more than {most} bytes, which is too much for its chunk")


def _from(decompressor: Any, content: memoryview, most: int) -> bytes:  # noqa: ANN401 - of zlib
    found: bytes = decompressor.decompress(content, most)
    if len(found) < most and not decompressor.eof:
        raise EOFError("it ends too early")
    return found


def _gunzip(content: memoryview, most: int) -> bytes:
    # several members are one file
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(most)


def _unzstd(content: memoryview, most: int) -> bytes:
    # numcodecs adds up all frames, and trusts what they say; pyarrow is slow to import
    import pyarrow as pa

    size = _zstd_size(content)
    if 0 < size <= most:
        # several frames, and damage, are the stream's to tell
        with suppress(OSError):
            return bytes(pa.Codec("zstd").decompress(content, size, asbytes=True))
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        found: bytes = stream.read(most)
    return found


def _zstd_size(content: memoryview) -> int:
    """Return what the first frame says that it holds; 0 where it does not say (RFC 8878, 3.1.1)."""
    if len(content) < _ZSTD_HEADER_BYTES or content[: len(_ZSTD_MAGIC)] != _ZSTD_MAGIC:
        return 0
    descriptor = content[4]
    is_single = descriptor >> 5 & 1
    width = (is_single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - is_single) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(content[start : start + width], "little")
    return size + 256 if width == 2 else size


_STREAMS: Mapping[str, Callable[[memoryview, int], bytes]] = {
    "bz2": lambda content, most: _from(bz2.BZ2Decompressor(), content, most),
    "gzip": _gunzip,
    "zlib": lambda content, most: _from(zlib.decompressobj(), content, most),
    "zstd": _unzstd,
}
# where a chunk says how long it is; these codecs write no more than that
_SIZE_PLACES = {"blosc": slice(4, 8), "lz4": slice(4)}


@dataclass(frozen=True)
class _Bounded(BytesBytesCodec):
    """A compressor of Zarr v3 that decodes no more than its chunk."""

    codec: BytesBytesCodec
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        name = type(self.codec).__name__.removesuffix("Codec").lower()
        plain = numcodecs.get_codec({"id": name})
        found = await asyncio.to_thread(
            decode, plain, name, chunk_bytes.as_numpy_array().data, _most(chunk_spec)
        )
        return chunk_spec.prototype.buffer.from_bytes(bytes(found))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)


@dataclass(frozen=True)
class _BoundedV2(V2Codec):
    """All codecs of an array of Zarr v2, none of which decodes more than its chunk."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        most = _most(chunk_spec)
        # of what a codec can do, zarr asks for decode only
        filters: Any = tuple(_Checked(codec, most) for codec in self.filters or ())
        compressor: Any = _Checked(self.compressor, most) if self.compressor else None
        return await V2Codec(filters, compressor)._decode_single(chunk_bytes, chunk_spec)


@dataclass(frozen=True)
class _Checked:
    codec: Any
    most: int

    def decode(self, content: Any) -> Any:  # noqa: ANN401 - a buffer
        name = self.codec.codec_id
        if name in _COMPRESSORS:
            return decode(self.codec, name, memoryview(content), self.most)
        return self.codec.decode(content)


def _most(chunk: ArraySpec) -> int:
    if chunk.dtype.to_native_dtype().kind in "OTUS":
        return _LARGEST_TEXT
    return _most_of(chunk.shape)


def _most_of(shape: tuple[int, ...]) -> int:
    return _WIDEST_BYTES * math.prod(shape) + _HEADERS_BYTES


def decoded_bytes(metadata: ArrayV2Metadata | ArrayV3Metadata, content: bytes) -> int | None:
    """Return how many bytes a file of one chunk of numbers decodes to.

    The same decoders as on zarr's way, without its event loop, its threads and the array.

    Returns
    -------
    int or None
        None for what is more than compressed: filters, other orders of axes, shards.

    Raises
    ------
    ValueError, RuntimeError
        The codecs did not write it, or it holds more than a chunk.
    """
    way = _plain_way(metadata)
    if way is None:
        return None
    for name, codec in reversed(way):
        if name in _COMPRESSORS:
            content = decode(codec, name, content, _most_of(metadata.chunks))
        else:
            content = codec.decode(content)
    return memoryview(content).nbytes


def _plain_way(metadata: ArrayV2Metadata | ArrayV3Metadata) -> list[tuple[str, Any]] | None:
    """Return names and codecs from bytes to bytes, in the order of writing, if these are all."""
    if metadata.zarr_format == 2:
        codec: Any = metadata.compressor
        names = [codec.codec_id] if codec else []
        return None if metadata.filters else [(name, codec) for name in names]
    first, *others = metadata.codecs
    names = [type(other).__name__.removesuffix("Codec").lower() for other in others]
    if not isinstance(first, BytesCodec) or not set(names) <= {"crc32c", *_COMPRESSORS}:
        return None
    return [(name, numcodecs.get_codec({"id": name})) for name in names]


def _bounded(codec: Codec) -> Codec:
    if isinstance(codec, BloscCodec | GzipCodec | ZstdCodec):
        return _Bounded(codec)
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=tuple(map(_bounded, codec.codecs)))
    if isinstance(codec, V2Codec):
        return _BoundedV2(codec.filters, codec.compressor)
    return codec


class BoundedPipeline(BatchedCodecPipeline):
    """Zarr's own way through the codecs, for reading; no chunk decodes to more than it should."""

    @classmethod
    def from_codecs(cls, codecs: Iterable[Codec], *, batch_size: int | None = None) -> Self:
        """Return the way through these codecs."""
        return super().from_codecs(tuple(map(_bounded, codecs)), batch_size=batch_size)


register_pipeline(BoundedPipeline)


def pipeline_of(metadata: ArrayV2Metadata | ArrayV3Metadata) -> BoundedPipeline:
    """Return the way through the codecs of an array."""
    if metadata.zarr_format == 2:
        return BoundedPipeline.from_codecs([V2Codec(metadata.filters, metadata.compressor)])
    return BoundedPipeline.from_codecs(metadata.codecs)


def largest_file(array: zarr.Array[Any]) -> int:
    """Return the bytes that a file of chunks may have: what does not shrink grows by little."""
    return _encoded_most(array.shards or array.chunks, array.dtype)


def largest_part(array: zarr.Array[Any]) -> int:
    """Return the bytes that may be asked for of a shard at a time: a chunk, or the index."""
    n_chunks = math.prod(array.shards or array.chunks) // math.prod(array.chunks)
    return max(_encoded_most(array.chunks, array.dtype), _INDEX_BYTES * n_chunks + _HEADERS_BYTES)


def _encoded_most(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    n_bytes = math.prod(shape) * max(dtype.itemsize, _WIDEST_BYTES)
    return n_bytes + n_bytes // 8 + _HEADERS_BYTES
