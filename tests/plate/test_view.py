"""What a user gets in a notebook."""

import json
import pickle

import dask
import numpy as np
import pandas as pd
import pytest

import hcs
from hcs.errors import CorruptError, MissingError, PlateError
from hcs.plate.path import FieldPath
from hcs.plate.table import write_table
from hcs.plate.write import create_label_image, write_empty_label_image, write_label_frames

FIELD = FieldPath.parse("B/03/0")


def test_pixels_come_with_names_and_sizes(root_url, make_plate, kind, pixels):
    make_plate(f"{root_url}/demo.zarr", kind, ("B/03",))
    view = hcs.open_plate(f"{root_url}/demo.zarr")["B/03/0"].to_xarray()
    assert view.dims == ("t", "c", "z", "y", "x")
    assert dask.is_dask_collection(view)
    frame = view.sel(c="nuclei", t=900.0).isel(z=0)
    np.testing.assert_array_equal(frame, pixels[1, 1, 0])
    np.testing.assert_allclose(view.y[:3], [0, 0.65, 1.3])
    assert {axis: view[axis].attrs.get("units") for axis in "tczyx"} == {
        "t": "second", "c": None, "z": "1", "y": "micrometer", "x": "micrometer",
    }  # fmt: skip


def test_labels_lie_on_the_pixels(tmp_path, make_plate, kind, pixels):
    plate = make_plate(tmp_path / "demo.zarr", kind, ("B/03",))
    create_label_image(plate, FIELD, "ssl_cells", {})
    frames = (pixels[:, 0, 0] % 50).astype(np.uint32)
    write_label_frames(plate, FIELD, "ssl_cells", 0, frames)
    field = plate["B/03/0"]
    assert dict.fromkeys(field.labels) == {"ssl_cells": None}
    assert "ssl_cells" in field.labels
    assert len(field.labels) == 1
    labels = field.labels["ssl_cells"].to_xarray()
    assert labels.dims == ("t", "z", "y", "x")
    assert labels.name == "ssl_cells"
    np.testing.assert_array_equal(labels[:, 0], pixels[:, 0, 0] % 50)
    np.testing.assert_array_equal(labels.y, field.to_xarray().y)
    coarse = field.labels["ssl_cells"].to_xarray(level=1)
    np.testing.assert_allclose(coarse.x[:2], [0, 1.3])


def test_a_field_says_what_it_holds(tmp_path, make_plate):
    field = make_plate(tmp_path / "demo.zarr")["B/03/0"]
    assert repr(field) == (
        "<Field B/03/0: t=2 c=2 z=1 y=300 x=260; channels: phase, nuclei; labels: none>"
    )


