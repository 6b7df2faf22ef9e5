"""``hcs nightly``: what it prints and how it ends."""

import json

import pytest
import yaml

from hcs.cli.main import main
from hcs.run.night_settings import NightSettings
from tests.plates import make_plate, still_ground

HERE = ("--monitor", "none", "--dask", "none", "--workers", "1", "--unchanged-min", "0")


def call(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code)


def test_a_night_with_nothing_to_do_ends_with_0(analysed_plate, capsys):
    folder = analysed_plate.parent
    assert call("nightly", folder.parent, *HERE) == 0
    printed = capsys.readouterr().out
    assert "1 plate nothing to do" in printed
    assert f"{folder.name}/tiny.zarr" in printed


def test_a_plate_that_fails_beside_one_that_is_done_ends_with_2(analysed_plate, capsys):
    folder = analysed_plate.parent
    make_plate(folder / "bad.zarr", {"A/01": still_ground(0, n_frames=1, side=32)})
    (folder / "worse.zarr").mkdir()
    (folder / "worse.zarr/.zattrs").write_text("no JSON")
    assert call("nightly", folder, *HERE, "--json") == 2
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["exit_code"] == 2
    states = {plate["url"].rpartition("/")[2]: plate["state"] for plate in told["plates"]}
    assert states == {
        "bad.zarr": "failed",
        "worse.zarr": "unreadable",
        "tiny.zarr": "nothing to do",
    }
    assert told["plates"][0]["failed"][0]["failure"]["cause"] == "unusable frames"
    worse = next(one for one in told["plates"] if one["state"] == "unreadable")
    assert (worse["wells"], worse["done"], worse["seconds"]) == (None, None, None)
    # told as soon as it is known, for the log of a long night
    assert f"{folder}/bad.zarr: failed: unusable frames (1)" in captured.err
    assert "Traceback" not in captured.err
    assert call("nightly", folder, *HERE) == 2
    captured = capsys.readouterr()
    assert "A/01 failed: " in captured.err
    (row,) = [line for line in captured.out.splitlines() if "worse.zarr" in line]
    assert row.split()[:7] == ["worse.zarr", "unreadable", *"-----"]


def test_names_of_plates_are_shown_and_not_obeyed(tmp_path, capsys):
    folder = tmp_path / "\x1b]0;title\x07"
    make_plate(folder / "\x1b[2J.zarr", {"A/01": still_ground(0, n_frames=1, side=32)})
    assert call("nightly", folder, *HERE) == 1
    captured = capsys.readouterr()
    told = captured.out + captured.err
    assert "?[2J.zarr: failed" in told
    assert all(letter.isprintable() or letter == "\n" for letter in told)


def test_flags_stand_over_the_file(tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("{channel: phase, night: {until: 7:00, margin: 2}}")
    settings = ("--settings", tmp_path / "my.yaml")
    assert call("nightly", *settings, "--until", "6:30", "--at-once", "2", "--explain") == 0
    told = yaml.safe_load(capsys.readouterr().out)["night"]
    assert (told["until"], told["margin"], told["at_once"]) == ("06:30:00", 2, 2)
    assert set(told) == set(NightSettings.model_fields)
    assert NightSettings.model_validate(told).margin == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no folder was named"),
        (("x", "--until", "25:00"), "night.until"),
        (("x", "--set", "night.hour=7"), "night.hour is no setting"),
        (("x", "--set", "chanel=7"), "chanel is no setting"),
        (("x", "--notify", "slack"), "slack: a block is named type/name"),
        (("x", "--notify", "slack-webhook/x", "--monitor", "none"), "Prefect is left out"),
        (("x", "--set", "night=7"), "night: input should be"),
    ],
)
def test_wrong_usage_ends_with_64_and_says_what_is_wrong(arguments, words, capsys):
    assert call("nightly", *arguments) == 64
    assert words in capsys.readouterr().err


def test_a_folder_that_is_not_there_ends_with_1(tmp_path, capsys):
    assert call("nightly", tmp_path / "nowhere", *HERE) == 1
    assert "there is no folder" in capsys.readouterr().err
