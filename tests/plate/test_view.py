"""What a user gets in a notebook."""

import json

import dask
import numpy as np
import pandas as pd
import pytest

import hcs
from hcs.errors import MissingError, PlateError
from hcs.plate.path import FieldPath
from hcs.plate.table import write_table
from hcs.plate.write import create_label_image, write_label_frames

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
    with pytest.raises(PlateError, match=r"demo_isl-other\.zarr is no OME-Zarr plate"):
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
    with pytest.raises(MissingError, match=r"B/03/0 has no level 2 \(it has 2, counted from 0\)"):
        plate["B/03/0"].to_xarray(level=2)
    with pytest.raises(MissingError, match="well B/03 has no field 1"):
        plate["B/03/1"]
    with pytest.raises(PlateError, match="field path 'B/03' is not row/column/field"):
        plate["B/03"]
    with pytest.raises(MissingError, match="has no label image 'x'"):
        plate["B/03/0"].labels["x"]
