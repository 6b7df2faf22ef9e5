"""Streaming: just what was asked for, and damage is never read as pixels."""

import logging
from pathlib import Path

import numpy as np
import pytest
import zarr

from hcs.errors import CorruptError, MissingError, PlateError
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.pixels import NotingStore
from hcs.plate.read import read_frame_channels, read_frames, read_label_image
from hcs.plate.write import (
    ImageSpec,
    create_field_image,
    create_label_image,
    create_plate,
    write_frames,
    write_label_frames,
)

FIELD = FieldPath.parse("B/03/0")
LAYOUT = PlateLayout("demo", "0.5", ("B",), ("03",), (FIELD.well,))
# the second frame of the first channel
CHUNKS = {"0.4": "0/1/0/0/0", "0.5": "0/c/1/0/0/0"}


def chunk_file(plate) -> Path:
    return Path(plate.storage.url, str(FIELD), CHUNKS[plate.layout.version])


def foreign_plate(folder, version, **changes):
    """A plate of another writer, with one field of 6 frames of 2 channels of 3 planes."""
    plate = create_plate(
        folder / "demo.zarr", PlateLayout("demo", version, ("B",), ("03",), (FIELD.well,))
    )
    axes, shape = ("t", "c", "z", "y", "x"), (6, 2, 3, 20, 16)
    create_field_image(plate, FIELD, ImageSpec(axes, shape, "uint16", (Channel("a"), Channel("b"))))
    attributes = plate.attributes(str(FIELD))
    del attributes["hcs"]
    from hcs.plate.group import write_group

    write_group(plate.storage, version, str(FIELD), attributes)
    pixels = np.random.default_rng(1).integers(0, 9999, shape, np.uint16)
    array = zarr.create_array(
        plate.storage.zarr_store(read_only=False), name=f"{FIELD}/0", shape=shape, overwrite=True,
        dtype=changes.pop("dtype", "uint16"), zarr_format=2 if version == "0.4" else 3, **changes,
    )  # fmt: skip
    array[:] = pixels
    return open_plate(folder / "demo.zarr"), pixels


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        ("0.4", {"chunks": (4, 2, 2, 20, 16), "dtype": ">u2"}),
        ("0.4", {"chunks": (1, 1, 3, 7, 5)}),
        ("0.5", {"chunks": (1, 1, 1, 10, 16), "shards": (6, 2, 3, 20, 16)}),
        ("0.5", {"chunks": (6, 1, 1, 20, 16)}),
    ],
)
def test_any_chunks_of_other_writers_are_read(tmp_path, version, changes, monkeypatch):
    monkeypatch.setattr("hcs.plate.blocks._KEPT_BYTES", 3 * 20 * 16 * 2)
    plate, pixels = foreign_plate(tmp_path, version, **changes)
    for frames in (range(6), range(1, 5), range(5, 0, -2), range(0, 6, 3), range(0)):
        for plane, expected in (
            (2, pixels[frames, 1, 2]),
            ("max", pixels[frames, 1].max(axis=1)),
            ("mean", np.rint(pixels[frames, 1].mean(axis=1))),
        ):
            read = list(read_frames(plate, FIELD, "b", frames, plane))
            assert len(read) == len(frames)
            assert all(frame.dtype == np.dtype("uint16") for frame in read)
            np.testing.assert_array_equal(
                np.array(read), expected[: len(frames)].reshape(np.shape(read))
            )
    every = read_frame_channels(plate, FIELD, 3, "max")
    np.testing.assert_array_equal(every["a"], pixels[3, 0].max(axis=0))


def test_the_mean_of_floats_is_not_rounded(tmp_path):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    create_field_image(
        plate, FIELD, ImageSpec(("z", "y", "x"), (2, 4, 4), "float32", (Channel("a"),))
    )
    stack = np.arange(32, dtype=np.float32).reshape(1, 1, 2, 4, 4)
    write_frames(plate, FIELD, 0, stack)
    (frame,) = read_frames(plate, FIELD, "a", range(1), "mean")
    np.testing.assert_array_equal(frame, stack[0, 0].mean(axis=0))
    assert frame.dtype == np.float32


