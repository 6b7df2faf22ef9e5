"""Normalisation: gain and offset of the camera change nothing, and grey levels come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.errors import FramesError, TrainingError
from hcs.isl.card import TargetScale
from hcs.isl.normalise import fit_target, standardise, to_grey, to_target

NOISE = np.random.default_rng(0).normal(1000, 50, (2, 40, 60))


@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000))
def test_gain_and_offset_of_the_camera_change_nothing(gain, offset):
    np.testing.assert_allclose(standardise(gain * NOISE + offset), standardise(NOISE), atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_each_plane_has_mean_0_and_spread_1(dtype):
    planes = standardise((NOISE / 8).astype(dtype))
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(planes.std(axis=(1, 2)), 1, atol=1e-5)


def test_a_constant_plane_is_named_by_its_number():
    planes = NOISE.astype(np.uint16)
    planes[1] = 7
    with pytest.raises(FramesError, match="input plane 1 is constant at 7"):
        standardise(planes)


def test_pixels_that_are_not_finite_are_counted():
    planes = NOISE.copy()
    planes[0, 3, 4:6] = np.nan, np.inf
    with pytest.raises(FramesError, match="input plane 0 has 2 pixels that are not finite"):
        standardise(planes)


def test_the_scale_is_from_background_to_bright_nuclei_and_not_to_a_hot_pixel():
    frame = np.random.default_rng(1).normal(200, 5, (100, 100))
    frame[20:40, 20:40] += 1000
    frame[70, 70] = 60_000
    scale = fit_target([frame, frame], "DAPI")
    assert scale.offset == pytest.approx(200, abs=20)
    assert scale.scale == pytest.approx(1000, rel=0.05)


def test_dim_wells_stay_dim():
    bright = np.random.default_rng(1).uniform(100, 1100, (64, 64))
    dim = 100 + (bright - 100) / 4
    scale = fit_target([bright, dim], "DAPI")
    assert np.ptp(to_target(dim, scale)) == pytest.approx(np.ptp(to_target(bright, scale)) / 4)


def test_large_frames_give_no_more_pixels_than_small_ones():
    large = np.random.default_rng(1).uniform(0, 1000, (1500, 900)).astype(np.float32)
    scale = fit_target([large], "DAPI")
    assert scale.scale == pytest.approx(999 - 50, rel=0.02)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((9, 9)), "stain DAPI is all zero in 81 pixels"),
        (np.full((9, 9), 100), "stain DAPI is constant at 100 in 81 pixels"),
        (np.full((9, 9), np.nan), "stain DAPI has 81 of 81 pixels that are not finite"),
        (
            np.minimum(np.arange(100).reshape(10, 10), 40),
            "stain DAPI is saturated: 60% of its pixels are at 40",
        ),
        (
            np.pad([[1]], ((0, 99), (0, 99))),
            "stain DAPI is constant at 0 in 94.9 % of 10000 pixels",
        ),
    ],
)
def test_a_stain_with_nothing_to_learn_is_refused(frame, words):
    with pytest.raises(TrainingError, match=words):
        fit_target([frame], "DAPI")


def test_a_stain_without_frames_is_refused():
    with pytest.raises(TrainingError, match="there is no frame of stain DAPI"):
        fit_target([], "DAPI")


@given(st.floats(-0.9, 2.9), st.floats(-1000, 1000), st.floats(0.1, 1e5))
def test_grey_levels_come_back(value, offset, scale):
    of = TargetScale(stain="DAPI", offset=offset, scale=scale)
    grey = to_grey(np.full(1, value, np.float32), of)
    np.testing.assert_allclose(to_target(grey, of), value, atol=1e-3 + 1e-6 * abs(offset) / scale)


def test_hot_pixels_are_clipped():
    of = TargetScale(stain="DAPI", offset=0, scale=1)
    assert to_target(np.array([-50, 0, 65_535]), of).tolist() == [-1, 0, 3]
