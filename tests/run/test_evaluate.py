import math
import re
import shutil

import numpy as np
import pytest

from hcs.errors import FramesError, MissingError, SettingsError
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_empty_label_image
from hcs.run.evaluate import evaluate_plate, score_frame
from hcs.run.truth import open_truth


@pytest.fixture
def plate(sequence_plate, put, draw):
    """One square in every frame of A/01, none in A/02."""
    put(sequence_plate, "A/01/0", [draw((5, 4, 4, 8))] * 3)
    put(sequence_plate, "A/02/0", [draw()] * 2)
    return sequence_plate


@pytest.fixture
def evaluate(plate, tmp_path):
    def run(**options):
        truth = open_truth(str(tmp_path / "set"), plate, "ssl_cells")
        return evaluate_plate(plate, truth, "ssl_cells", **options)

    return run


def test_the_truth_itself_is_perfect(draw):
    labels = draw((1, 4, 4, 6), (2, 14, 14, 6))
    scores = score_frame(labels, labels, "full")
    assert [scores[name] for name in ("f1", "iou", "mcc", "ap", "ap_95", "seg")] == [1] * 6


def test_nothing_found_is_no_precision_and_no_recall(draw):
    scores = score_frame(draw(), draw((1, 4, 4, 6)), "full")
    assert [scores[name] for name in ("f1", "precision", "recall", "ap", "seg")] == [0] * 5


def test_both_empty_is_perfect(draw):
    scores = score_frame(draw(), draw(), "full")
    assert [scores[name] for name in ("f1", "precision", "recall", "iou", "ap")] == [1] * 5
    assert math.isnan(scores["seg"])


def test_drawn_overlap_gives_the_scores_by_hand(evaluate, write_mask, draw):
    # truth 8 x 8, half of it covered by the result, half of the result beside it
    write_mask("s1/masks/gold_full/man_seg021.tif", draw((9, 4, 8, 8)))
    (row,) = evaluate().frames.to_dict("records")
    assert (row["well"], row["frame"], row["source_number"], row["truth"]) == ("A01", 1, 21, "full")
    assert (row["f1"], row["precision"], row["recall"]) == (0.5, 0.5, 0.5)
    assert row["iou"] == pytest.approx(1 / 3)
    # not more than half is covered, and the IoU is below 0.5
    assert (row["seg"], row["ap_50"], row["n_truth"], row["n_objects"]) == (0, 0, 1, 1)


def test_partial_truth_is_scored_by_recall_and_seg_alone_and_apart(evaluate, write_mask, draw):
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 4, 4, 8)))
    write_mask("s1/masks/gold_partial/man_seg022.tif", draw((1, 4, 4, 4)))
    scores = evaluate()
    full, partial = scores.plate.to_dict("records")
    assert (full["truth"], full["n_frames"], full["f1"]) == ("full", 1, 1)
    assert (partial["truth"], partial["recall"], partial["seg"]) == ("partial", 1, 0.25)
    assert math.isnan(partial["f1"])
    assert math.isnan(partial["precision"])


def test_every_frame_has_one_vote(evaluate, write_mask, draw):
    for time in (20, 21, 22):
        write_mask(f"s1/masks/gold_full/man_seg{time:03d}.tif", draw((1, 4, 4, 8)))
    write_mask("s2/masks/gold_full/man_seg005.tif", draw((1, 4, 4, 8)))
    scores = evaluate()
    assert scores.wells[["well", "n_frames", "f1"]].values.tolist() == [
        ["A01", 3, 1.0],
        ["A02", 1, 0.0],
    ]
    assert scores.plate["f1"].tolist() == [0.75]


def test_the_rim_is_left_out(evaluate, write_mask, draw):
    # false only in the outer four pixels
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 0, 0, 12)))
    assert evaluate().plate["f1"].item() < 1
    assert evaluate(crop_px=4).plate["f1"].item() == 1


def test_a_rim_wider_than_the_frame_is_refused(evaluate, write_mask, draw):
    write_mask("s1/masks/gold_full/man_seg020.tif", draw())
    with pytest.raises(SettingsError, match=r"--crop 12 leaves nothing of \(24, 32\) pixels"):
        evaluate(crop_px=12)


