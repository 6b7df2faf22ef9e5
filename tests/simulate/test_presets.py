import hashlib
import json

import numpy as np
import pytest

from hcs.simulate.field import Scene, simulate_field
from hcs.simulate.presets import PRESETS

# change a preset and every figure measured on it is void: give the new one a new name instead
DIGESTS = {"easy": "3391c41f2417706f", "moderate": "b10091bf4a409447", "hard": "05227fddbba4a08f"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_frozen(name):
    numbers = json.dumps(PRESETS[name].model_dump(), sort_keys=True)
    assert hashlib.sha256(numbers.encode()).hexdigest()[:16] == DIGESTS[name]


# mean of each channel, then the share of cells in each frame in thousandths
RENDERED = {
    "easy": [14453.45, 763.87, 824.06, 132.19, 134.53, 135.66],
    "moderate": [14591.41, 829.78, 1106.66, 262.93, 259.57, 260.39],
    "hard": [14577.89, 1126.28, 1401.57, 362.07, 365.35, 370.31],
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_a_preset_draws_is_frozen_too(name):
    field = simulate_field(
        PRESETS[name], Scene(shape=(160, 160), n_frames=3), np.random.SeedSequence(7)
    )
    found = [*field.frames.mean(axis=(0, 2, 3)), *((field.cells > 0).mean(axis=(1, 2)) * 1000)]
    assert np.allclose(found, RENDERED[name], rtol=2e-3)


def touching(labels):
    """Return the share of labels that touch another one."""
    found = set()
    for a, b in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        found |= set(a[meet]) | set(b[meet])
    return len(found) / max(len(np.unique(labels)) - 1, 1)


def steps_px(cells, labels):
    """Return how far whole cells moved from the first to the second frame."""
    steps = []
    for label in labels:
        places = [np.argwhere(frame == label) for frame in cells[:2]]
        if all(len(p) and p.min() > 2 and p.max() < cells.shape[1] - 3 for p in places):
            steps.append(np.hypot(*(places[1].mean(axis=0) - places[0].mean(axis=0))))
    return steps


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_keeps_what_its_numbers_promise(name):
    preset = PRESETS[name]
    fields = [
        simulate_field(preset, Scene(n_frames=2), np.random.SeedSequence(9, spawn_key=(i,)))
        for i in range(6)
    ]
    counts = [len(np.unique(field.cells[0])) - 1 for field in fields]
    # cells at the rim count although their centre lies outside
    assert np.mean(counts) == pytest.approx(1.12 * preset.cells_per_field, rel=0.1)
    shares = [touching(field.cells[0]) for field in fields]
    assert np.mean(shares) == pytest.approx(preset.share_touching, abs=0.1)
    steps = [
        s for f in fields for s in steps_px(f.cells, f.tracks.label[f.tracks.motion == "moving"])
    ]
    # of the centroid, which a change of shape moves as well
    assert np.median(steps) / preset.cell_diameter_px == pytest.approx(
        preset.step_diameters, abs=0.02
    )
    ratios = [contrast_to_noise(field) for field in fields]
    assert np.median(ratios) == pytest.approx(preset.contrast_to_noise, rel=0.3)


def contrast_to_noise(field):
    noise = field.frames[0, 0].astype(float) - field.noiseless[0]
    return field.noiseless[0][field.cells[0] > 0].std() / noise[field.cells[0] == 0].std()
