from dataclasses import replace

import numpy as np

from hcs.simulate.cells import new_cells
from hcs.simulate.draw import draw
from hcs.simulate.presets import PRESETS


def cells_at(*places):
    rng = np.random.default_rng(3)
    cells = new_cells(np.array(places), np.full(len(places), 900.0), PRESETS["easy"], rng)
    return replace(cells, serial=np.arange(1, len(places) + 1))


def test_a_lone_cell_covers_its_area():
    drawing = draw(cells_at((60, 60)), (120, 120))
    assert abs((drawing.owner == 1).sum() - 900) < 45


def test_touching_cells_share_no_pixel_and_keep_their_centres():
    drawing = draw(cells_at((60, 50), (60, 66)), (120, 120))
    assert drawing.owner[60, 50] == 1
    assert drawing.owner[60, 66] == 2


def test_nuclei_lie_in_their_own_cells():
    drawing = draw(cells_at((40, 40), (60, 66), (90, 30)), (120, 120))
    inside = drawing.nucleus > 0
    assert set(np.unique(drawing.nucleus)) == {0, 1, 2, 3}
    assert np.array_equal(drawing.nucleus[inside], drawing.owner[inside])


def test_stains_are_dark_outside_the_cells():
    drawing = draw(cells_at((60, 60)), (120, 120))
    assert drawing.cell_stain[drawing.owner == 0].max() == 0
    assert drawing.nuclear_stain[drawing.nucleus == 0].max() == 0


def test_a_cell_outside_the_field_draws_nothing():
    assert draw(cells_at((-500, 60)), (120, 120)).owner.max() == 0


def test_a_field_may_have_no_cell():
    assert draw(cells_at((1, 1)).take(np.array([], int)), (64, 64)).owner.max() == 0
