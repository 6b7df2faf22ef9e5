import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.image.similarity import pearson, rmse, ssim


def images(seed, shape=(24, 32)):
    rng = np.random.default_rng(seed)
    truth = rng.normal(500, 100, shape)
    return truth + rng.normal(0, 60, shape), truth


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_gain_and_offset_do_not_change_the_correlation(seed, gain, offset):
    image, truth = images(seed)
    assert pearson(gain * image + offset, truth) == pytest.approx(pearson(image, truth), abs=1e-6)
    assert pearson(-image, truth) == pytest.approx(-pearson(image, truth))


@given(seeds)
def test_the_correlation_is_that_of_numpy_and_symmetric(seed):
    image, truth = images(seed)
    assert pearson(image, truth) == pytest.approx(np.corrcoef(image.ravel(), truth.ravel())[0, 1])
    assert pearson(image, truth) == pearson(truth, image)


def test_integers_do_not_overflow():
    image = np.array([[0, 65535], [65535, 0]], np.uint16)
    assert pearson(image, image) == 1
    assert rmse(image, image[::-1]) == 65535


@pytest.mark.parametrize("score", [pearson, ssim])
def test_what_is_constant_has_no_score(score):
    image, _ = images(0)
    assert math.isnan(score(image, np.full(image.shape, 0.1)))


def test_a_constant_prediction_has_no_correlation_but_is_not_similar():
    _, truth = images(0)
    assert math.isnan(pearson(np.full(truth.shape, 0.1), truth))
    assert ssim(np.full(truth.shape, truth.mean()), truth) < 0.5


@given(seeds)
def test_only_equal_images_are_wholly_similar(seed):
    image, truth = images(seed)
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(image, truth) < 0.99


def test_similarity_falls_with_noise_and_counts_an_offset():
    rng = np.random.default_rng(3)
    truth = np.kron(rng.integers(0, 2, (6, 6)) * 900.0, np.ones((8, 8)))
    noise = rng.normal(0, 1, truth.shape)
    scores = [ssim(truth + sd * noise, truth) for sd in (0, 20, 80, 320)]
    assert scores == sorted(scores, reverse=True)
    assert ssim(truth + 300, truth) < 0.95
    assert pearson(truth + 300, truth) == pytest.approx(1)


def test_a_gain_of_both_changes_no_similarity():
    image, truth = images(1)
    assert ssim(40 * image, 40 * truth) == pytest.approx(ssim(image, truth))


def test_a_hot_pixel_widens_no_range():
    image, truth = images(2, (96, 96))
    hot = truth.copy()
    hot[50, 50] = 65535
    assert ssim(image, hot) == pytest.approx(ssim(image, truth), abs=0.05)


def test_a_single_stained_spot_is_range_enough():
    truth = np.zeros((128, 128))
    truth[60:62, 60:62] = 100
    assert ssim(truth, truth) == pytest.approx(1)


@pytest.mark.parametrize("score", [pearson, ssim, rmse])
def test_images_of_two_shapes_are_refused(score):
    with pytest.raises(
        ValueError, match=r"the image is \(20, 30\) pixels, its truth is \(30, 20\)"
    ):
        score(np.zeros((20, 30)), np.zeros((30, 20)))


def test_similarity_needs_room_for_its_window():
    with pytest.raises(
        ValueError, match=r"SSIM needs sides of 11 pixels, the images are \(10, 40\)"
    ):
        ssim(np.ones((10, 40)), np.ones((10, 40)))