def test_calibration_from_the_user_moves_the_coordinates(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    view = hcs.open_plate(tmp_path / "demo.zarr", pixel_size_um=2, interval_s=5)["B/03/0"]
    assert view.to_xarray(level=1).x[1] == 4
    assert view.to_xarray().t[1] == 5


def test_positions_of_the_plate_are_kept(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    path = tmp_path / "demo.zarr/B/03/0/.zattrs"
    attributes = json.loads(path.read_text())
    move = {"type": "translation", "translation": [0, 0, 65, 0]}
    attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(move)
    path.write_text(json.dumps(attributes))
    view = hcs.open_plate(tmp_path / "demo.zarr")["B/03/0"].to_xarray()
    np.testing.assert_allclose(view.y[:2], [65, 65.65])


def test_stains_lie_in_a_plate_beside_it(tmp_path, make_plate, pixels):
    make_plate(tmp_path / "demo.zarr")
    make_plate(tmp_path / "demo_isl-model.zarr", ("0.5", "chunked"))
    field = hcs.open_plate(tmp_path / "demo.zarr")["B/03/0"]
    stain = field.stains("isl-model").to_xarray().sel(c="nuclei")
    np.testing.assert_array_equal(stain[:, 0], pixels[:, 1, 0])
    with pytest.raises(PlateError, match=r"there is nothing at .*demo_isl-other\.zarr"):
        field.stains("isl-other")


def test_tables_are_pandas(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    table = pd.DataFrame({"object_id": ["ssl_cells_0"], "area": [1.5]})
    write_table(plate, FIELD, "ssl_cells_objects", table, "generic_table")
    write_table(plate, None, "wells", table, "generic_table")
    assert plate["B/03/0"].table("ssl_cells_objects")["area"].tolist() == [1.5]
    assert plate.table("wells")["area"].tolist() == [1.5]


def test_what_is_not_there_is_named(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    for level in (2, -1, "a", None):
        with pytest.raises(
            MissingError,
            match=rf"field B/03/0 has no level {level!r} \(it has 0, 1; 0 is full resolution\)",
        ):
            plate["B/03/0"].to_xarray(level=level)
    with pytest.raises(MissingError, match="well B/03 has no field 1"):
        plate["B/03/1"]
    with pytest.raises(PlateError, match="field path 'B/03' is not row/column/field"):
        plate["B/03"]
    with pytest.raises(MissingError, match="has no label image 'x'"):
        plate["B/03/0"].labels["x"]


def labelled_plate(folder, make_plate, kind, pixels):
    plate = make_plate(folder / "demo.zarr", kind, ("B/03",))
    create_label_image(plate, FIELD, "ssl_cells", {})
    manifest = write_label_frames(
        plate, FIELD, "ssl_cells", 0, (pixels[:, 0, 0] % 50).astype(np.uint32)
    )
    return hcs.open_plate(folder / "demo.zarr"), sorted(manifest)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 4
    path.write_bytes(content)


def test_what_was_lost_of_our_images_is_no_background(tmp_path, make_plate, kind):
    make_plate(tmp_path / "demo.zarr", kind)
    field = hcs.open_plate(tmp_path / "demo.zarr")["B/03/0"]
    for level in (0, 1):
        chunk = sorted((tmp_path / f"demo.zarr/B/03/0/{level}").glob("**/1/*/0/0"))[0]
        chunk.unlink()
        view = field.to_xarray(level)
        view[0].load()
        with pytest.raises(
            CorruptError,
            match=rf"field B/03/0, channel 'phase', frame 1: B/03/0/{level}/.* is missing",
        ):
            view.sel(c="phase")[1].load()


def test_what_was_lost_of_our_labels_is_no_background(tmp_path, make_plate, kind, pixels):
    plate, written = labelled_plate(tmp_path, make_plate, kind, pixels)
    lost = next(key for key in written if "/ssl_cells/0/" in key)
    (tmp_path / "demo.zarr" / lost).unlink()
    with pytest.raises(
        CorruptError, match=r"label image 'ssl_cells' of field B/03/0, frame 0: .* is missing"
    ):
        plate["B/03/0"].labels["ssl_cells"].to_xarray().load()


def test_a_flipped_bit_names_field_and_frame(tmp_path, make_plate, kind, pixels):
    plate, written = labelled_plate(tmp_path, make_plate, kind, pixels)
    flip_a_bit(tmp_path / "demo.zarr" / [key for key in written if "/ssl_cells/0/" in key][-1])
    labels = plate["B/03/0"].labels["ssl_cells"].to_xarray()
    labels[0].load()
    with pytest.raises(
        CorruptError, match="label image 'ssl_cells' of field B/03/0, frame 1: a chunk of"
    ):
        labels.load()


def test_a_label_image_of_a_failed_well_reads_as_background(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    write_empty_label_image(plate, FIELD, "ssl_cells", "failed")
    assert not plate["B/03/0"].labels["ssl_cells"].to_xarray().any()


def test_what_another_writer_left_out_is_empty_with_a_warning(tmp_path, make_plate, caplog):
    make_plate(tmp_path / "demo.zarr")
    path = tmp_path / "demo.zarr/B/03/0/.zattrs"
    attributes = json.loads(path.read_text())
    del attributes["hcs"]
    path.write_text(json.dumps(attributes))
    (tmp_path / "demo.zarr/B/03/0/0/1/1/0/0").unlink()
    view = hcs.open_plate(tmp_path / "demo.zarr")["B/03/0"].to_xarray()
    assert not view.sel(c="nuclei")[1].any()
    warned = "field B/03/0, channel 'nuclei', frame 1: B/03/0/0/1/1/0/0 is missing and reads as"
    assert warned in caplog.text


def test_a_part_costs_its_own_chunks_only(tmp_path, make_plate, pixels, asked):
    field = make_plate(tmp_path / "demo.zarr", ("0.5", "chunked"))["B/03/0"]
    view = field.to_xarray()
    assert asked == []
    part = view.sel(c="nuclei").isel(t=1, z=0)[5:9:2, 3]
    np.testing.assert_array_equal(part, pixels[1, 1, 0, 5:9:2, 3])
    assert asked == ["B/03/0/0/c/1/1/0/0"]


def test_a_view_travels_to_another_process(root_url, make_plate, kind, pixels):
    make_plate(f"{root_url}/demo.zarr", kind, ("B/03",))
    view = hcs.open_plate(f"{root_url}/demo.zarr")["B/03/0"].to_xarray()
    again = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(again[:, :, 0], pixels[:, :, 0])
