"""Metadata of plates and wells: what is written is read, what is wrong is said all at once."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.errors import PlateError
from hcs.plate.describe import plate_attributes, well_attributes
from hcs.plate.ngff import parse_plate, parse_well, read_root
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage
from tests.strategies import damaged_json, plate_layouts, versions

WELL = WellPath("B", "03")


def plate_section(**changes):
    plate = {
        "version": "0.4",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "03"}],
        "wells": [{"path": "B/03", "rowIndex": 1, "columnIndex": 0}],
    }
    return {"plate": plate | changes}


@given(plate_layouts())
def test_a_plate_comes_back_as_it_was(layout):
    read, warnings = parse_plate(layout.name, layout.version, plate_attributes(layout))
    assert read == layout
    assert warnings == ()


@given(versions())
def test_a_well_comes_back_as_it_was(version):
    fields = (FieldPath(WELL, "0"), FieldPath(WELL, "1"))
    well, warnings = parse_well(WELL, version, well_attributes(version, fields, (0, None)))
    assert (well.fields, well.acquisitions) == (fields, (0, None))
    assert warnings == ()


def test_wells_are_in_the_order_of_the_grid():
    wells = [{"path": "B/03", "rowIndex": 1, "columnIndex": 0}, {"path": "A/03", "rowIndex": 1}]
    layout, warnings = parse_plate("demo", "0.4", plate_section(wells=wells))
    assert [str(well) for well in layout.wells] == ["A/03", "B/03"]
    assert warnings == ("well A/03 is at (0, 0) of the grid, but says (1, None)",)


def test_names_that_are_numbers_are_read():
    columns = [{"name": 3}]
    layout, _ = parse_plate("demo", "0.4", plate_section(columns=columns, wells=[{"path": "A/3"}]))
    assert layout.wells == (WellPath("A", "3"),)


def test_a_plate_without_wells_is_odd():
    _, warnings = parse_plate("demo", "0.4", plate_section(wells=[]))
    assert warnings == ("the plate lists no well",)


def test_all_problems_come_in_one_message():
    wells = [{"path": path} for path in ("../x", "B/03", "B/03", "C/03", "/etc", "B/03/0", "B/..")]
    attributes = plate_section(rows=[{"name": "A"}, {"name": "B"}, {"name": "B"}], wells=wells)
    with pytest.raises(PlateError) as caught:
        parse_plate("demo", "0.4", attributes)
    for words in (
        "plate demo has 7 problems",
        "row 'B' is listed 2 times",
        "row name '..' is not alphanumeric",
        "well B/03 is listed 2 times",
        "well C/03 is not in the plate's rows and columns",
        "row name '' is not alphanumeric",
        "well path 'B/03/0' is not row/column",
        "column name '..' is not alphanumeric",
    ):
        assert words in str(caught.value)


def test_parts_of_another_shape_are_named():
    with pytest.raises(
        PlateError,
        match=r"plate demo has 2 problems: plate\.rows: .*; plate\.wells\.0\.path: field required",
    ):
        parse_plate("demo", "0.4", plate_section(rows=None, wells=[{}]))


def test_all_problems_of_a_well_come_in_one_message():
    images = [{"path": "0"}, {"path": "0"}, {"path": "../1"}]
    with pytest.raises(
        PlateError,
        match=r"B/03 has 2 problems: field 0 is listed 2 times; field name '\.\./1' is not",
    ):
        parse_well(WELL, "0.4", {"well": {"images": images}})
    with pytest.raises(PlateError, match=r"well B/03: well\.images: field required"):
        parse_well(WELL, "0.4", {})


def test_missing_and_foreign_versions_are_odd():
    images = {"images": [{"path": "0"}]}
    assert parse_well(WELL, "0.4", {"well": images})[1] == (
        "well B/03 does not say its OME-Zarr version",
    )
    assert parse_well(WELL, "0.5", {"ome": {"version": "0.4", "well": images}})[1] == (
        "well B/03 says OME-Zarr 0.4, its plate 0.5",
    )


def storage_of(folder, **files):
    names = {"v2": ".zattrs", "v3": "zarr.json"}
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / names[name]).write_text(text)
    return Storage.open(folder)


def test_a_folder_without_metadata_is_no_plate(tmp_path):
    with pytest.raises(PlateError, match=r"is no OME-Zarr plate: there is neither zarr.json nor"):
        read_root(storage_of(tmp_path))


def test_what_is_not_there_is_not_called_a_bad_plate(tmp_path):
    url = tmp_path / "demo.zar"
    with pytest.raises(PlateError, match=f"^there is nothing at {url} "):
        read_root(Storage.open(url))


@pytest.mark.parametrize(
    ("attributes", "what"), [({"multiscales": []}, "one image"), ({}, "no plate")]
)
def test_what_is_no_plate_is_said_to_be_none_by_its_whole_path(tmp_path, attributes, what):
    with pytest.raises(PlateError, match=f"^{tmp_path} holds {what}: its metadata have no 'plate'"):
        read_root(storage_of(tmp_path, v2=attributes))


def test_zarr_v3_without_ome_is_no_plate(tmp_path):
    with pytest.raises(PlateError, match="its Zarr v3 attributes hold no 'ome'"):
        read_root(storage_of(tmp_path, v3={"zarr_format": 3, "attributes": {"plate": {}}}))


@pytest.mark.parametrize("version", ["0.6", "0.6rc1", "0.4"])
def test_versions_that_we_cannot_read_are_refused(tmp_path, version):
    document = {"zarr_format": 3, "attributes": {"ome": {"version": version}}}
    with pytest.raises(
        PlateError, match=rf"is OME-Zarr {version} in Zarr v3: 0\.4 \(Zarr v2\) and"
    ):
        read_root(storage_of(tmp_path, v3=document))


def test_old_versions_are_refused(tmp_path):
    with pytest.raises(PlateError, match=r"is OME-Zarr 0\.3 in Zarr v2"):
        read_root(storage_of(tmp_path, v2={"plate": {"version": "0.3"}}))


@pytest.mark.parametrize(
    "files", [{"v2": {"plate": {}}}, {"v3": {"attributes": {"ome": {"plate": {}}}}}]
)
def test_a_missing_version_is_taken_from_the_zarr_format(tmp_path, files):
    version, _, warnings = read_root(storage_of(tmp_path, **files))
    assert version == ("0.4" if "v2" in files else "0.5")
    assert warnings == (f"the plate does not say its OME-Zarr version; read as {version}",)


@pytest.mark.parametrize(("text", "words"), [('{"plate"', "no JSON \\("), ("[]", "no JSON object")])
def test_damaged_metadata_are_said_to_be_damaged(tmp_path, text, words):
    with pytest.raises(PlateError, match=f"zattrs is damaged: {words}"):
        read_root(storage_of(tmp_path, v2=text))


@settings(max_examples=60)
@given(st.data())
def test_whatever_the_metadata_say_only_plate_errors_are_raised(data):
    attributes = data.draw(damaged_json(plate_section(acquisitions=[{"id": 0, "name": "x"}])))
    with suppress(PlateError):
        parse_plate("demo", "0.4", attributes)
    with suppress(PlateError):
        parse_well(WELL, "0.4", data.draw(damaged_json({"well": {"images": [{"path": "0"}]}})))
