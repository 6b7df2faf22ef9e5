import json

import numpy as np
import pytest
import tifffile

from hcs.cli.main import main
from hcs.plate.open import open_plate

PATTERN = ["--pattern", "{sequence}/t{time}.tif"]


@pytest.fixture
def source(tmp_path):
    for name in ("s1/t05", "s1/t06", "s2/t01", "s2/t02"):
        path = tmp_path / "source" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.arange(600, dtype=np.uint16).reshape(20, 30))
    return tmp_path / "source"


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_a_dry_run_shows_the_table_and_writes_nothing(source, tmp_path, capsys):
    assert run("import", source, tmp_path / "p.zarr", *PATTERN, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "A/02/0  s2        2       1      2" in shown
    assert "pixel size unknown, interval unknown" in shown
    assert "warning: no pixel_size_um" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_problems_are_shown_and_nothing_is_written(source, tmp_path, capsys):
    tifffile.imwrite(source / "s2/t03.tif", np.zeros((9, 9), np.uint8))
    command = ["import", source, tmp_path / "p.zarr", *PATTERN]
    assert run(*command, "--dry-run") == 1
    assert "problem: more than one shape: 20 x 30 in 4 planes" in capsys.readouterr().out
    assert run(*command) == 1
    assert "more than one pixel type" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_broken_file_is_one_of_the_problems(source, tmp_path, capsys):
    tifffile.imwrite(source / "s2/t09.tif", np.zeros((20, 30), np.uint16))
    (source / "s1/t05.tif").write_bytes(b"II*\0" + b"garbage" * 9)
    command = ["import", source, tmp_path / "p.zarr", *PATTERN]
    assert run(*command, "--dry-run") == 1
    shown = capsys.readouterr()
    assert "t05.tif: it holds no page" in shown.out
    assert "A/02/0: no file of frames 3, 4, 5" in shown.out
    assert shown.err == ""
    assert run(*command) == 1
    assert "t05.tif: it holds no page" in capsys.readouterr().err


def test_files_that_are_all_broken_are_problems_all_the_same(source, tmp_path, capsys):
    for path in source.glob("*/*.tif"):
        path.write_bytes(b"II*\0" + b"garbage" * 9)
    assert run("import", source, tmp_path / "p.zarr", *PATTERN, "--dry-run") == 1
    assert capsys.readouterr().out.count("problem: ") == 4


def test_a_plate_is_imported_as_the_options_say(source, tmp_path, capsys):
    plate_map = tmp_path / "map.csv"
    plate_map.write_text("well,drug\nA1,DMSO\nA2,taxol\n")
    options = ["--channel", "phase", "--pixel-size-um", "0.65", "--interval-s", "600"]
    options += ["--ome-zarr", "0.5", "--wells", "6", "--plate-map", plate_map, "--processes", "1"]
    assert run("import", source, tmp_path / "p.zarr", *PATTERN, *options, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pixel_size_um"], told["warnings"]) == (0.65, [])
    plate = open_plate(tmp_path / "p.zarr")
    assert (plate.layout.version, plate.layout.rows) == ("0.5", ("A", "B"))
    assert plate.table("condition")["drug"].tolist() == ["DMSO", "taxol"]


def test_a_listing_written_and_edited_is_read_back(source, tmp_path, capsys):
    listing = tmp_path / "l.csv"
    command = ["import", source, tmp_path / "p.zarr", "--dry-run"]
    assert run(*command, *PATTERN, "--write-listing", listing) == 0
    listing.write_text(listing.read_text().replace(",A01,", ",H12,"))
    capsys.readouterr()
    assert run(*command, "--listing", listing) == 0
    assert "H/12/0  s1" in capsys.readouterr().out


def test_a_pattern_or_a_listing_is_needed(source, tmp_path, capsys):
    assert run("import", source, tmp_path / "p.zarr") == 64
    assert "give either --pattern or --listing" in capsys.readouterr().err
