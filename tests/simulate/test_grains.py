from dataclasses import replace

import numpy as np

from hcs.simulate.cells import new_cells
from hcs.simulate.draw import draw
from hcs.simulate.grains import granules, splat, spread, within_nuclei
from hcs.simulate.presets import PRESETS


def test_points_keep_their_strength_wherever_they_fall():
    rng = np.random.default_rng(0)
    y, x, strength = rng.uniform(1, 30, 50), rng.uniform(1, 30, 50), rng.uniform(0, 1, 50)
    assert np.isclose(splat(y, x, strength, (32, 32)).sum(), strength.sum(), rtol=1e-5)


def test_points_outside_the_frame_are_left_out():
    assert splat(np.array([-5.0, 40.0]), np.array([3.0, 3.0]), np.ones(2), (32, 32)).sum() == 0


def test_a_spread_point_of_strength_one_is_about_one_high():
    image = spread(splat(np.array([16.0]), np.array([16.0]), np.ones(1), (33, 33)), 2.0)
    assert abs(image.max() - 1) < 0.1


def test_granules_lie_in_the_cytoplasm_and_chromatin_in_the_nucleus():
    cells = new_cells(
        np.array([[60.0, 60.0]]), np.array([1600.0]), PRESETS["hard"], np.random.default_rng(0)
    )
    cells = replace(cells, serial=np.array([1]))
    drawing = draw(cells, (120, 120))
    grain = np.abs(granules(cells, drawing.owner))
    dots = np.abs(within_nuclei(cells, cells.chromatin, 1.0, (120, 120)))
    core = drawing.nucleus > 0
    assert grain[core].mean() < 0.5 * grain[(drawing.owner > 0) & ~core].mean()
    assert dots[core].mean() > 10 * dots[drawing.owner == 0].mean()
