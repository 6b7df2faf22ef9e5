"""Entropy, gradient and contrast of a frame."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters.rank import entropy as rank_entropy

from hcs.ssl.features import FEATURES, contrast, entropy, features, forward_differences, gradient

frames = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=24), fill=st.just(0)
)


def exact_entropy(frame):
    """scikit-image's, of the frame with its border mirrored, edge pixels repeated."""
    padded = np.pad(frame, 3, mode="symmetric")
    return rank_entropy(padded, np.ones((7, 7), np.uint8))[3:-3, 3:-3]


@settings(max_examples=25, deadline=None)
@given(frames)
def test_entropy_is_that_of_scikit_image(frame):
    assert np.abs(entropy(frame) - exact_entropy(frame)).max() < 2e-4


@pytest.mark.parametrize("grey_levels", [2, 40, 256])
def test_entropy_stays_exact_along_wide_rows(grey_levels):
    frame = np.random.default_rng(0).integers(0, grey_levels, (40, 700)).astype(np.uint8)
    assert np.abs(entropy(frame) - exact_entropy(frame)).max() < 2e-4


@settings(max_examples=20, deadline=None)
@given(frames, st.integers(1, 255))
def test_entropy_knows_which_pixels_are_equal_and_nothing_else(frame, shift):
    assert (entropy(frame) == entropy(frame + np.uint8(shift))).all()


def test_forward_differences_are_the_definition():
    frame = np.random.default_rng(1).integers(0, 256, (9, 11)).astype(np.uint8)
    grey = frame.astype(float)
    right = np.diff(grey, axis=1, append=grey[:, -1:])
    down = np.diff(grey, axis=0, append=grey[-1:])
    assert np.allclose(forward_differences(frame), np.hypot(right, down), atol=1e-4)


def test_gradient_is_the_log_of_the_box_mean():
    frame = np.random.default_rng(2).integers(0, 256, (30, 40)).astype(np.uint8)
    mean = cv2.blur(forward_differences(frame), (7, 7))
    assert np.allclose(gradient(frame), np.log1p(mean), atol=1e-5)


def test_contrast_sees_a_disc_and_not_the_shading():
    y, x = np.mgrid[:400, :400]
    frame = 60 + x / 10
    disc = np.hypot(y - 200, x - 200) < 20
    seen = contrast(np.rint(frame + 50 * disc).astype(np.uint8))
    away = np.hypot(y - 200, x - 200) > 40
    middle = (slice(100, 300), slice(100, 300))
    assert seen[disc].min() > np.log1p(20)
    assert seen[middle][away[middle]].max() < np.log1p(4)


def test_features_stand_in_their_declared_order():
    frame = np.random.default_rng(3).integers(0, 256, (40, 50)).astype(np.uint8)
    stack = features(frame)
    for name, feature in zip(FEATURES, stack, strict=True):
        assert (
            feature == {"entropy": entropy, "gradient": gradient, "contrast": contrast}[name](frame)
        ).all()
