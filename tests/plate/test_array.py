"""Which codecs find a flipped bit."""

import numcodecs
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from hcs.plate.array import has_checksum


@pytest.mark.parametrize(
    ("codecs", "expected"),
    [
        ([], False),
        ([BloscCodec()], False),
        ([ZstdCodec()], False),
        ([ZstdCodec(checksum=True)], True),
        ([BloscCodec(), Crc32cCodec()], True),
        ([GzipCodec()], True),
    ],
)
@pytest.mark.parametrize("shards", [None, (8,)])
def test_checksums_of_zarr_v3(codecs, expected, shards):
    array = zarr.create_array(
        {}, shape=(8,), chunks=(4,), shards=shards, dtype="uint8", compressors=codecs
    )
    assert has_checksum(array) == expected


@pytest.mark.parametrize(
    ("compressor", "filters", "expected"),
    [
        (None, [], False),
        (numcodecs.Blosc(), [], False),
        (numcodecs.Zstd(checksum=True), [], True),
        (numcodecs.Zlib(), [], True),
        (numcodecs.Blosc(), [numcodecs.CRC32()], True),
    ],
)
def test_checksums_of_zarr_v2(compressor, filters, expected):
    array = zarr.create_array(
        {}, shape=(8,), dtype="uint8", zarr_format=2, compressors=compressor, filters=filters
    )
    assert has_checksum(array) == expected
