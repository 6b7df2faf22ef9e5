"""Chunks that are looked at without zarr are those that a read through zarr takes."""

from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from hcs.errors import CorruptError
from hcs.plate.codecs import decoded_bytes
from hcs.plate.intact import check_pixels
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.pixels import Pixels
from tests.corruptions import corruptions
from tests.plates import make_plate, moving_cells

FIELD = FieldPath.parse("A/01/0")
WAYS = {
    "none": (2, None, ()),
    "zstd": (2, numcodecs.Zstd(checksum=True), ()),
    "zlib": (2, numcodecs.Zlib(), ()),
    "gzip": (2, numcodecs.GZip(), ()),
    "bz2": (2, numcodecs.BZ2(), ()),
    "lz4": (2, numcodecs.LZ4(), ()),
    "blosc": (2, numcodecs.Blosc(), ()),
    "delta": (2, numcodecs.Zlib(), (numcodecs.Delta("u2"),)),
    "v3 none": (3, (), ()),
    "v3 zstd": (3, (ZstdCodec(checksum=True),), ()),
    "v3 gzip": (3, (GzipCodec(),), ()),
    "v3 blosc, crc32c": (3, (BloscCodec(), Crc32cCodec()), ()),
    "v3 transpose": (3, (ZstdCodec(),), (TransposeCodec(order=(1, 0)),)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_one_chunk_decodes_to_its_pixels(tmp_path, way):
    zarr_format, compressors, filters = WAYS[way]
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    array = zarr.create_array(
        str(tmp_path / "a"), shape=pixels.shape, chunks=pixels.shape, dtype="u2",
        zarr_format=zarr_format, compressors=compressors, filters=filters,
    )  # fmt: skip
    array[:] = pixels
    (file,) = (path for path in (tmp_path / "a").rglob("0*") if path.is_file())
    expected = None if way in ("delta", "v3 transpose") else pixels.nbytes
    assert decoded_bytes(array.metadata, file.read_bytes()) == expected


@pytest.fixture
def url(kind, tmp_path) -> Path:
    version, storage = kind
    make_plate(tmp_path / "tiny.zarr", {"A/01": moving_cells(0, 2)}, version, storage)
    return tmp_path / "tiny.zarr"


def test_chunks_of_a_sound_image_go_through_zarr_only_where_they_are_shards(url, monkeypatch):
    taken = []
    take = Pixels.take
    monkeypatch.setattr(
        Pixels, "take", lambda self, part, name: taken.append(name) or take(self, part, name)
    )
    assert check_pixels(open_plate(url), FIELD).problems == ()
    sharded = open_plate(url).field_image(FIELD).levels[0].shards is not None
    assert bool(taken) == sharded


def test_no_file_is_whole_that_a_read_does_not_take(url):
    plate = open_plate(url)
    pixels = Pixels(plate, str(FIELD), plate.field_image(FIELD))
    files = [path for path in (url / pixels.array.path).rglob("*") if path.name.isdigit()]
    files = [path for path in files if path.is_file()]
    everything = (slice(None),) * 5
    sound = pixels.take(everything, "all")
    changes = corruptions(files, np.random.default_rng(0))
    for change in (next(changes) for _ in range(40)):
        before = change.path.read_bytes()
        change.apply()
        if pixels.is_whole(str(change.path.relative_to(url))):
            np.testing.assert_array_equal(pixels.take(everything, "all"), sound)
        else:
            with pytest.raises(CorruptError):
                pixels.take(everything, "all")
        change.path.write_bytes(before)


def test_a_file_of_more_than_its_chunk_is_not_whole(url):
    plate = open_plate(url)
    pixels = Pixels(plate, str(FIELD), plate.field_image(FIELD))
    key = next(key for key in plate.images.sizes(pixels.array.path) if key[-1].isdigit())
    double = np.zeros(2 * 128 * 128, np.uint16)
    for codec in (numcodecs.Zstd(checksum=True), numcodecs.Blosc()):
        (url / key).write_bytes(bytes(codec.encode(double)))
        assert not pixels.is_whole(key)
