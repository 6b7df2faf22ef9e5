"""Drift of the stage, told apart from cells that move."""

import numpy as np
import pytest

from hcs.ssl.displacement import displacement
from hcs.ssl.drift import drift, moved_by
from tests.drawn import crawling_cells, still_ground


def drift_of(frame, reference):
    return drift(frame, reference, displacement(frame, reference))


@pytest.mark.parametrize("shift", [(0.3, -0.2), (2.0, 0.0), (-3.0, 5.0), (0.6, 1.4)])
def test_a_shifted_scene_gives_its_shift(shift):
    frame, reference = still_ground(0, n_frames=2).frames
    found = drift_of(moved_by(frame, shift), reference)
    assert np.allclose(found, shift, atol=0.1)


def test_cells_that_walk_their_own_ways_are_no_drift():
    frames = crawling_cells(0).frames
    assert drift_of(frames[1], frames[0]) == (0.0, 0.0)


def test_frames_of_one_colour_have_no_drift():
    flat = np.full((64, 80), 9, np.uint8)
    assert drift_of(flat, flat) == (0.0, 0.0)


def test_moving_there_and_back_changes_only_the_border():
    frame = still_ground(0, n_frames=1).frames[0]
    back = moved_by(moved_by(frame, (3.0, -2.0)), (-3.0, 2.0))
    assert (back[4:-4, 4:-4] == frame[4:-4, 4:-4]).all()
