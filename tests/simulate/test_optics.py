import numpy as np
import pytest

from hcs.simulate.optics import (
    CAMERA_OFFSET,
    bright_field,
    expose,
    light,
    phase_contrast,
    quantise,
)


def disk(radius, height):
    y, x = np.mgrid[-48:48, -48:48]
    return (height * (np.hypot(y, x) < radius)).astype(np.float32)


def test_a_thin_cell_is_dark_with_a_bright_halo_in_phase_contrast():
    image = phase_contrast(disk(14, 0.2))
    assert image[48, 48] < 0.95
    assert image[48, 48 + 17] > 1.01


def test_the_middle_of_a_wide_cell_shades_off():
    image = phase_contrast(disk(40, 0.2))
    assert image[48, 48] > image[48, 48 + 36]


def test_a_ball_is_bright_in_phase_contrast():
    assert phase_contrast(disk(8, 2.5))[48, 48] > 1.5


def test_bright_field_shows_edges_and_hardly_the_inside():
    image = bright_field(disk(25, 0.4))
    assert image.shape == (96, 96)
    ring = np.abs(image[48, 48 + 20 : 48 + 30] - 1).max()
    assert ring > 5 * abs(image[48, 48] - 1)


@pytest.mark.parametrize("image", [phase_contrast, bright_field])
def test_without_a_specimen_the_field_is_flat(image):
    assert np.allclose(image(np.zeros((64, 64), np.float32)), 1, atol=1e-3)


def test_the_light_is_one_on_average_and_less_in_the_corners():
    field = light((128, 128), 0.3, 0, 0.0, np.random.default_rng(0))
    assert np.isclose(field.mean(), 1)
    assert field[0, 0] < field[64, 64]


def test_the_noise_is_what_was_asked_for_at_the_background():
    frame = expose(np.ones((256, 256), np.float32), 10000, 0.02, np.random.default_rng(0))
    assert frame.dtype == np.uint16
    assert frame.mean() == pytest.approx(10000 + CAMERA_OFFSET, rel=1e-3)
    assert frame.std() == pytest.approx(200, rel=0.05)


def test_too_much_light_saturates():
    assert quantise(np.full((2, 2), 9, np.float32), 14000).min() == 65535
