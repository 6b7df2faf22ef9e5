import numpy as np
import pytest

from hcs.simulate.presets import PRESETS
from hcs.simulate.seeding import place, seed_cells


def neighbour_distance(centres, radius):
    away = centres[:, None] - centres[None]
    distance = np.hypot(away[..., 0], away[..., 1]) / (radius[:, None] + radius[None])
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_sociable_disks_lie_beside_another_and_none_lies_on_another(share):
    radius = np.full(40, 10.0)
    nearest = neighbour_distance(place(radius, (600, 600), share, np.random.default_rng(0)), radius)
    assert nearest.min() > 0.6
    assert (nearest < 0.95).mean() >= 0.9 * share


def test_a_well_that_hardly_grows_begins_with_fewer_cells():
    counts = [
        len(seed_cells(PRESETS["easy"], (512, 512), 5, growth, np.random.default_rng(0)))
        for growth in (0.1, 1.0)
    ]
    assert counts[0] < 0.8 * counts[1]


def test_stopping_and_resting_cells_are_as_many_as_the_preset_says():
    preset = PRESETS["hard"]
    stops = seed_cells(preset, (2048, 2048), 10, 1.0, np.random.default_rng(0)).stops_at
    assert np.mean(stops == 0) == pytest.approx(preset.resting_share, abs=0.03)
    stopping = np.mean((stops > 0) & (stops < 10))
    assert stopping == pytest.approx(preset.stopping_share, abs=0.03)
