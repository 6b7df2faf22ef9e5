"""What is written is read back, on a disk and on S3, in every kind of plate."""

import errno
import json

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

from hcs.errors import MissingError, WriteError
from hcs.image.pyramid import halve
from hcs.plate.commit import verify
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frame_channels, read_frames, read_label_image
from hcs.plate.write import (
    ImageSpec,
    create_field_image,
    create_label_image,
    create_plate,
    write_empty_label_image,
    write_frames,
    write_label_frames,
)
from tests.strategies import axes_subsets, channels, versions

FIELD = FieldPath.parse("B/03/0")


def test_frames_and_labels_come_back_as_they_were(root_url, make_plate, kind, pixels):
    plate = make_plate(f"{root_url}/demo.zarr", kind, ("B/03",))
    labels = (pixels[:, 0, 0] % 50).astype(np.uint32)
    create_label_image(plate, FIELD, "ssl_cells", {"recipe": "R"})
    manifest = write_label_frames(plate, FIELD, "ssl_cells", 1, labels[1:])
    manifest |= write_label_frames(plate, FIELD, "ssl_cells", 0, labels[:1])

    again = open_plate(f"{root_url}/demo.zarr")
    for number, channel in enumerate(("phase", "nuclei")):
        frames = np.stack(list(read_frames(again, FIELD, channel, range(2))))
        np.testing.assert_array_equal(frames, pixels[:, number, 0])
    np.testing.assert_array_equal(read_frame_channels(again, FIELD, 1)["nuclei"], pixels[1, 1, 0])
    assert again.label_names(FIELD) == ("ssl_cells",)
    read = np.stack(list(read_label_image(again, FIELD, "ssl_cells", range(2))))
    np.testing.assert_array_equal(read, labels)
    assert verify(again, manifest) == []
    assert again.attributes(f"{FIELD}/labels/ssl_cells")["hcs"]["recipe"] == "R"


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(axes=axes_subsets(), version=versions(), data=st.data())
def test_any_axes_come_back(tmp_path_factory, axes, version, data):
    lengths = {"t": 3, "c": 2, "z": 2, "y": 9, "x": 7}
    spec = ImageSpec(
        axes,
        tuple(lengths[axis] for axis in axes),
        data.draw(st.sampled_from(["uint8", "uint16", "float32"])),
        data.draw(channels(2 if "c" in axes else 1)),
        pixel_size_um=data.draw(st.none() | st.floats(0.01, 10)),
        interval_s=data.draw(st.none() | st.floats(1, 1e4)),
    )
    full = tuple(lengths[axis] if axis in axes else 1 for axis in "tczyx")
    frames = np.random.default_rng(0).integers(0, 255, full).astype(spec.dtype)
    url = tmp_path_factory.mktemp("axes") / "demo.zarr"
    plate = create_plate(url, PlateLayout("demo", version, ("B",), ("03",), (FIELD.well,)))
    create_field_image(plate, FIELD, spec)
    write_frames(plate, FIELD, 0, frames)
    create_label_image(plate, FIELD, "cells", {})
    labels = frames[:, 0, 0].astype(np.uint32)
    write_label_frames(plate, FIELD, "cells", 0, labels)

    plate = open_plate(url)
    image = plate.field_image(FIELD)
    assert (image.axes, image.dtype, image.channels[0].label) == (
        axes,
        spec.dtype,
        spec.channels[0].label,
    )
    # a size of exactly 1 has its unit, so that it is not taken for none
    assert image.pixel_size_um == pytest.approx(spec.pixel_size_um)
    assert image.interval_s == (pytest.approx(spec.interval_s) if "t" in axes else None)
    for plane in range(full[2]):
        for number, channel in enumerate(image.channels):
            stack = list(read_frames(plate, FIELD, channel.label, range(full[0]), plane))
            np.testing.assert_array_equal(stack, frames[:, number, plane])
    np.testing.assert_array_equal(
        list(read_label_image(plate, FIELD, "cells", range(full[0]))), labels
    )


def test_every_level_is_half_the_one_before(tmp_path, make_plate, kind, pixels):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    levels = plate.field_image(FIELD).levels
    assert [level.shape[-2:] for level in levels] == [(300, 260), (150, 130)]
    assert levels[1].scale[-2:] == (1.3, 1.3)
    coarse = plate.array(f"{FIELD}/1")[:]
    np.testing.assert_array_equal(coarse, halve(pixels)[:, :, 0])