def test_a_frame_costs_its_own_chunks_only(tmp_path, make_plate, asked):
    plate = make_plate(tmp_path / "demo.zarr", ("0.5", "chunked"))
    frames = read_frames(plate, FIELD, "nuclei", range(2))
    before = set(asked)
    next(frames)
    assert set(asked) - before == {"B/03/0/0/c/0/1/0/0"}


def test_a_chunk_of_many_large_frames_is_decoded_once(tmp_path, asked):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    spec = ImageSpec(("t", "y", "x"), (40, 1024, 1024), "uint16", (Channel("a"),))
    create_field_image(plate, FIELD, spec)
    store = plate.storage.zarr_store(read_only=False)
    array = zarr.create_array(
        store, name=f"{FIELD}/0", shape=spec.shape, chunks=spec.shape, dtype="uint16",
        overwrite=True,
    )  # fmt: skip
    array[:] = np.arange(40, dtype=np.uint16)[:, None, None]
    plate = open_plate(tmp_path / "demo.zarr")
    for t, frame in enumerate(read_frames(plate, FIELD, "a", range(40))):
        assert (frame == t).all()
        # who keeps a frame does not keep its chunk
        assert frame.base is None or frame.base.nbytes == frame.nbytes
    assert asked == ["B/03/0/0/c/0/0/0"]


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    create_label_image(plate, FIELD, "ssl_cells", {})
    with pytest.raises(MissingError, match="field B/03/0 has no channel 'x'"):
        read_frames(plate, FIELD, "x", range(1))
    with pytest.raises(
        MissingError, match=r"field B/03/0 has no frame 2 \(it has 2, counted from 0"
    ):
        read_frames(plate, FIELD, "phase", range(3))
    with pytest.raises(MissingError, match=r"field B/03/0 has no plane 1 \(it has 1, counted from"):
        read_frames(plate, FIELD, "phase", range(2), 1)
    with pytest.raises(
        MissingError, match="label image 'ssl_cells' of field B/03/0 has no frame 7"
    ):
        read_label_image(plate, FIELD, "ssl_cells", range(7, 8))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_chunk_is_found(tmp_path, make_plate, kind, damage):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    path = (
        chunk_file(plate)
        if kind[1] == "chunked"
        else Path(plate.storage.url, f"{FIELD}/0/c/1/0/0/0")
    )
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 4] ^= 4
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage]
    )
    frames = read_frames(plate, FIELD, "phase", range(2))
    next(frames)
    with pytest.raises(
        CorruptError,
        match=r"field B/03/0, channel 'phase', frame 1: a chunk of B/03/0/0 is damaged",
    ):
        next(frames)


