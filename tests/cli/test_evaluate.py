import json

import numpy as np
import pytest
import tifffile

from hcs.cli.main import main
from hcs.plate.create import create_label_image
from hcs.plate.metadata import Channel
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames
from hcs.plate.sister import create_product, make_sister
from hcs.plate.write import write_frames, write_label_frames, write_product_frames

FIELD = FieldPath.parse("A/01/0")
LABELS = np.zeros((2, 20, 30), np.uint32)
LABELS[:, 4:12, 4:12] = 7


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture
def plate(tmp_path):
    for time in (5, 6):
        path = tmp_path / f"set/s1/images/t{time:02d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full((20, 30), time, np.uint8))
    mask = tmp_path / "set/s1/masks/gold_full/man_seg06.tif"
    mask.parent.mkdir(parents=True)
    tifffile.imwrite(mask, LABELS[0])
    url = tmp_path / "p.zarr"
    pattern = ["--pattern", "{sequence}/images/t{time}.tif", "--processes", "1"]
    assert run("import", tmp_path / "set", url, *pattern) == 0
    create_label_image(open_plate(url), FIELD, "ssl_cells", {})
    write_label_frames(open_plate(url), FIELD, "ssl_cells", 0, LABELS)
    return url


def test_scores_are_printed_per_frame_well_and_plate(plate, tmp_path, capsys):
    capsys.readouterr()
    assert run("evaluate", plate, "--truth", tmp_path / "set", "--crop", "2") == 0
    shown = capsys.readouterr()
    for title in ("frames", "wells", "plate"):
        assert f"{title}\n" in shown.out
    assert "A01   0      1      6              full   1.000" in shown.out
    assert "p.hcs/evaluation/ssl_cells-set-crop2.csv" in shown.err


@pytest.fixture
def two_wells(plate, tmp_path):
    """The plate, and beside its well another that is listed but not there."""
    attributes = json.loads((plate / ".zattrs").read_text())
    attributes["plate"]["columns"].append({"name": "02"})
    listed = attributes["plate"]["wells"]
    listed.append(listed[0] | {"path": "A/02", "columnIndex": 1})
    (plate / ".zattrs").write_text(json.dumps(attributes))
    return plate


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_well_that_is_not_there_is_one_line_and_partly_done(two_wells, tmp_path, capsys, command):
    capsys.readouterr()
    to = ["--truth", tmp_path / "set"] if command == "evaluate" else ["--labels", tmp_path / "out"]
    assert run(command, two_wells, *to) == 2
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("hcs: ")]
    assert "A/02 is left out: well A/02 is listed, but there is nothing at" in line
    assert "(copy the plate anew" in line
    assert "A01" in shown.out or "A/01/0" in shown.out


def test_another_kind_of_table_is_refused_before_scoring(plate, tmp_path, capsys):
    # a truth that is not there would be told of first, were it looked at
    truth = ["--truth", tmp_path / "nowhere", "--output", tmp_path / "e.xlsx"]
    assert run("evaluate", plate, *truth) == 64
    assert "e.xlsx: cannot write that" in capsys.readouterr().err


def test_scores_as_json(plate, tmp_path, capsys):
    capsys.readouterr()
    assert run("evaluate", plate, "--truth", tmp_path / "set", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["plate"][0]["f1"] == 1
    assert told["frames"][0]["source_number"] == 6


def test_labels_are_not_scored_without_a_truth_nor_frame_by_frame(plate, tmp_path, capsys):
    assert run("evaluate", plate) == 64
    assert "labels are scored against --truth" in capsys.readouterr().err
    assert run("evaluate", plate, "--truth", tmp_path / "set", "--frame", "1") == 64


@pytest.fixture
def stained(plate):
    """What a network predicts of the only channel: the same, with a bright corner."""
    opened = open_plate(plate)
    sister = make_sister(opened, "isl-one")
    (measured,) = (channel.label for channel in opened.field_image(FIELD).channels)
    create_product(opened, sister, FIELD, (Channel(f"{measured}_prediction"),), {})
    pixels = np.stack(list(read_frames(opened, FIELD, measured, range(2))))[:, None, None]
    pixels = pixels.astype(np.float32)
    pixels[..., :5, :5] += 3
    write_product_frames(sister, FIELD, 0, pixels)
    ramp = np.add.outer(np.arange(20), np.arange(30)).astype(np.uint8)
    write_frames(opened, FIELD, 0, np.stack([ramp, ramp])[:, None, None])
    return plate


def test_predicted_stains_are_scored_against_the_measured_ones(stained, capsys):
    assert run("evaluate", stained, "--stains", "one", "--crop", "1") == 0
    shown = capsys.readouterr()
    assert "count_correlation" in shown.out
    assert "p.hcs/evaluation/isl-one-p-crop1.csv" in shown.err
    truth = ["--truth", stained, "--frame", "1", "--plane", "max"]
    assert run("evaluate", stained, "--stains", "one", *truth, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], [row["frame"] for row in told["frames"]]) == ("one", [1])


def test_a_plane_that_is_none_and_a_network_that_is_not_there_are_told(stained, capsys):
    assert run("evaluate", stained, "--stains", "one", "--plane", "top") == 64
    assert "--plane 'top' is no index" in capsys.readouterr().err
    assert run("evaluate", stained, "--stains", "other") == 1
    assert "p_isl-other" in capsys.readouterr().err


def test_a_missing_label_image_is_one_line(plate, tmp_path, capsys):
    assert run("evaluate", plate, "--truth", tmp_path / "set", "--label", "isl_cells") == 1
    assert "no field has a label image 'isl_cells'" in capsys.readouterr().err


def test_label_images_are_exported_by_sequence(plate, tmp_path, capsys):
    capsys.readouterr()
    assert run("export", plate, "--labels", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["files"] == 2
    assert np.array_equal(tifffile.imread(tmp_path / "out/s1/t06.tif"), LABELS[1])
