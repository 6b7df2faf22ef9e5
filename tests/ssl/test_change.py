"""Temporal change in integers."""

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp

from hcs.ssl.change import MAX_CHANGE, log_change, temporal_change

frames = hnp.arrays(np.uint8, (9, 10))


@given(frames, frames)
def test_change_is_symmetric_and_within_its_range(frame, reference):
    change = temporal_change(frame, reference)
    assert (change == temporal_change(reference, frame)).all()
    assert change.max() <= MAX_CHANGE


@given(frames)
def test_what_stays_does_not_change(frame):
    assert temporal_change(frame, frame).max() == 0


def test_the_largest_change_has_a_logarithm():
    black, white = np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8)
    change = temporal_change(white, black)
    assert (log_change()[change] == np.log1p(255)).all()
