"""Area under the ROC curve and Otsu's split, both from histograms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters import threshold_otsu
from sklearn.metrics import roc_auc_score

from hcs.ssl.separability import otsu, roc_area, separability

counts = hnp.arrays(np.int64, 20, elements=st.integers(0, 50))


@given(counts, counts)
def test_roc_area_is_that_of_scikit_learn(cell, background):
    if cell.sum() == 0 or background.sum() == 0:
        assert roc_area(cell, background) == 0.5
        return
    bins = np.arange(20)
    truth = np.r_[np.ones(cell.sum()), np.zeros(background.sum())]
    scores = np.r_[np.repeat(bins, cell), np.repeat(bins, background)]
    assert roc_area(cell, background) == pytest.approx(roc_auc_score(truth, scores))


@given(counts, counts)
def test_classes_changed_round_turn_the_area_over(cell, background):
    assert roc_area(cell, background) == pytest.approx(1 - roc_area(background, cell))


@given(st.floats(0.1, 10), st.floats(-100, 100))
def test_a_common_gain_and_offset_change_little(gain, offset):
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(50, 50)).astype(np.float32)
    cell = rng.random((50, 50)) < 0.3
    feature[cell] += 1
    scaled = (feature * gain + offset).astype(np.float32)
    assert separability(scaled, cell, ~cell) == pytest.approx(
        separability(feature, cell, ~cell), abs=0.01
    )


def test_a_constant_feature_separates_nothing():
    cell = np.eye(4, dtype=bool)
    assert separability(np.ones((4, 4), np.float32), cell, ~cell) == 0.5


def test_otsu_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    sample = np.r_[rng.normal(50, 8, 4000), rng.normal(130, 15, 1000)].clip(0, 255).astype(np.uint8)
    found = otsu(np.bincount(sample, minlength=256), np.arange(256.0))
    assert found == threshold_otsu(sample)


def test_otsu_of_a_single_value_splits_nothing_off():
    assert otsu(np.array([0, 7, 0]), np.arange(3.0)) == 0
