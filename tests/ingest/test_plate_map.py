import pytest

from hcs.errors import ImportFilesError
from hcs.ingest.plate_map import read_plate_map
from hcs.plate.path import FieldPath

FIELDS = [FieldPath.parse(text) for text in ("A/01/0", "A/01/1", "B/12/0")]


def test_wells_are_joined_in_the_order_of_the_plate(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("well,drug,concentration\nB12,nocodazole,0.5\nA1,DMSO,0\n")
    table, warnings = read_plate_map(path, FIELDS)
    assert table.to_dict("list") == {
        "row": ["A", "B"],
        "column": ["01", "12"],
        "path_in_well": ["0", "0"],
        "drug": ["DMSO", "nocodazole"],
        "concentration": [0.0, 0.5],
    }
    assert warnings == []


def test_row_and_column_serve_too(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("row,column,drug\nA,1,x\nB,12,y\n")
    assert read_plate_map(path, FIELDS)[0]["drug"].tolist() == ["x", "y"]


def test_wells_without_a_line_and_lines_without_a_well_are_warnings(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("well,drug\nA01,x\nH12,y\n")
    table, warnings = read_plate_map(path, FIELDS)
    assert table["drug"].isna().tolist() == [False, True]
    assert warnings == ["the plate map lacks B/12", "the plate map names H/12, not in the plate"]


def test_all_bad_lines_are_told_at_once(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("well,drug\nA01,x\nA/01,y\nfirst,z\n")
    with pytest.raises(ImportFilesError) as error:
        read_plate_map(path, FIELDS)
    assert "line 3: A01 is there already; line 4: well 'first' is none" in str(error.value)


def test_a_map_without_wells_is_refused(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("drug\nx\n")
    with pytest.raises(ImportFilesError, match=r"no column 'well', nor 'row' and 'column'"):
        read_plate_map(path, FIELDS)


NO_CSV = {
    "Latin-1": "well,drug\nA01,5 µM\n".encode("latin-1"),
    "UTF-16": "well,drug\nA01,5 µM\n".encode("utf-16"),
    "nothing": b"",
    "an open quote": b'well,drug\nA01,"x\n',
    "more columns than its header": b"well,drug\nA01,x\nB12,x,y\n",
}


@pytest.mark.parametrize("content", NO_CSV.values(), ids=NO_CSV)
def test_a_file_that_is_no_csv_is_told_with_what_to_do(tmp_path, content):
    path = tmp_path / "map.csv"
    path.write_bytes(content)
    with pytest.raises(
        ImportFilesError, match=r"map\.csv is no CSV file: .*save it as CSV in UTF-8"
    ):
        read_plate_map(path, FIELDS)


@pytest.mark.parametrize("well", ["B\N{ARABIC-INDIC DIGIT THREE}", "B\N{SUPERSCRIPT TWO}"])
def test_a_digit_of_another_script_names_no_well(tmp_path, well):
    path = tmp_path / "map.csv"
    path.write_text(f"well,drug\n{well},x\n", encoding="utf-8")
    with pytest.raises(ImportFilesError, match=f"line 2: well '{well}' is none"):
        read_plate_map(path, FIELDS)


def test_a_well_of_too_many_digits_is_not_in_the_plate(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text(f"well,drug\nA01,x\nB12,x\nA{'9' * 5000},x\n")
    assert "not in the plate" in read_plate_map(path, FIELDS)[1][0]
    path.write_text(f"row,column,drug\n{'9' * 5000},1,x\n")
    with pytest.raises(ImportFilesError, match=r"row number 9{9} is not one .*up to 999"):
        read_plate_map(path, FIELDS)
