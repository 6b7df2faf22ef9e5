from dataclasses import replace

import numpy as np

from hcs.simulate.cells import new_cells
from hcs.simulate.draw import draw
from hcs.simulate.presets import PRESETS
from hcs.simulate.stains import cells_stain, nuclei_stain


def test_nuclei_glow_in_one_stain_and_whole_cells_in_the_other():
    cells = new_cells(
        np.array([[64.0, 64.0]]), np.array([1600.0]), PRESETS["easy"], np.random.default_rng(0)
    )
    drawing = draw(replace(cells, serial=np.array([1])), (128, 128))
    nothing = np.zeros((128, 128), np.float32)
    nuclear, cellular = nuclei_stain(drawing, nothing, nothing), cells_stain(drawing, nothing)
    cytoplasm, outside = (drawing.owner > 0) & (drawing.nucleus == 0), drawing.owner == 0
    assert nuclear[drawing.nucleus > 0].mean() > 5 * nuclear[cytoplasm].mean()
    assert cellular[cytoplasm].mean() > 3 * cellular[outside].mean()
