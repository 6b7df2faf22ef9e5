"""Making plates and fields: strict, and nothing is overwritten."""

from dataclasses import replace

import pytest

from hcs.errors import MissingError, WriteError
from hcs.plate.create import create_empty_label_image, create_wells
from hcs.plate.levels import chunk_side
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import ImageSpec, create_field_image, create_plate

WELL = WellPath("B", "03")
FIELD = FieldPath(WELL, "0")
LAYOUT = PlateLayout("demo", "0.4", ("A", "B"), ("03",), (WELL,))
SPEC = ImageSpec(("y", "x"), (9, 7), "uint8", (Channel("phase"),))


def test_a_plate_is_not_made_twice(tmp_path):
    create_plate(tmp_path / "demo.zarr", LAYOUT)
    with pytest.raises(WriteError, match="there is already a plate at"):
        create_plate(tmp_path / "demo.zarr", LAYOUT)


def test_a_field_is_not_made_twice(tmp_path):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    create_field_image(plate, FIELD, SPEC)
    with pytest.raises(WriteError, match="field B/03/0 is there already"):
        create_field_image(plate, FIELD, SPEC)


def test_fields_join_their_well_in_the_order_they_are_made(tmp_path):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    create_field_image(plate, FieldPath(WELL, "1"), SPEC)
    create_field_image(plate, FIELD, SPEC)
    well = open_plate(tmp_path / "demo.zarr").well(WELL)
    assert [field.name for field in well.fields] == ["1", "0"]


def test_fields_listed_beforehand_are_not_listed_again(tmp_path):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    create_wells(plate, [FIELD, FieldPath(WELL, "1")], acquisition=3)
    before = plate.storage.read("B/03/.zattrs")
    create_field_image(plate, FieldPath(WELL, "1"), SPEC)
    assert plate.storage.read("B/03/.zattrs") == before
    assert plate.well(WELL).acquisitions == (3, 3)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_empty_label_image_that_was_never_finished_does_not_pass_for_one(
    version, tmp_path, monkeypatch
):
    plate = create_plate(tmp_path / "demo.zarr", replace(LAYOUT, version=version))
    create_field_image(plate, FIELD, SPEC)
    monkeypatch.setattr("hcs.plate.create.create_array", killed)
    with pytest.raises(KeyboardInterrupt):
        create_empty_label_image(plate, FIELD, "ssl_cells", "failed")
    assert not plate.storage.sizes("B/03/0/labels/ssl_cells")
    monkeypatch.undo()
    create_empty_label_image(plate, FIELD, "ssl_cells", "failed")
    assert plate.attributes("B/03/0/labels/ssl_cells")["state"] == "failed"


def killed(*_arguments, **_options):
    raise KeyboardInterrupt


def test_a_well_that_the_plate_lacks_is_not_made(tmp_path):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    other = FieldPath(WellPath("A", "03"), "0")
    with pytest.raises(MissingError, match="plate demo has no well A/03"):
        create_field_image(plate, other, SPEC)
    with pytest.raises(MissingError, match="plate demo has no well A/03"):
        create_wells(plate, [other])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": ("x", "y")}, "axes x y are no subset"),
        ({"axes": ("t", "y")}, "axes t y are no subset"),
        ({"shape": (9,)}, "2 axes do not have the shape (9,)"),
        ({"shape": (9, 0)}, "shape (9, 0) holds no pixel"),
        ({"channels": ()}, "1 channels need names that differ, there are: none"),
        ({"axes": ("c", "y", "x"), "shape": (2, 9, 7)}, "2 channels need names that differ"),
        ({"dtype": "U3"}, "pixels of type U3 are not numbers"),
        ({"pixel_size_um": -1.0}, "pixel_size_um is -1.0, not a positive number"),
        ({"storage": "sharded"}, "shards need OME-Zarr 0.5"),
    ],
)
def test_specs_that_contradict_themselves_are_refused(tmp_path, changes, words):
    plate = create_plate(tmp_path / "demo.zarr", LAYOUT)
    with pytest.raises(WriteError, match="field B/03/0 cannot be made") as caught:
        create_field_image(plate, FIELD, replace(SPEC, **changes))
    assert words in str(caught.value)
    assert not plate.storage.exists("B/03/.zattrs")


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((1, 1), 1),
        ((512, 512), 512),
        ((1024, 1024), 1024),
        ((1080, 1080), 1080),
        ((1200, 1200), 600),
        ((2160, 2560), 540),
    ],
)
def test_chunks_are_a_plane_or_512_to_1080(shape, side):
    assert chunk_side(shape) == side
