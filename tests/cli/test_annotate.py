import json

import numpy as np
import pytest
import tifffile

from hcs.cli.main import main
from tests.plates import make_plate


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture
def plate(tmp_path):
    """Two wells; the channel "nuclei" is 1000 less phase: dark squares become bright nuclei."""
    frames = np.full((2, 64, 64), 900, np.uint16)
    frames[:, 10:24, 10:24] = frames[:, 40:54, 30:44] = 100
    make_plate(tmp_path / "p.zarr", {"A/01": frames, "A/02": frames})
    return tmp_path / "p.zarr"


@pytest.fixture
def made(plate, tmp_path):
    fields = ["--field", "A/01/0", "--field", "A/02/0", "--frame", "1"]
    stain = ["--stain", "nuclei", "--kind", "nuclei"]
    return ["annotate", "make", plate, *stain, *fields, "--output", tmp_path / "mine"]


def test_frames_are_proposed_and_checked(made, tmp_path, capsys):
    assert run(*made) == 0
    shown = capsys.readouterr()
    assert "A/02/0  1      2" in shown.out
    assert "then: hcs annotate check" in shown.err
    path = tmp_path / "mine/A02_0/masks/manual/t001.tif"
    labels = tifffile.imread(path)
    labels[60:, 60:] = 1
    tifffile.imwrite(path, labels)
    assert run("annotate", "check", tmp_path / "mine") == 0
    shown = capsys.readouterr()
    assert "A/01/0  1      nuclei  2        as proposed" in shown.out
    assert "A/02/0  1      nuclei  2        corrected" in shown.out
    assert "t001.tif: objects in several pieces: 1" in shown.err


def test_both_print_json(made, tmp_path, capsys):
    assert run(*made, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["objects"] for one in told] == [2, 2]
    assert run("annotate", "check", tmp_path / "mine", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told[0]["warnings"] == []
    assert told[1]["state"] == "as proposed"


def test_an_image_with_no_objects_is_one_line(made, tmp_path, capsys):
    assert run(*made) == 0
    path = tmp_path / "mine/A01_0/masks/manual/t001.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16))
    assert run("annotate", "check", tmp_path / "mine") == 1
    shown = capsys.readouterr().err
    assert "1 problem: " in shown
    assert "t001.tif: annotated image with no objects" in shown


def test_what_was_corrected_is_refused_to_be_made_again(made, tmp_path, capsys):
    assert run(*made) == 0
    path = tmp_path / "mine/A01_0/masks/manual/t001.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint16))
    assert run(*made) == 1
    assert "would overwrite label images that are no mere proposals" in capsys.readouterr().err


def test_without_a_field_or_with_another_kind_the_usage_is_told(plate, tmp_path, capsys):
    wrong = ["annotate", "make", plate, "--stain", "nuclei", "--output", tmp_path / "mine"]
    assert run(*wrong, "--kind", "nuclei") == 64
    assert run(*wrong, "--kind", "mice", "--field", "A/01/0") == 64
    assert "'mice'" in capsys.readouterr().err