def test_tracks_are_scored_against_markers(plate, evaluate, write_mask, draw, put):
    for time in (20, 21, 22):
        path = write_mask(f"s1/masks/tra_markers/man_track{time:03d}.tif", draw((3, 6, 6, 3)))
    path.with_name("man_track.txt").write_text("3 20 22 0\n")
    (row,) = evaluate().tracks.to_dict("records")
    assert (row["well"], row["n_frames"]) == ("A01", 3)
    assert [row[name] for name in ("tra", "det", "lnk", "link_accuracy")] == [1, 1, 1, 1]
    # the id changes on the way: every object is found, one of two links is not
    put(plate, "A/01/0", [draw((5, 4, 4, 8)), draw((5, 4, 4, 8)), draw((6, 4, 4, 8))])
    (row,) = evaluate().tracks.to_dict("records")
    assert (row["det"], row["link_accuracy"]) == (1, 0.5)


def test_a_truth_of_another_shape_is_named(evaluate, write_mask):
    write_mask("s1/masks/gold_full/man_seg020.tif", np.zeros((8, 9), np.uint8))
    with pytest.raises(FramesError, match=r"A/01/0 frame 0: the truth is \(8, 9\) pixels"):
        evaluate()


def test_no_truth_names_the_numbers_that_there_are(evaluate, write_mask, draw):
    write_mask("s1/masks/gold_full/man_seg099.tif", draw())
    with pytest.raises(MissingError, match="20 to 22 of A/01/0, 5 to 6 of A/02/0"):
        evaluate()


def test_a_failed_well_has_no_scores(plate, evaluate, write_mask, draw):
    write_empty_label_image(plate, FieldPath.parse("A/02/0"), "ssl_cells", "failed")
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 4, 4, 8)))
    write_mask("s2/masks/gold_full/man_seg005.tif", draw((1, 4, 4, 8)))
    scores = evaluate()
    assert scores.failed == ("A/02/0",)
    assert scores.wells["well"].tolist() == ["A01"]


def test_a_label_image_that_is_not_there_is_named(plate, tmp_path):
    truth = open_truth(str(tmp_path / "set"), plate, "isl_cells")
    with pytest.raises(
        MissingError, match=r"no field has a label image 'isl_cells' \(there are ssl_cells"
    ):
        evaluate_plate(plate, truth, "isl_cells")


@pytest.fixture
def both_true(write_mask, draw):
    """A truth in both wells."""
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 4, 4, 8)))
    return write_mask("s2/masks/gold_full/man_seg005.tif", draw((1, 4, 4, 8)))


def bad_well(plate, folder, kind):
    """Make A/02 unusable in one of the ways that nights bring."""
    well = folder / "set.zarr/A/02"
    if kind == "absent":
        shutil.rmtree(well)
    elif kind == "without labels":
        shutil.rmtree(well / "0/labels")
    elif kind == "truncated":
        levels = (well / "0/labels/ssl_cells/0").rglob("*")
        for chunk in (p for p in levels if p.is_file() and not p.name.startswith(".")):
            chunk.write_bytes(chunk.read_bytes()[:5])
    return open_plate(plate.storage.url)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "A/02 is left out: well A/02 is listed, but there is nothing at .*copy"),
        ("without labels", r"field A/02/0 has no label image 'ssl_cells' \(run an analysis first"),
        ("truncated", "A/02 is left out: .*A/02/0"),
    ],
)
def test_a_bad_well_costs_no_other_its_scores(plate, both_true, tmp_path, kind, words):
    bad = bad_well(plate, tmp_path, kind)
    truth = open_truth(str(tmp_path / "set"), bad, "ssl_cells")
    scores = evaluate_plate(bad, truth, "ssl_cells")
    assert scores.wells["well"].tolist() == ["A01"]
    (one,) = scores.left_out
    assert re.search(words, str(one))
    assert scores.to_json()["left_out"][0]["problem"] == one.cause.message


def test_a_bad_mask_costs_no_other_well_its_scores(plate, evaluate, both_true):
    both_true.write_bytes(b"no tiff")
    scores = evaluate()
    assert scores.wells["well"].tolist() == ["A01"]
    assert "man_seg005.tif: not a TIFF file" in str(scores.left_out[0])


def test_a_well_without_truth_needs_no_labels(plate, write_mask, draw, tmp_path):
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 4, 4, 8)))
    bad = bad_well(plate, tmp_path, "without labels")
    truth = open_truth(str(tmp_path / "set"), bad, "ssl_cells")
    assert evaluate_plate(bad, truth, "ssl_cells").left_out == ()


def test_wells_that_were_trained_on_can_be_left_out(plate, evaluate, both_true):
    scores = evaluate(without=(WellPath("A", "02"),))
    assert scores.wells["well"].tolist() == ["A01"]
    assert scores.key == "evaluation/ssl_cells-set-crop0-without-A02"
    assert scores.to_json()["without"] == ["A/02"]
    with pytest.raises(MissingError, match="plate set has no well H/01, H/02"):
        evaluate(without=(WellPath("H", "02"), WellPath("H", "01")))
