import numpy as np

from hcs.simulate.presets import PRESETS
from hcs.simulate.substrate import PLATE_MARGIN_PX, shift, substrate


def plate_with(**numbers):
    preset = PRESETS["easy"].model_copy(update=numbers)
    return substrate(preset, (128, 128), np.random.default_rng(0))


def test_debris_and_coating_each_roughen_a_plate():
    assert plate_with(debris_per_field=0).std() == 0
    assert plate_with(debris_per_field=40).std() > 0.01
    coated = plate_with(debris_per_field=0, texture_share=0.3, texture_rad=0.1)
    assert 0.02 < coated.std() < 0.1


def test_whole_pixels_of_drift_move_the_plate_exactly():
    plate = substrate(PRESETS["hard"], (64, 64), np.random.default_rng(0))
    still, moved = shift(plate, (0.0, 0.0)), shift(plate, (3.0, -2.0))
    assert np.allclose(moved[3:, :-2], still[:-3, 2:], atol=1e-5)
    margin = PLATE_MARGIN_PX
    assert np.allclose(still, plate[margin:-margin, margin:-margin], atol=1e-5)
