from dataclasses import replace

import numpy as np

from hcs.simulate.cells import DYING, ROUNDING
from hcs.simulate.motion import UNTREATED, Treatment, advance
from hcs.simulate.presets import PRESETS
from hcs.simulate.seeding import seed_cells

QUIET = PRESETS["moderate"].model_copy(update={"divisions_per_frame": 0, "deaths_per_frame": 0})


def cells_at_rest(seed=0):
    return seed_cells(QUIET, (200, 200), 5, 1.0, np.random.default_rng(seed))


def step(cells, treatment=UNTREATED, preset=QUIET, frame=1):
    return advance(cells, frame, 1000, preset, treatment, np.random.default_rng(1))


def test_a_cell_that_stands_still_keeps_place_outline_and_granules():
    cells = replace(cells_at_rest(), stops_at=np.zeros(len(cells_at_rest()), int))
    after = step(cells).cells
    assert np.array_equal(after.position, cells.position)
    assert np.array_equal(after.modes, cells.modes)
    assert np.array_equal(after.granules, cells.granules)


def test_moving_cells_go_about_as_far_as_the_preset_says():
    cells = cells_at_rest()
    went = np.hypot(*(step(cells).cells.position - cells.position).T)[cells.stops_at > 1]
    wanted = QUIET.step_diameters * QUIET.cell_diameter_px
    assert 0.7 * wanted < np.median(went) < 1.5 * wanted


def test_a_drug_on_motility_slows_cells():
    cells = cells_at_rest()
    slow = step(cells, Treatment(motility=0.1)).cells.position - cells.position
    fast = step(cells).cells.position - cells.position
    assert np.abs(slow).sum() < 0.2 * np.abs(fast).sum()


def test_a_cell_rounds_up_and_divides_into_two_with_new_serials():
    cells = cells_at_rest()
    cells = replace(cells, stage=np.full(len(cells), ROUNDING), age=np.full(len(cells), 3))
    result = step(cells)
    assert set(result.divided) == set(cells.serial)
    assert len(result.cells) == 2 * len(cells)
    assert result.cells.serial.min() == 1000
    assert set(result.cells.parent) == set(cells.serial)


def test_a_dying_cell_is_gone_after_an_hour_and_leaves_its_place():
    cells = cells_at_rest()
    cells = replace(cells, stage=np.full(len(cells), DYING), age=np.full(len(cells), 6))
    result = step(cells)
    assert len(result.cells) == 0
    assert np.array_equal(result.died, cells.serial)
    assert result.died_at.shape == (len(cells), 2)


def test_a_drug_on_death_kills_more_cells():
    preset = QUIET.model_copy(update={"deaths_per_frame": 0.02})
    cells = cells_at_rest()
    dying = [
        (step(cells, Treatment(death=d), preset).cells.stage == DYING).sum() for d in (1.0, 10.0)
    ]
    assert dying[1] > dying[0]