def test_label_images_lie_on_the_image(tmp_path, make_plate, kind, pixels):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    create_label_image(plate, FIELD, "ssl_cells", {})
    labels = (pixels[:, 0, 0] % 50).astype(np.uint32)
    write_label_frames(plate, FIELD, "ssl_cells", 0, labels)
    image = plate.field_image(FIELD)
    own = plate.label_image(FIELD, "ssl_cells")
    assert own.axes == ("t", "y", "x")
    assert own.dtype == "uint32"
    assert [level.path for level in own.levels] == [level.path for level in image.levels]
    assert [level.scale[1:] for level in own.levels] == [level.scale[2:] for level in image.levels]
    coarse = plate.array(f"{FIELD}/labels/ssl_cells/1")
    assert set(np.unique(coarse[:])) <= set(np.unique(labels))


def test_chunks_are_squares_that_no_level_clips(tmp_path, kind):
    version, storage = kind
    plate = create_plate(
        tmp_path / "demo.zarr", PlateLayout("demo", version, ("B",), ("03",), (FIELD.well,))
    )
    spec = ImageSpec(
        ("t", "c", "z", "y", "x"),
        (2, 1, 2, 1216, 1920),
        "uint8",
        (Channel("phase"),),
        storage=storage,
    )
    create_field_image(plate, FIELD, spec)
    create_label_image(plate, FIELD, "cells", {})
    for level in plate.field_image(FIELD).levels:
        assert level.chunks == (1, 1, 1, 640, 640)
    for level in plate.label_image(FIELD, "cells").levels:
        assert level.chunks == (1, 1, 640, 640)
        assert level.shape[1] == 1
        array = plate.array(f"{FIELD}/labels/cells/{level.path}")
        assert array.fill_value == 0
        assert (level.shards is not None) == (storage == "sharded")


