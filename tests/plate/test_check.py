"""All problems of all wells in one message, and the good wells told apart."""

import json
import shutil

import pytest

from hcs.errors import PlateError
from hcs.plate.check import check_plate, find_problems
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import ImageSpec, create_field_image, create_plate

WELLS = ("A/01", "A/02", "A/03", "B/01", "B/03")


def edit(plate_folder, field, change):
    path = plate_folder / field / ".zattrs"
    attributes = json.loads(path.read_text())
    change(attributes)
    path.write_text(json.dumps(attributes))


def test_a_sound_plate_has_nothing_to_say(tmp_path, make_plate, kind):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    assert check_plate(plate, channel="phase") == []


def test_all_problems_come_in_one_message_and_spare_the_good_wells(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr", wells=WELLS)
    folder = tmp_path / "demo.zarr"
    shutil.rmtree(folder / "A/02")
    shutil.rmtree(folder / "A/03/0/1")
    edit(folder, "B/03/0", lambda a: a["omero"]["channels"][0].update(label="bright"))
    plate = open_plate(folder)
    with pytest.raises(PlateError) as caught:
        check_plate(plate, channel="phase")
    for words in (
        "plate demo has 3 problems: well A/02 is listed, but there is nothing at",
        "field A/03/0 has no level 1",
        "field B/03/0 has no channel 'phase' (it has 'bright', 'nuclei')",
    ):
        assert words in str(caught.value)
    wells = {str(well) for well, _ in find_problems(plate, channel="phase").problems}
    assert wells == {"A/02", "A/03", "B/03"}
    good = [WellPath.parse(text) for text in ("A/01", "B/01")]
    assert check_plate(plate, channel="phase", wells=good) == []


def test_a_well_that_the_plate_lacks_is_a_problem(tmp_path, make_plate):
    plate = make_plate(tmp_path / "demo.zarr")
    with pytest.raises(PlateError, match="demo has 1 problem: plate demo has no well A/02"):
        check_plate(plate, wells=[WellPath("A", "02")])


def mixed_plate(folder, shapes, **changes):
    """A plate with a well of each shape (t, c, y, x)."""
    paths = [WellPath("A", f"0{number}") for number in range(len(shapes))]
    columns = tuple(path.column for path in paths)
    plate = create_plate(folder, PlateLayout("demo", "0.4", ("A",), columns, tuple(paths)))
    for path, shape in zip(paths, shapes, strict=True):
        channels = tuple(Channel(f"c{i}") for i in range(shape[1]))
        spec = ImageSpec(("t", "c", "y", "x"), shape, "uint8", channels, **changes)
        create_field_image(plate, FieldPath(path, "0"), spec)
    return open_plate(folder)


def test_fields_that_are_not_like_most_are_problems(tmp_path):
    plate = mixed_plate(tmp_path / "demo.zarr", [(1, 1, 8, 8), (1, 2, 8, 8), (1, 1, 8, 8)])
    with pytest.raises(PlateError) as caught:
        check_plate(plate)
    assert str(caught.value) == (
        "plate demo has 1 problem: field A/01/0 is uint8 c=2 z=1 y=8 x=8 (c0, c1), 1 levels, "
        "most fields are uint8 c=1 z=1 y=8 x=8 (c0), 1 levels"
    )


def test_another_number_of_frames_is_odd_only(tmp_path):
    sizes = {"pixel_size_um": 1.0, "interval_s": 60.0}
    plate = mixed_plate(tmp_path / "demo.zarr", [(3, 1, 8, 8), (2, 1, 8, 8)], **sizes)
    (warning,) = check_plate(plate)
    assert warning.startswith("fields differ in their number of frames (1 with 2, 1 with 3)")


def test_sizes_that_nobody_tells_are_asked_for(tmp_path):
    plate = mixed_plate(tmp_path / "demo.zarr", [(3, 1, 8, 8)])
    warnings = check_plate(plate)
    assert "the plate does not tell its pixel size: give it in the settings" in warnings
    assert (
        "the plate does not tell its interval between frames: give it in the settings" in warnings
    )
    single = mixed_plate(tmp_path / "single.zarr", [(1, 1, 8, 8)])
    assert not any("tell its interval" in warning for warning in check_plate(single))


def test_sizes_that_differ_are_odd(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")

    def change(attributes):
        for level in attributes["multiscales"][0]["datasets"]:
            level["coordinateTransformations"][0]["scale"][-2:] = [0.3, 0.3]

    edit(tmp_path / "demo.zarr", "B/03/0", change)
    assert check_plate(open_plate(tmp_path / "demo.zarr")) == [
        "fields differ in their pixel size: 0.3, 0.65"
    ]


def test_chunks_without_a_checksum_are_odd(tmp_path, make_plate):
    make_plate(tmp_path / "demo.zarr")
    for well in ("A/01", "B/03"):
        path = tmp_path / "demo.zarr" / well / "0/0/.zarray"
        array = json.loads(path.read_text())
        path.write_text(json.dumps(array | {"compressor": None}))
    (warning,) = check_plate(open_plate(tmp_path / "demo.zarr"))
    assert "the plate's chunks have no checksum" in warning
