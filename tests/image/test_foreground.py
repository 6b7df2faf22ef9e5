import numpy as np
import pytest

from hcs.errors import FramesError
from hcs.image.foreground import foreground, local_background, smooth

_SHAPE = (160, 160)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def grounds(rng):
    slope = np.linspace(0, 400, _SHAPE[1])
    return {
        "constant": np.full(_SHAPE, 7.0),
        "noise": rng.normal(600, 100, _SHAPE),
        "photons": rng.poisson(5, _SHAPE),
        "slope": np.broadcast_to(slope, _SHAPE),
        "noisy slope": slope + rng.normal(0, 40, _SHAPE),
        "hot pixels": rng.normal(600, 10, _SHAPE) + 6e4 * (rng.random(_SHAPE) < 3e-4),
    }


@pytest.mark.parametrize("kind", grounds(np.random.default_rng(0)))
def test_a_background_alone_has_no_foreground(rng, kind):
    assert not foreground(smooth(grounds(rng)[kind], 2)).any()


def test_a_dim_square_is_seen_beside_one_fifty_times_as_bright(rng):
    image = rng.normal(100, 4, _SHAPE)
    image[20:40, 20:40] += 2000
    image[100:120, 100:120] += 40
    found = foreground(smooth(image, 2))
    assert found[30, 30]
    assert found[110, 110]
    assert found[:, 60:80].sum() == 0


def test_nothing_below_the_least_contrast_is_foreground(rng):
    image = smooth(np.where(np.arange(160) < 80, 100.0, 130.0) * np.ones((160, 1)), 1)
    assert foreground(image, min_contrast=20).any()
    assert not foreground(image, min_contrast=40).any()


def test_gain_and_offset_change_nothing(rng):
    image = rng.normal(100, 4, _SHAPE)
    image[20:60, 20:60] += 300
    scaled = foreground(smooth(7 * image + 900, 2))
    assert np.mean(scaled != foreground(smooth(image, 2))) < 1e-4


def test_the_local_background_follows_a_slope_below_objects():
    slope = np.broadcast_to(np.linspace(0, 100, _SHAPE[1], dtype=np.float32), _SHAPE).copy()
    mask = np.zeros(_SHAPE, bool)
    mask[70:90, 70:90] = True
    ground = local_background(np.where(mask, 5000, slope).astype(np.float32), mask, 20)
    middle = ground[20:-20, 40:-40] - slope[20:-20, 40:-40]
    assert np.abs(middle).max() < 5


def test_without_background_there_is_none_to_take_off():
    assert not local_background(np.ones((9, 9), np.float32), np.ones((9, 9), bool), 4).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(bad):
    image = np.zeros((8, 8))
    image[1, 1:3] = bad
    with pytest.raises(FramesError, match="2 of 64 pixels of the stain are not finite"):
        smooth(image, 1)