def test_every_chunk_is_a_file_even_if_it_is_empty(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    create_label_image(plate, FIELD, "ssl_cells", {})
    empty = np.zeros((2, 300, 260), np.uint32)
    manifest = write_label_frames(plate, FIELD, "ssl_cells", 0, empty)
    # two levels of two frames, one chunk each
    assert len(manifest) == 4
    assert all(plate.storage.exists(key) for key in manifest)


def test_chunk_keys_are_folders(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    assert (tmp_path / "demo.zarr/B/03/0/0/1/0/0/0").is_file()


def test_zarr_v3_arrays_name_their_dimensions(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr", ("0.5", "sharded"))
    assert plate.array(f"{FIELD}/0").metadata.dimension_names == ("t", "c", "y", "x")


def test_a_newer_label_image_takes_the_place_of_the_older(tmp_path, make_plate, pixels):
    plate = make_plate(tmp_path / "demo.zarr")
    labels = (pixels[:, 0, 0] % 50).astype(np.uint32)
    write_empty_label_image(plate, FIELD, "ssl_cells", "failed")
    create_label_image(plate, FIELD, "ssl_cells", {})
    write_label_frames(plate, FIELD, "ssl_cells", 0, labels)
    assert plate.label_names(FIELD) == ("ssl_cells",)
    assert "state" not in plate.attributes(f"{FIELD}/labels/ssl_cells")
    np.testing.assert_array_equal(
        next(read_label_image(plate, FIELD, "ssl_cells", range(1, 2))), labels[1]
    )


def test_an_empty_label_image_says_why_and_reads_as_background(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    manifest = write_empty_label_image(plate, FIELD, "ssl_cells", "failed")
    assert plate.attributes(f"{FIELD}/labels/ssl_cells")["state"] == "failed"
    assert verify(plate, manifest) == []
    assert not next(read_label_image(plate, FIELD, "ssl_cells", range(1))).any()


def test_other_peoples_label_images_stay_listed(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    create_label_image(plate, FIELD, "by_hand", {})
    create_label_image(plate, FIELD, "ssl_cells", {})
    assert plate.label_names(FIELD) == ("by_hand", "ssl_cells")


def test_the_input_s_metadata_stay_as_they_are(tmp_path, make_plate, kind):
    url = tmp_path / "demo.zarr"
    plate = make_plate(url, kind)
    before = {key: plate.storage.read(key) for key in plate.storage.sizes()}
    create_label_image(plate, FIELD, "ssl_cells", {})
    write_empty_label_image(plate, FIELD, "isl_cells", "failed")
    assert {key: plate.storage.read(key) for key in before} == before


def test_labels_repeat_the_units_of_the_image(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    path = tmp_path / "demo.zarr/B/03/0/.zattrs"
    attributes = json.loads(path.read_text())
    for axis in attributes["multiscales"][0]["axes"][-2:]:
        axis["unit"] = "nanometer"
    path.write_text(json.dumps(attributes))
    plate = open_plate(tmp_path / "demo.zarr", pixel_size_um=0.5)
    create_label_image(plate, FIELD, "ssl_cells", {})
    own = plate.attributes(f"{FIELD}/labels/ssl_cells")["multiscales"][0]
    assert [axis.get("unit") for axis in own["axes"]] == ["second", "nanometer", "nanometer"]
    assert own["datasets"][0]["coordinateTransformations"][0]["scale"] == [900.0, 0.65, 0.65]


def test_levels_in_folders_get_labels_with_plain_names(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    field = tmp_path / "demo.zarr/B/03/0"
    (field / "levels").mkdir()
    text = (field / ".zattrs").read_text()
    for name in "01":
        (field / name).rename(field / "levels" / name)
        text = text.replace(f'"path": "{name}"', f'"path": "levels/{name}"')
    (field / ".zattrs").write_text(text)
    plate = open_plate(tmp_path / "demo.zarr")
    create_label_image(plate, FIELD, "ssl_cells", {})
    assert [level.path for level in plate.label_image(FIELD, "ssl_cells").levels] == ["0", "1"]


def test_frames_of_another_type_or_shape_are_refused(tmp_path, make_plate, pixels):
    plate = make_plate(tmp_path / "demo.zarr")
    with pytest.raises(WriteError, match="field B/03/0 holds uint16, the frames are uint8"):
        write_frames(plate, FIELD, 0, pixels.astype(np.uint8))
    with pytest.raises(WriteError, match=r"takes frames of shape \('t', 2, 1, 300, 260\)"):
        write_frames(plate, FIELD, 0, pixels[..., 1:])
    create_label_image(plate, FIELD, "ssl_cells", {})
    with pytest.raises(WriteError, match="ssl_cells holds uint32, the frames are int64"):
        write_label_frames(plate, FIELD, "ssl_cells", 0, np.zeros((1, 300, 260), np.int64))
    with pytest.raises(WriteError, match="ends at 2 on axis 0, 1 to 3 do not fit"):
        write_label_frames(plate, FIELD, "ssl_cells", 1, np.zeros((2, 300, 260), np.uint32))


def test_a_write_that_cuts_a_unit_is_refused(tmp_path, make_plate, pixels):
    plate = make_plate(tmp_path / "demo.zarr")
    array = plate.storage.zarr_store(read_only=False)
    shape = (2, 2, 300, 260)
    zarr.create_array(
        array, name="B/03/0/0", shape=shape, chunks=(2, 1, 300, 300), dtype="uint16",
        zarr_format=2, overwrite=True,
    )  # fmt: skip
    plate.forget(FIELD)
    with pytest.raises(WriteError, match="0 to 1 on axis 0 of B/03/0/0 cut a write unit of 2"):
        write_frames(plate, FIELD, 0, pixels[:1])
    assert write_frames(plate, FIELD, 0, pixels)


def test_an_image_without_time_takes_one_frame(tmp_path, pixels):
    plate = create_plate(
        tmp_path / "demo.zarr", PlateLayout("demo", "0.4", ("B",), ("03",), (FIELD.well,))
    )
    create_field_image(
        plate, FIELD, ImageSpec(("y", "x"), (300, 260), "uint16", (Channel("phase"),))
    )
    with pytest.raises(WriteError, match="B/03/0 has no time axis: it takes one frame, not 2"):
        write_frames(plate, FIELD, 0, pixels[:, :1])


def test_levels_that_are_no_halves_are_refused(tmp_path, make_plate, pixels):
    plate = make_plate(tmp_path / "demo.zarr")
    store = plate.storage.zarr_store(read_only=False)
    zarr.create_array(
        store, name="B/03/0/1", shape=(2, 2, 100, 90), chunks=(1, 1, 300, 300), dtype="uint16",
        zarr_format=2, overwrite=True,
    )  # fmt: skip
    plate.forget(FIELD)
    with pytest.raises(WriteError, match="level 1 of B/03/0 is 100 x 90 pixels, not half"):
        write_frames(plate, FIELD, 0, pixels)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left to write B/03"), (errno.EROFS, "it is read-only")],
)
def test_a_disk_that_is_full_or_read_only_is_said_to_be(
    tmp_path, make_plate, monkeypatch, number, words
):
    plate = make_plate(tmp_path / "demo.zarr")
    create_label_image(plate, FIELD, "ssl_cells", {})

    async def refuse(*arguments, **named):
        raise OSError(number, "no")

    monkeypatch.setattr(LocalStore, "set", refuse)
    with pytest.raises(WriteError, match=words):
        write_label_frames(plate, FIELD, "ssl_cells", 0, np.zeros((2, 300, 260), np.uint32))


def test_a_label_image_of_no_field_is_missing(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    with pytest.raises(MissingError, match="well B/03 has no field 7 "):
        create_label_image(plate, FieldPath(WellPath("B", "03"), "7"), "ssl_cells", {})
