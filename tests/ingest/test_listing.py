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


def test_a_written_listing_plans_the_same_plate(tmp_path, write_tiff):
    for time in range(98, 101):
        write_tiff(f"s1/t{time:03d}.tif")
        write_tiff(f"s2/t{time:03d}.tif")
    plan = plan_import(Pattern("{sequence}/t{time}.tif").find(tmp_path / "source").files)
    write_listing(tmp_path / "out.csv", plan.fields)
    assert plan_import(read_listing(tmp_path / "out.csv", tmp_path)) == plan
