import numpy as np

from hcs.simulate.cells import daughters, join, new_cells
from hcs.simulate.presets import PRESETS


def some_cells(n, seed=0):
    rng = np.random.default_rng(seed)
    return new_cells(rng.uniform(0, 200, (n, 2)), np.full(n, 900.0), PRESETS["moderate"], rng)


def test_the_same_generator_state_draws_the_same_cells():
    assert np.array_equal(some_cells(5).granules, some_cells(5).granules)


def test_joining_what_was_taken_apart_gives_the_cells_back():
    cells = some_cells(6)
    again = join([cells.take(np.arange(2)), cells.take(np.arange(2, 6))])
    assert np.array_equal(again.position, cells.position)
    assert len(again) == 6


def test_two_daughters_share_their_mothers_area_and_lie_around_her():
    mothers = some_cells(3)
    pair = daughters(mothers, PRESETS["moderate"], np.random.default_rng(1))
    assert len(pair) == 6
    assert np.allclose(pair.area[:3] + pair.area[3:], mothers.area)
    assert np.allclose((pair.position[:3] + pair.position[3:]) / 2, mothers.position)


def test_thick_cells_are_clear_and_thin_ones_full_of_granules():
    cells = some_cells(200)
    strength = np.abs(cells.granules[..., 2]).mean(axis=1)
    assert np.corrcoef(cells.depth, strength)[0, 1] < -0.5
