import contextlib
import io
import math

import numpy as np
import pandas as pd
import pytest
import tifffile
from ctc_metrics.scripts.evaluate import evaluate_sequence
from hypothesis import given

from hcs.labels.ctc import Pairs, pair, seg_score, track_scores
from hcs.labels.match import overlaps
from tests.strategies import label_images


def tracks(**parents: int) -> pd.DataFrame:
    """Return a table of tracks from ``i1=0, i2=1``: id 1 has no parent, id 2 has parent 1."""
    return pd.DataFrame(
        {
            "label": [int(name[1:]) for name in parents],
            "parent_label": list(parents.values()),
        }
    )


def frame(*labels: int, width: int = 4) -> np.ndarray:
    """Return a frame with a bar of some pixels per entry, and one of background."""
    return np.repeat(np.array([*labels, 0], dtype=np.uint16), width)[None].repeat(3, axis=0)


def scores(frames, truths, ours, true):
    pairs = [pair(overlaps(f, t)) for f, t in zip(frames, truths, strict=True)]
    return track_scores(pairs, ours, true)


DIVISION = [frame(1, 0, 5, 5), frame(1, 0, 5, 5), frame(2, 3, 5, 5), frame(2, 3, 5, 5)]
DIVIDED = tracks(i1=0, i2=1, i3=1, i5=0)


def test_the_truth_itself_is_perfect():
    found = scores(DIVISION, DIVISION, DIVIDED, DIVIDED)
    assert (found.tra, found.det, found.lnk, found.link_accuracy) == (1, 1, 1, 1)
    assert seg_score([pair(overlaps(f, f)) for f in DIVISION]) == 1


def test_names_do_not_matter():
    renamed = [np.where(f > 0, f + 40, 0) for f in DIVISION]
    found = scores(renamed, DIVISION, tracks(i41=0, i42=41, i43=41, i45=0), DIVIDED)
    assert (found.tra, found.link_accuracy) == (1, 1)


def test_a_lost_mother_costs_links_but_no_objects():
    found = scores(DIVISION, DIVISION, tracks(i1=0, i2=0, i3=0, i5=0), DIVIDED)
    assert found.det == 1
    assert found.lnk < 1
    # links of the truth: 1-1, 2-2, 3-3, 5-5-5-5, 1-2, 1-3
    assert found.link_accuracy == 6 / 8


def test_a_missed_object_costs_no_link_accuracy():
    missed = [DIVISION[0], np.where(DIVISION[1] == 5, 0, DIVISION[1]), *DIVISION[2:]]
    found = scores(missed, DIVISION, DIVIDED, DIVIDED)
    assert found.link_accuracy == 1
    assert found.det < 1


def test_a_parent_outside_the_frames_is_none():
    cut = DIVISION[2:]
    found = scores(cut, cut, DIVIDED, DIVIDED)
    assert found.tra == 1


@pytest.mark.parametrize(
    "frames",
    [
        DIVISION,
        [np.where(f == 5, 0, f) for f in DIVISION],
        [np.where(f == 3, 2, f) for f in DIVISION],
        [DIVISION[0], np.where(DIVISION[1] == 1, 3, DIVISION[1]), *DIVISION[2:]],
    ],
    ids=["perfect", "missed", "merged", "swapped"],
)
def test_the_measures_are_those_of_py_ctcmetrics_on_folders(tmp_path, frames):
    for folder in ("res", "gt/TRA", "gt/SEG"):
        (tmp_path / folder).mkdir(parents=True)
    for t, (f, truth) in enumerate(zip(frames, DIVISION, strict=True)):
        tifffile.imwrite(tmp_path / f"res/mask{t:03d}.tif", f.astype(np.uint16))
        tifffile.imwrite(tmp_path / f"gt/TRA/man_track{t:03d}.tif", truth)
        tifffile.imwrite(tmp_path / f"gt/SEG/man_seg{t:03d}.tif", truth)
    # no parents of ours: a cell may not begin and end in the same folder line twice
    ours = tracks(**{f"i{i}": 0 for i in np.unique(frames) if i})
    for name, images, table in (("res/res", frames, ours), ("gt/TRA/man", DIVISION, DIVIDED)):
        parents = table.set_index("label")["parent_label"]
        lines = []
        for i in np.unique(images)[1:]:
            seen = [t for t, f in enumerate(images) if (f == i).any()]
            lines.append(f"{i} {seen[0]} {seen[-1]} {parents[i]}")
        (tmp_path / f"{name}_track.txt").write_text("\n".join(lines))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = evaluate_sequence(
            str(tmp_path / "res"), str(tmp_path / "gt"), ["TRA", "DET", "SEG", "LNK"], threads=1
        )
    found = scores(frames, DIVISION, ours, DIVIDED)
    assert (found.tra, found.det, found.lnk) == pytest.approx(
        (reference["TRA"], reference["DET"], reference["LNK"])
    )
    pairs = [pair(overlaps(f, t)) for f, t in zip(frames, DIVISION, strict=True)]
    assert seg_score(pairs) == pytest.approx(reference["SEG"])


@given(label_images())
def test_seg_asks_nothing_of_what_lies_outside_the_truth(labels):
    truth = np.where(labels % 2 == 1, labels, 0)
    assert truth.max() == 0 or seg_score([pair(overlaps(labels, truth))]) == 1


def test_an_object_must_cover_more_than_half():
    truth = np.array([[1, 1, 1, 1]])
    assert seg_score([pair(overlaps(np.array([[2, 2, 0, 0]]), truth))]) == 0
    assert seg_score([pair(overlaps(np.array([[2, 2, 2, 0]]), truth))]) == 0.75


def test_without_true_objects_nothing_is_defined():
    empty = np.zeros((2, 2), dtype=np.uint32)
    assert math.isnan(seg_score([pair(overlaps(empty, empty))]))
    found = scores([empty], [empty], tracks(), tracks())
    assert all(math.isnan(v) for v in (found.tra, found.det, found.lnk, found.link_accuracy))


def test_without_objects_of_ours_everything_is_missed():
    found = scores([np.zeros_like(f) for f in DIVISION], DIVISION, tracks(), DIVIDED)
    assert (found.tra, found.det, found.lnk) == (0, 0, 0)
    assert math.isnan(found.link_accuracy)


def test_a_single_frame_has_no_links():
    one = np.array([1])
    found = track_scores([Pairs(one, one, one, one, np.ones(1))], tracks(i1=0), tracks(i1=0))
    assert found.tra == 1
    assert math.isnan(found.lnk)
    assert math.isnan(found.link_accuracy)
