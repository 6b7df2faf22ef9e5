import numpy as np
import pytest
import tifffile

from hcs.errors import MissingError
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


def test_nothing_is_written_where_a_field_lacks_the_label_image(
    sequence_plate, put, draw, tmp_path
):
    put(sequence_plate, "A/01/0", [draw()] * 3)
    with pytest.raises(
        MissingError, match="1 of 2 fields have no label image 'ssl_cells', first A/02/0"
    ):
        export_labels(sequence_plate, tmp_path / "out", "ssl_cells", lambda one: None)
    assert not (tmp_path / "out").exists()


def test_a_failed_well_has_no_files(sequence_plate, put, draw, tmp_path):
    put(sequence_plate, "A/01/0", [draw()] * 3)
    write_empty_label_image(sequence_plate, FieldPath.parse("A/02/0"), "ssl_cells", "failed")
    told = []
    export_labels(sequence_plate, tmp_path / "out", "ssl_cells", told.append)
    assert [one.n_files for one in told] == [3, 0]
    assert not (tmp_path / "out/s2").exists()