@pytest.mark.parametrize("position", range(0, 100, 24))
def test_any_flipped_bit_of_labels_is_found(tmp_path, make_plate, pixels, kind, position):
    plate = make_plate(tmp_path / "demo.zarr", kind, ("B/03",))
    create_label_image(plate, FIELD, "ssl_cells", {})
    labels = (pixels[:, 0, 0] % 50).astype(np.uint32)
    manifest = write_label_frames(plate, FIELD, "ssl_cells", 0, labels)
    path = Path(plate.storage.url, next(iter(manifest)))
    content = bytearray(path.read_bytes())
    content[len(content) * position // 100] ^= 16
    path.write_bytes(content)
    with pytest.raises(
        CorruptError, match="label image 'ssl_cells' of field B/03/0, frame 0: a chunk"
    ):
        next(read_label_image(plate, FIELD, "ssl_cells", range(2)))


def test_a_chunk_of_ours_that_is_missing_is_found(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    chunk_file(plate).unlink()
    frames = read_frames(plate, FIELD, "phase", range(2))
    next(frames)
    with pytest.raises(
        CorruptError, match=r"field B/03/0, channel 'phase', frame 1: .*1/0/0/0 is missing"
    ):
        next(frames)


def test_a_label_image_that_was_never_written_is_not_read_as_empty(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    create_label_image(plate, FIELD, "ssl_cells", {})
    with pytest.raises(CorruptError, match=r"frame 0: .* is missing"):
        next(read_label_image(plate, FIELD, "ssl_cells", range(2)))


def test_a_missing_chunk_of_other_writers_is_read_as_empty_with_a_warning(tmp_path, caplog):
    plate, pixels = foreign_plate(tmp_path, "0.4", chunks=(1, 1, 3, 20, 16))
    Path(plate.storage.url, "B/03/0/0/1.0.0.0.0").unlink()
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(plate, FIELD, "a", range(3)))
    assert not frames[1].any()
    np.testing.assert_array_equal(frames[2], pixels[2, 0, 0])
    assert (
        "field B/03/0, channel 'a', frame 1: B/03/0/0/1.0.0.0.0 is missing and reads as empty"
        in caplog.text
    )


def test_a_chunk_that_may_not_be_read_is_not_called_damaged(tmp_path, make_plate, monkeypatch):
    plate = make_plate(tmp_path / "demo.zarr")
    frames = read_frames(plate, FIELD, "phase", range(2))

    async def refuse(*arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(NotingStore, "get", refuse)
    with pytest.raises(PlateError, match="cannot read B/03/0/0: Permission denied"):
        next(frames)


def labels_of_another_writer(folder, dtype, values, planes=1):
    plate = create_plate(folder / "demo.zarr", LAYOUT)
    create_field_image(
        plate, FIELD, ImageSpec(("z", "y", "x"), (planes, 2, 2), "uint8", (Channel("a"),))
    )
    create_label_image(plate, FIELD, "cells", {})
    array = zarr.create_array(
        plate.storage.zarr_store(read_only=False), name=f"{FIELD}/labels/cells/0",
        shape=(planes, 2, 2), dtype=dtype, overwrite=True,
    )  # fmt: skip
    array[:] = values
    return open_plate(folder / "demo.zarr")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint64"])
def test_labels_of_other_types_are_read_as_uint32(tmp_path, dtype):
    plate = labels_of_another_writer(tmp_path, dtype, 7)
    (labels,) = read_label_image(plate, FIELD, "cells", range(1))
    assert labels.dtype == np.uint32
    assert (labels == 7).all()


def test_what_are_no_labels_is_refused(tmp_path):
    plate = labels_of_another_writer(tmp_path / "a", "int64", -3)
    with pytest.raises(PlateError, match="has values from -3 to -3: they do not fit uint32"):
        next(read_label_image(plate, FIELD, "cells", range(1)))
    plate = labels_of_another_writer(tmp_path / "b", "float32", 1)
    with pytest.raises(PlateError, match="is float32: labels are whole numbers"):
        read_label_image(plate, FIELD, "cells", range(1))
    plate = labels_of_another_writer(tmp_path / "c", "uint8", 1, planes=3)
    with pytest.raises(PlateError, match="has 3 planes; only label images of one are read"):
        read_label_image(plate, FIELD, "cells", range(1))


def test_of_a_shard_only_the_frame_s_chunk_is_fetched(tmp_path, monkeypatch):
    plate, pixels = foreign_plate(
        tmp_path, "0.5", chunks=(1, 1, 1, 20, 16), shards=(6, 2, 3, 20, 16), compressors=None
    )
    fetched = []
    real = NotingStore.get

    async def note(self, key, prototype, byte_range=None):
        content = await real(self, key, prototype, byte_range)
        if "/c/" in key:
            fetched.append(len(content))
        return content

    monkeypatch.setattr(NotingStore, "get", note)
    (frame,) = read_frames(plate, FIELD, "b", range(3, 4), 1)
    np.testing.assert_array_equal(frame, pixels[3, 1, 1])
    # the shard's index of 36 chunks (16 bytes each, and a checksum) and one chunk
    assert sorted(fetched) == [36 * 16 + 4, 20 * 16 * 2]
