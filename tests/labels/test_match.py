import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    f1_score,
    jaccard_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from hcs.labels.match import IOU_THRESHOLDS, average_precision, overlaps, pixel_scores
from tests.strategies import frame_shapes, label_images


@st.composite
def pairs_of_masks(draw):
    shape = draw(frame_shapes())
    return tuple(draw(hnp.arrays(bool, shape)) for _ in range(2))


@given(pairs_of_masks())
def test_pixel_scores_are_those_of_scikit_learn(masks):
    mask, truth = (m.ravel() for m in masks)
    scores = pixel_scores(*masks)
    if not (mask.any() and truth.any()):
        return
    assert scores.f1 == pytest.approx(f1_score(truth, mask))
    assert scores.precision == pytest.approx(precision_score(truth, mask))
    assert scores.recall == pytest.approx(recall_score(truth, mask))
    assert scores.iou == pytest.approx(jaccard_score(truth, mask))
    if not (mask.all() or truth.all()):
        assert scores.mcc == pytest.approx(matthews_corrcoef(truth, mask))


def test_two_empty_masks_agree():
    empty = np.zeros((3, 4), dtype=bool)
    scores = pixel_scores(empty, empty)
    assert (scores.f1, scores.precision, scores.recall, scores.iou) == (1, 1, 1, 1)
    assert np.isnan(scores.mcc)


def test_an_empty_mask_has_no_precision_and_an_empty_truth_no_recall():
    empty, full = np.zeros((3, 4), dtype=bool), np.ones((3, 4), dtype=bool)
    assert np.isnan(pixel_scores(empty, full).precision)
    assert np.isnan(pixel_scores(full, empty).recall)
    assert pixel_scores(empty, full).f1 == pixel_scores(full, empty).f1 == 0


@given(label_images())
def test_a_label_image_matches_itself_under_other_names(labels):
    renamed = np.where(labels > 0, labels * 7 + 1000, 0)
    np.testing.assert_array_equal(average_precision(renamed, labels), np.ones(10))


@given(label_images())
def test_overlaps_count_every_shared_pixel(labels):
    truth = np.roll(labels, 1, axis=0)
    found = overlaps(labels, truth)
    for i, t in enumerate(found.truth):
        for j, k in enumerate(found.labels):
            assert found.shared[i, j] == np.count_nonzero((truth == t) & (labels == k))
            union = np.count_nonzero((truth == t) | (labels == k))
            assert found.iou()[i, j] == found.shared[i, j] / union


@given(label_images())
def test_average_precision_falls_with_the_threshold_and_is_symmetric(labels):
    truth = np.roll(labels, 1, axis=1)
    scores = average_precision(labels, truth)
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(scores, average_precision(truth, labels))


def test_at_one_half_an_object_counts_once():
    truth = np.array([[1, 1, 1, 1]])
    halves = np.array([[1, 1, 2, 2]])
    assert average_precision(halves, truth, [0.5]).tolist() == [0.5]


def test_no_object_in_either_image_is_perfect():
    empty = np.zeros((2, 2), dtype=np.uint32)
    assert average_precision(empty, empty).tolist() == [1.0] * len(IOU_THRESHOLDS)


@pytest.mark.parametrize("score", [pixel_scores, overlaps])
def test_shapes_must_be_equal(score):
    with pytest.raises(
        ValueError, match=r"the labels are \(2, 3\) pixels, their truth is \(3, 2\)"
    ):
        score(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))
