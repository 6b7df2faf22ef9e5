import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.isl.heads import cells_of, foreground, keep_large_objects, nuclei_of, value
from tests.strategies import label_images

Y, X = np.mgrid[:60, :90].astype(np.float32)


def disc(y, x, radius):
    """Depth below the rim of a disc, 1 in its middle; negative outside."""
    return 1 - np.hypot(Y - y, X - x) / radius


TWO = np.maximum(disc(30, 25, 14), disc(30, 50, 14))


def test_touching_nuclei_are_two():
    labels = nuclei_of(20 * TWO, 0.5, 16)
    assert labels.dtype == np.uint32
    assert ((labels > 0) == (TWO > 0)).all()
    assert (labels[30, 25], labels[30, 50], labels.max()) == (1, 2, 2)


def test_cells_are_told_apart_by_their_distance_map_not_by_their_outline():
    # a bar has no waist: nothing but the map says that it is two cells
    bar = (abs(Y - 30) < 8) & (X > 10) & (X < 66)
    distance = np.maximum(disc(30, 25, 14), disc(30, 52, 14))
    labels = cells_of(distance, np.where(bar, 5, -5).astype(np.float32), 0.5, 0.1, 16)
    assert ((labels > 0) == bar).all()
    assert (labels[30, 25], labels[30, 52], labels.max()) == (1, 2, 2)


def test_a_peak_counts_from_h_on():
    logit = np.full((1, 5), 9, np.float32)
    distance = np.array([[0.3, 0.9, 0.6, 0.8, 0.3]], np.float32)
    counts = [cells_of(distance, logit, 0.5, h, 1).max() for h in (0.15, 0.25)]
    assert counts == [2, 1]


def test_a_part_of_the_mask_without_a_peak_is_an_object_of_its_own():
    logit = np.where((TWO > 0) | (disc(50, 80, 6) > 0), 5, -5).astype(np.float32)
    labels = cells_of(np.maximum(TWO, 0), logit, 0.5, 0.1, 16)
    assert labels[50, 80] == 3
    assert ((labels > 0) == (logit > 0)).all()


def test_small_objects_are_dropped_and_the_others_numbered_anew():
    speck = disc(3, 3, 2) > 0
    logit = np.where((TWO > 0) | speck, 5, -5).astype(np.float32)
    for labels in (nuclei_of(logit, 0.5, 16), cells_of(TWO, logit, 0.5, 0.1, 16)):
        assert not labels[speck].any()
        assert set(np.unique(labels)) == {0, 1, 2}
    assert nuclei_of(logit, 0.5, 0).max() == 3


@given(st.floats(0.05, 0.95))
def test_the_threshold_is_a_probability(threshold):
    logit = np.linspace(-4, 4, 900, dtype=np.float32).reshape(30, 30)
    expected = 1 / (1 + np.exp(-logit.astype(float))) > threshold
    differ = foreground(logit, threshold, 0) != expected
    # no more than the one pixel that float32 may round to the other side
    assert differ.sum() <= 1


def test_a_hole_in_a_nucleus_is_filled_and_free_ground_amidst_cells_is_not():
    nucleus = (disc(30, 25, 14) > 0) & (disc(30, 25, 4) <= 0)
    mask = foreground(np.where(nucleus, 5, -5).astype(np.float32), 0.5, 16)
    assert mask[30, 25]
    ring = (disc(30, 45, 28) > 0) & (disc(30, 45, 20) <= 0)
    mask = foreground(np.where(ring, 5, -5).astype(np.float32), 0.5, 16)
    assert not mask[30, 45]


@pytest.mark.parametrize("level", [-9, 9])
def test_nothing_and_everything(level):
    logit = np.full((40, 30), level, np.float32)
    expected = int(level > 0)
    assert nuclei_of(logit, 0.5, 16).max() == expected
    assert cells_of(np.ones_like(logit), logit, 0.5, 0.1, 16).max() == expected


@given(label_images(), st.integers(0, 30))
def test_an_object_is_kept_whole_or_not_at_all(labels, min_area_px):
    kept = keep_large_objects(labels, min_area_px)
    for label in np.unique(labels[labels > 0]):
        left = np.unique(kept[labels == label])
        assert left.size == 1
        assert (left[0] > 0) == ((labels == label).sum() >= min_area_px)
    assert set(np.unique(kept)) - {0} == set(range(1, kept.max() + 1))


def test_what_a_spread_is_of():
    output = np.array([[[3.0]], [[0.0]]], np.float32)
    assert value(output, "stain") is output
    assert value(output, "cells").tolist() == [[[0.5]]]
    assert value(np.array([[[-200.0, 200.0]]], np.float32), "nuclei").tolist() == [[[0, 1]]]
