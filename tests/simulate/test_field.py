import numpy as np
import pytest

from hcs.simulate.field import Scene, simulate_field
from hcs.simulate.motion import Treatment
from hcs.simulate.presets import PRESETS

SMALL = (128, 128)


def field(preset="moderate", seed=0, **scene):
    return simulate_field(
        PRESETS[preset],
        Scene(**{"shape": SMALL, "n_frames": 4} | scene),
        np.random.SeedSequence(seed),
    )


def test_equal_seeds_give_equal_fields_and_others_differ():
    assert np.array_equal(field().frames, field().frames)
    assert not np.array_equal(field().frames, field(seed=1).frames)


def test_a_seed_gives_the_same_field_however_often_it_is_used():
    seed, scene = np.random.SeedSequence(1), Scene(shape=(64, 64), n_frames=1)
    first, second = (simulate_field(PRESETS["easy"], scene, seed) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)


def test_truth_and_frames_have_one_shape():
    simulated = field()
    assert simulated.frames.shape == (4, 3, *SMALL)
    assert simulated.noiseless.shape == simulated.cells.shape == simulated.nuclei.shape
    assert simulated.cells.dtype == np.uint32


def test_every_label_is_one_track_over_its_frames():
    simulated = field(n_frames=6)
    assert simulated.tracks.label.tolist() == list(range(1, len(simulated.tracks) + 1))
    for row in simulated.tracks.itertuples():
        seen = np.flatnonzero((simulated.cells == row.label).any(axis=(1, 2)))
        assert seen.tolist() == list(range(row.first_frame, row.last_frame + 1))


def test_a_nucleus_has_its_cells_label():
    simulated = field()
    inside = simulated.nuclei > 0
    assert inside.any()
    assert np.array_equal(simulated.nuclei[inside], simulated.cells[inside])


def test_the_truth_drifts_with_the_image():
    preset = PRESETS["easy"].model_copy(update={"drift_px": 4.0, "resting_share": 1.0})
    quiet = preset.model_copy(update={"deaths_per_frame": 0.0, "divisions_per_frame": 0.0})
    simulated = simulate_field(
        quiet, Scene(shape=(256, 256), n_frames=3), np.random.SeedSequence(4)
    )
    moved = []
    for label in range(1, len(simulated.tracks) + 1):
        places = [np.argwhere(frame == label) for frame in simulated.cells]
        if all(len(p) and p.min() > 2 and p.max() < 253 for p in places):
            moved.append(places[2].mean(axis=0) - places[0].mean(axis=0))
    assert len(moved) > 2
    assert np.ptp(moved, axis=0).max() < 1.0
    assert np.abs(np.mean(moved, axis=0)).max() > 1.0


def test_an_empty_well_has_debris_but_no_cell():
    simulated = field(preset="hard", accident="empty_well")
    assert simulated.cells.max() == 0
    assert len(simulated.tracks) == 0
    assert simulated.noiseless.std() > 100


def test_a_blank_frame_is_dark_though_its_cells_are_there():
    simulated = field(accident="blank_frame")
    assert simulated.frames[2].mean() < 0.1 * simulated.frames[1].mean()
    assert simulated.cells[2].max() > 0


def test_a_saturated_field_is_saturated():
    assert (field(accident="saturated").frames[:, 0] == 65535).mean() > 0.9


def test_a_deadly_drug_leaves_fewer_cells_moving():
    ends = [
        (field(n_frames=12, shape=(256, 256), treatment=t).tracks.end == "death").sum()
        for t in (Treatment(), Treatment(death=10.0))
    ]
    assert ends[0] < ends[1]


@pytest.mark.parametrize("optics", ["phase", "brightfield"])
def test_both_optics_show_the_same_truth(optics):
    assert np.array_equal(field(optics=optics).cells, field().cells)


def test_a_dim_well_has_less_light():
    assert field(brightness=0.5).noiseless.mean() < 0.6 * field().noiseless.mean()
