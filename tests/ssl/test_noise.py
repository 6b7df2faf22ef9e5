"""Noise and the blur that answers it."""

import numpy as np
import pytest

from hcs.ssl.noise import blur, blur_sigma, noise_level
from tests.drawn import crawling_cells


@pytest.mark.parametrize("sd", [4.0, 10.0, 20.0])
def test_the_noise_of_a_flat_pair_is_found(sd):
    rng = np.random.default_rng(0)
    pair = np.clip(np.rint(rng.normal(128, sd, (2, 200, 200))), 0, 255).astype(np.uint8)
    assert noise_level(pair[0], pair[1]) == pytest.approx(sd, rel=0.25)  # medians of integers


def test_moving_cells_are_not_taken_for_noise():
    frames = crawling_cells(0).frames  # noise 1.5 grey levels; integers: off by up to one step
    assert noise_level(frames[1], frames[0]) < 3


def test_no_noise_no_blur():
    frame = crawling_cells(0).frames[0]
    assert blur(frame, blur_sigma(0.0, 10.6, 4.0)) is frame


def test_the_blur_takes_the_noise_away():
    noisy = np.random.default_rng(0).normal(128, 20, (200, 200)).clip(0, 255).astype(np.uint8)
    assert blur(noisy, 2.0).std() < 4
