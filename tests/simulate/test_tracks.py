import numpy as np

from hcs.simulate.tracks import Life, clean, tracks


def frames_of(*serials):
    """Return one frame per tuple of serials, each a square of its own."""
    frames = np.zeros((len(serials), 8, 80), np.uint32)
    for t, seen in enumerate(serials):
        for serial in seen:
            frames[t, :, 8 * serial : 8 * serial + 7] = serial
    return frames


def test_a_division_links_daughters_to_their_mother():
    frames = frames_of((1,), (1,), (2, 3))
    lives = {1: Life(0, 10**6, "division"), 2: Life(1, 10**6), 3: Life(1, 10**6)}
    labels, table = tracks(frames, lives)
    assert table.parent_label.tolist() == [0, 1, 1]
    assert table.end.tolist() == ["division", "", ""]
    assert table.last_frame.tolist() == [1, 2, 2]
    assert np.array_equal(labels > 0, frames > 0)


def test_a_cell_that_leaves_and_comes_back_is_a_new_track():
    _, table = tracks(frames_of((5,), (), (5,)), {5: Life(0, 10**6)})
    assert table.label.tolist() == [1, 2]
    assert table.end.tolist() == ["left", ""]


def test_a_death_ends_a_track():
    _, table = tracks(frames_of((1,), ()), {1: Life(0, 10**6, "death")})
    assert table.end.tolist() == ["death"]


def test_only_the_last_track_of_a_cell_ends_by_its_death():
    _, table = tracks(frames_of((1,), (), (1,), ()), {1: Life(0, 10**6, "death")})
    assert table.end.tolist() == ["left", "death"]


def test_a_daughter_of_an_unseen_mother_has_no_parent():
    _, table = tracks(frames_of((), (2,)), {1: Life(0, 10**6, "division"), 2: Life(1, 10**6)})
    assert table.parent_label.tolist() == [0]


def test_motion_says_what_kind_of_cell_it_was():
    lives = {1: Life(0, 10**6), 2: Life(0, 1), 3: Life(0, 0)}
    _, table = tracks(frames_of((1, 2, 3), (1, 2, 3)), lives)
    assert table.motion.tolist() == ["moving", "stopped", "resting"]
    assert table.stops_at_frame.tolist() == [-1, 1, 0]


def test_slivers_are_nobodys_truth():
    owner = np.zeros((20, 20), np.uint32)
    owner[:10, :10], owner[15:17, 15:17] = 4, 9
    assert set(np.unique(clean(owner))) == {0, 4}
