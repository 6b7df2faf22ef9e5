import shutil

import numpy as np
import pytest
import tifffile

from hcs.errors import MissingError, WriteError
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.write import write_empty_label_image
from hcs.run.export import export_labels


def test_a_folder_per_sequence_and_a_file_per_source_number(sequence_plate, put, draw, tmp_path):
    labels = [draw((70_000 + k, 4, 4 + k, 8)) for k in range(3)]
    put(sequence_plate, "A/01/0", labels)
    put(sequence_plate, "A/02/0", [draw()] * 2)
    told = []
    export_labels(sequence_plate, tmp_path / "out", "ssl_cells", told.append)
    names = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in told[0].folder.iterdir()
    )
    assert names == ["s1/t020.tif", "s1/t021.tif", "s1/t022.tif"]
    assert [(str(one.field), one.folder.name, one.n_files) for one in told] == [
        ("A/01/0", "s1", 3),
        ("A/02/0", "s2", 2),
    ]
    for time, truth in zip((20, 21, 22), labels, strict=True):
        image = tifffile.imread(tmp_path / f"out/s1/t{time:03d}.tif")
        assert image.dtype == np.uint32
        assert np.array_equal(image, truth)


def test_fields_that_were_not_imported_are_named_by_well(sequence_plate, put, draw, tmp_path):
    put(sequence_plate, "A/01/0", [draw()] * 3)
    put(sequence_plate, "A/02/0", [draw()] * 2)
    sequence_plate.companion.delete("import.json")
    export_labels(sequence_plate, tmp_path / "out", "ssl_cells", lambda one: None)
    assert (tmp_path / "out/A02_0/t001.tif").is_file()


def test_nothing_is_written_where_no_field_has_the_label_image(sequence_plate, tmp_path):
    words = r"no field has a label image 'ssl_cells' \(run an analysis first: hcs run"
    with pytest.raises(MissingError, match=words):
        export_labels(sequence_plate, tmp_path / "out", "ssl_cells", lambda one: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["absent", "without labels", "truncated"])
def test_a_bad_well_costs_no_other_its_files(sequence_plate, put, draw, tmp_path, kind):
    put(sequence_plate, "A/01/0", [draw((9, 4, 4, 8))] * 3)
    put(sequence_plate, "A/02/0", [draw((k, 4, 4, 8)) for k in (3, 4)])
    well = tmp_path / "set.zarr/A/02"
    if kind == "truncated":
        # the second frame: the first is written before the damage is met
        (chunk,) = (p for p in (well / "0/labels/ssl_cells/0/1").rglob("*") if p.is_file())
        chunk.write_bytes(chunk.read_bytes()[:5])
    else:
        shutil.rmtree(well if kind == "absent" else well / "0/labels")
    told = []
    plate = open_plate(sequence_plate.storage.url)
    (left_out,) = export_labels(plate, tmp_path / "out", "ssl_cells", told.append)
    assert str(left_out).startswith("A/02 is left out: ")
    assert [(str(one.field), one.n_files) for one in told] == [("A/01/0", 3)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s1"]


def test_a_plate_of_bad_wells_is_an_error(sequence_plate, tmp_path):
    for column in ("01", "02"):
        shutil.rmtree(tmp_path / "set.zarr/A" / column)
    plate = open_plate(sequence_plate.storage.url)
    with pytest.raises(MissingError, match="well A/01 is listed, but there is nothing at"):
        export_labels(plate, tmp_path / "out", "ssl_cells", lambda one: None)


def test_an_export_that_cannot_write_stops(sequence_plate, put, draw, tmp_path):
    put(sequence_plate, "A/01/0", [draw()] * 3)
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(WriteError, match=r"cannot write .*out/s1"):
        export_labels(sequence_plate, tmp_path / "out", "ssl_cells", lambda one: None)


def test_a_failed_well_has_no_files(sequence_plate, put, draw, tmp_path):
    put(sequence_plate, "A/01/0", [draw()] * 3)
    write_empty_label_image(sequence_plate, FieldPath.parse("A/02/0"), "ssl_cells", "failed")
    told = []
    export_labels(sequence_plate, tmp_path / "out", "ssl_cells", told.append)
    assert [one.n_files for one in told] == [3, 0]
    assert not (tmp_path / "out/s2").exists()
