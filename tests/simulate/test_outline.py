from dataclasses import replace

import numpy as np

from hcs.simulate.cells import new_cells
from hcs.simulate.outline import radii
from hcs.simulate.presets import PRESETS


def some_cells(n=30):
    rng = np.random.default_rng(0)
    return new_cells(np.zeros((n, 2)), rng.uniform(400, 2000, n), PRESETS["moderate"], rng)


def test_a_spread_outline_encloses_the_cells_area():
    cells = some_cells()
    assert np.allclose(np.pi * np.mean(radii(cells) ** 2, axis=1), cells.area)


def test_a_ball_is_round_and_half_as_large():
    cells = replace(some_cells(), roundness=np.ones(30))
    outline = radii(cells)
    assert np.allclose(outline, outline[:, :1])
    assert np.allclose(np.pi * outline[:, 0] ** 2, cells.area / 2)


def test_turning_a_cell_turns_its_outline():
    cells = some_cells()
    turned = replace(cells, heading=cells.heading + np.pi / 2)
    assert np.allclose(radii(turned), np.roll(radii(cells), 64, axis=1))
