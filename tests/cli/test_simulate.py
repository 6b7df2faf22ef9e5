import json

import pytest
from typer.testing import CliRunner

from hcs.cli.main import build_app
from hcs.errors import SettingsError
from hcs.plate.open import open_plate

SMALL = ["--frames", "2", "--size", "64", "--workers", "1", "--preset", "easy"]


def run(*arguments):
    return CliRunner().invoke(build_app(), ["simulate", *map(str, arguments)])


def test_simulate_writes_a_plate_and_says_where(tmp_path):
    plate = tmp_path / "demo.zarr"
    result = run(plate, "--rows", 1, "--columns", 2, *SMALL, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["wells"] == 2
    assert told["settings"]["preset"] == "easy"
    assert plate.is_dir()
    assert (tmp_path / "demo_truth.zarr").is_dir()


def test_simulate_tells_people_in_words(tmp_path):
    accident = ["--accident", "missing_well=A/02", "--drug-acts-on", "motility"]
    result = run(tmp_path / "demo.zarr", "--rows", 1, "--columns", 2, *SMALL, *accident)
    assert "wrote 1 wells of 2 frames" in result.output


def test_rows_and_columns_go_together(tmp_path):
    with pytest.raises(SettingsError, match="--rows and --columns go together"):
        raise run(tmp_path / "demo.zarr", "--rows", 1).exception


def test_only_the_usual_plates_have_a_number_of_wells(tmp_path):
    with pytest.raises(SettingsError, match=r"no plate has 13 wells .*6, 12, 24, 48, 96, 384"):
        raise run(tmp_path / "demo.zarr", "--wells", 13).exception


def test_shards_are_asked_for_as_of_an_import(tmp_path):
    options = ["--rows", 1, "--columns", 1, *SMALL, "--version", "0.5", "--storage", "sharded"]
    result = run(tmp_path / "demo.zarr", *options, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["settings"]["storage"] == "sharded"
    assert open_plate(tmp_path / "demo.zarr").array("A/01/0/0").shards is not None


def test_settings_are_refused_in_our_words(tmp_path):
    with pytest.raises(SettingsError, match=r"^preset: input should be .*, not 'esay'"):
        raise run(tmp_path / "demo.zarr", "--preset", "esay").exception
