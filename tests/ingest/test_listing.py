from pathlib import Path

import pytest

from hcs.errors import ImportFilesError
from hcs.ingest.listing import read_listing, write_listing
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import


def listing(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "listing.csv"
    path.write_text(text)
    return path


def test_wells_are_read_as_people_write_them(tmp_path):
    path = listing(tmp_path, "path,well,row,column,time\na,B3,,,1\nb,B/03,,,02\nc,,2,3,3\n")
    files = read_listing(path, tmp_path)
    assert [str(file.well) for file in files] == ["B/03"] * 3
    assert [file.time for file in files] == [1, 2, 3]
    assert files[0].path == tmp_path / "a"


def test_all_bad_lines_are_told_at_once(tmp_path):
    path = listing(tmp_path, "path,well,time\na,B3,one\n,B3,1\nc,33,1\nd,,1\n")
    with pytest.raises(ImportFilesError) as error:
        read_listing(path, tmp_path)
    words = str(error.value)
    assert "line 2: time 'one' is no number" in words
    assert "line 3: no path" in words
    assert "line 4: well '33' is none" in words
    assert "line 5: well '' is none" in words


def test_columns_are_checked(tmp_path):
    with pytest.raises(ImportFilesError, match=r"unknown column 'file'.*no column 'path'"):
        read_listing(listing(tmp_path, "file,well\na,B3\n"), tmp_path)


def test_the_columns_there_are_are_told_once(tmp_path):
    with pytest.raises(ImportFilesError) as error:
        read_listing(listing(tmp_path, "path,plot,wall\na,1,2\n"), tmp_path)
    words = str(error.value)
    assert "unknown columns 'plot', 'wall'; there are path, page, well, field" in words
    assert words.count("there are") == 1


@pytest.mark.parametrize(
    "content",
    ["path,well,channel\na,B3,µ\n".encode("latin-1"), b'path,well\na,"' + b"x" * 200_000],
    ids=["Latin-1", "an open quote"],
)
def test_a_file_that_is_no_csv_is_told_with_what_to_do(tmp_path, content):
    path = tmp_path / "listing.csv"
    path.write_bytes(content)
    with pytest.raises(ImportFilesError, match=r"is no CSV file: .*save it as CSV in UTF-8"):
        read_listing(path, tmp_path)


def test_what_python_takes_for_a_number_and_is_none_is_told_with_its_line(tmp_path):
    path = tmp_path / "listing.csv"
    cells = ["B\N{ARABIC-INDIC DIGIT THREE},1", "B3,\N{SUPERSCRIPT TWO}", f"B3,{'9' * 5000}"]
    path.write_text("path,well,time\n" + "".join(f"a,{cell}\n" for cell in cells), "utf-8")
    with pytest.raises(ImportFilesError) as error:
        read_listing(path, tmp_path)
    words = str(error.value)
    assert "line 2: well 'B\N{ARABIC-INDIC DIGIT THREE}' is none" in words
    assert "line 3: time '\N{SUPERSCRIPT TWO}' is no number" in words
    assert "line 4: time '99999999999999999999' is no number, or too long for one" in words


def test_fields_and_columns_may_have_any_number_of_digits(tmp_path):
    path = listing(tmp_path, f"path,row,column,field\na,2,{'0' * 5000}3,{'0' * 5000}7\n")
    (file,) = read_listing(path, tmp_path)
    assert (str(file.well), file.field) == ("B/03", "7")


def test_a_gap_may_be_of_any_length(tmp_path, write_tiff):
    path = write_tiff("a.tif")
    rows = "".join(f"{path},B3,{time}\n" for time in (1, 2, 9_999_999_999_999_999_999))
    plan = plan_import(read_listing(listing(tmp_path, f"path,well,time\n{rows}"), tmp_path))
    assert "no file of frames 3, 4, 5, 6, 7 and 9999999999999999991 more" in str(plan.problems)


def test_a_written_listing_plans_the_same_plate(tmp_path, write_tiff):
    for time in range(98, 101):
        write_tiff(f"s1/t{time:03d}.tif")
        write_tiff(f"s2/t{time:03d}.tif")
    plan = plan_import(Pattern("{sequence}/t{time}.tif").find(tmp_path / "source").files)
    write_listing(tmp_path / "out.csv", plan.fields)
    assert plan_import(read_listing(tmp_path / "out.csv", tmp_path)) == plan
