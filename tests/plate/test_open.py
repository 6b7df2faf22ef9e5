"""Opening: what is there, what is missing, what leads elsewhere."""

import json
import pickle
import shutil

import pytest

import hcs
from hcs.errors import MissingError, PlateError
from hcs.plate.open import label_key, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import create_label_image

WELL = WellPath("B", "03")
FIELD = FieldPath(WELL, "0")


def test_opening_reads_the_plate_s_own_metadata_only(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    shutil.rmtree(tmp_path / "demo.zarr/B")
    plate = hcs.open_plate(tmp_path / "demo.zarr")
    assert plate.layout.wells == (WellPath("A", "01"), WELL)
    assert repr(plate).endswith("demo.zarr', OME-Zarr 0.4, 2 wells)")
    assert plate.companion.url == str(tmp_path / "demo.hcs")


def test_an_open_plate_travels_to_other_processes(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    assert pickle.loads(pickle.dumps(plate)).field_image(FIELD) == plate.field_image(FIELD)


def test_calibration_from_the_settings_takes_the_plate_s_place(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    image = open_plate(tmp_path / "demo.zarr", pixel_size_um=0.3).field_image(FIELD)
    assert (image.pixel_size_um, image.interval_s) == (0.3, 900.0)


def test_what_is_not_there_is_named_with_what_is(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    with pytest.raises(MissingError, match=r"plate demo has no well A/02 \(it has A/01, B/03\)"):
        plate.well(WellPath("A", "02"))
    with pytest.raises(MissingError, match=r"well B/03 has no field 7 \(it has B/03/0\)"):
        plate.field_image(FieldPath(WELL, "7"))
    with pytest.raises(
        MissingError, match=r"B/03/0 has no label image 'x' \(run an analysis first"
    ):
        plate.label_image(FIELD, "x")
    with pytest.raises(MissingError, match=r"field B/03/0 has no channel 'x' \(it has 'phase', "):
        plate.field_image(FIELD).channel_index("x")
    with pytest.raises(MissingError, match="there is no array at B/03/0/7"):
        plate.array("B/03/0/7")
    with pytest.raises(PlateError, match=r"there is nothing at .*demo_isl-stain\.zarr"):
        plate.sister("isl-stain")


def test_a_long_list_is_cut(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    names = [f"label{number}" for number in range(12)]
    (tmp_path / "demo.zarr/B/03/0/labels").mkdir()
    (tmp_path / "demo.zarr/B/03/0/labels/.zattrs").write_text(json.dumps({"labels": names}))
    with pytest.raises(MissingError, match="label9 and 2 more"):
        plate.label_image(FIELD, "x")


def test_a_folder_that_is_listed_but_missing_is_named(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    shutil.rmtree(tmp_path / "demo.zarr/B/03/0/1")
    with pytest.raises(MissingError, match=r"field B/03/0 has no level 1 \(its metadata list 0, 1"):
        plate.field_image(FIELD)
    shutil.rmtree(tmp_path / "demo.zarr/B/03/0")
    with pytest.raises(MissingError, match="field B/03/0 is listed, but there is nothing at"):
        plate.field_image(FIELD)
    shutil.rmtree(tmp_path / "demo.zarr/B/03")
    with pytest.raises(MissingError, match="well B/03 is listed, but there is nothing at"):
        open_plate(tmp_path / "demo.zarr").well(WELL)


@pytest.mark.parametrize("part", ["B", "B/03", "B/03/0", "B/03/0/0"])
def test_links_that_leave_the_plate_are_refused(tmp_path, make_plate, part):
    make_plate(tmp_path / "demo.zarr")
    inside = tmp_path / "demo.zarr" / part
    shutil.move(inside, tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlateError, match="is a link that leaves the plate demo"):
        open_plate(tmp_path / "demo.zarr").field_image(FIELD)


def test_a_plate_that_is_a_link_is_fine(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "demo.zarr")
    assert open_plate(tmp_path / "link.zarr").field_image(FIELD).n_frames == 2


@pytest.mark.parametrize("name", ["../../../x", "/etc", "", "a//b"])
def test_label_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(PlateError, match="leaves the plate"):
        label_key(FIELD, name)


def test_warnings_are_remembered_once(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    path = tmp_path / "demo.zarr/B/03/0/.zattrs"
    attributes = json.loads(path.read_text())
    del attributes["multiscales"][0]["version"]
    path.write_text(json.dumps(attributes))
    plate = open_plate(tmp_path / "demo.zarr")
    assert plate.warnings == ()
    for _ in range(2):
        plate.field_image(FIELD)
        plate.forget(FIELD)
    assert plate.warnings == ("field B/03/0 does not say its OME-Zarr version",)


def test_consolidated_metadata_do_not_hide_what_was_added(tmp_path, make_plate, kind):
    import warnings

    import zarr

    plate = make_plate(tmp_path / "demo.zarr", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(plate.storage.zarr_store(read_only=False))
    create_label_image(plate, FIELD, "ssl_cells", {})
    assert open_plate(tmp_path / "demo.zarr").label_image(FIELD, "ssl_cells").dtype == "uint32"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("zstd", "zzzz"),
        lambda text: text.replace("shape", "form"),
        lambda text: "[]",
    ],
)
def test_array_metadata_that_make_no_sense_are_named(tmp_path, make_plate, kind, damage):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    name = ".zarray" if kind[0] == "0.4" else "zarr.json"
    path = tmp_path / "demo.zarr/B/03/0/0" / name
    path.write_text(damage(path.read_text()))
    with pytest.raises(PlateError, match="the array at B/03/0/0 cannot be opened"):
        plate.field_image(FIELD)
