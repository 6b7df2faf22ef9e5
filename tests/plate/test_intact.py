"""Chunks that are looked at without zarr are those that a read through zarr takes."""

import json
import tracemalloc
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


def with_frames(url: Path, n_frames: int) -> Path:
    """Let the metadata of a plate's image say that it has so many frames."""
    path = url / f"{FIELD}/0/.zarray"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"shape": [n_frames, *document["shape"][1:]]}))
    return url


def of_zarr_v2(folder: Path) -> Path:
    make_plate(folder / "tiny.zarr", {"A/01": moving_cells(0, 2)})
    return folder / "tiny.zarr"


def test_chunks_that_are_absent_take_no_memory(tmp_path):
    url = with_frames(of_zarr_v2(tmp_path), 200_000)
    path = url / f"{FIELD}/.zattrs"
    document = json.loads(path.read_text())
    del document["hcs"]
    path.write_text(json.dumps(document))
    plate = open_plate(url)
    tracemalloc.start()
    found = check_pixels(plate, FIELD)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.problems, found.n_absent) == ((), 2 * 200_000 - 4)
    # a document is read into room for the largest, 64 MiB
    assert peak < 100_000_000


def test_of_very_many_chunks_that_were_lost_some_are_named_and_the_rest_counted(tmp_path):
    found = check_pixels(open_plate(with_frames(of_zarr_v2(tmp_path), 1000)), FIELD)
    assert found.n_absent == 0
    assert found.problems[0] == f"{FIELD}/0/2/0/0/0/0 is missing"
    assert found.problems[1000:] == (f"996 more chunks of {FIELD}/0 are missing",)


def test_files_that_are_no_chunks_of_the_image_are_not_looked_at(url):
    level = url / f"{FIELD}/0"
    for name in ("notes 1 0 0 0 0", "01/0/0/0/0", "9/0/0/0/0", "c/9/0/0/0/0"):
        (level / name).parent.mkdir(parents=True, exist_ok=True)
        (level / name).write_bytes(b"no chunk")
    found = check_pixels(open_plate(url), FIELD)
    assert (found.problems, found.n_absent) == ((), 0)


def test_damaged_and_lost_chunks_are_told_in_the_order_of_the_grid(tmp_path):
    make_plate(tmp_path / "tiny.zarr", {"A/01": moving_cells(0, 11)})
    level = tmp_path / f"tiny.zarr/{FIELD}/0"
    for frame in (10, 2):
        (level / f"{frame}/0/0/0/0").write_bytes(b"")
        (level / f"{frame}/1/0/0/0").unlink()
    found = check_pixels(open_plate(tmp_path / "tiny.zarr"), FIELD).problems
    assert [text.split()[0].removesuffix(":") for text in found] == [
        f"{FIELD}/0/{chunk}/0/0/0" for chunk in ("2/0", "10/0", "2/1", "10/1")
    ]
