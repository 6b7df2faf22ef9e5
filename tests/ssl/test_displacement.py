"""Farneback flow at half resolution."""

import cv2
import numpy as np
import pytest

from hcs.ssl.displacement import displacement, farneback
from hcs.ssl.drift import moved_by
from tests.drawn import still_ground


@pytest.mark.parametrize("shift", [(2.0, 0.0), (0.0, -3.0), (1.5, 1.5)])
def test_a_textured_frame_that_moved_is_displaced_by_that(shift):
    texture = cv2.GaussianBlur(
        np.random.default_rng(0).normal(size=(160, 200)).astype(np.float32), (0, 0), 2
    )
    reference = np.clip(128 + 150 * texture, 0, 255).astype(np.uint8)
    found = displacement(moved_by(reference, shift), reference)
    middle = found[:, 30:-30, 30:-30]
    assert np.allclose(np.median(middle, axis=(1, 2)), shift, atol=0.2)


def test_shape_and_unit_hold_for_odd_sides():
    frame = still_ground(0, (97, 131), n_frames=1).frames[0]
    found = displacement(frame, frame)
    assert found.shape == (2, 97, 131)
    assert found.dtype == np.float32
    assert np.abs(found).mean() < 0.01


def test_flow_is_along_x_then_y():
    frame = still_ground(0, n_frames=1).frames[0]
    flow = farneback(frame, moved_by(frame, (0.0, 2.0)), 15)
    assert flow.shape == (*frame.shape, 2)
    patch = np.abs(flow).reshape(-1, 2)
    assert patch[:, 0].mean() > 3 * patch[:, 1].mean()
