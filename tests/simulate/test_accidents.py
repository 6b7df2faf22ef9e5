import numpy as np
import pytest

from hcs.simulate.accidents import spoil


def images():
    return tuple(np.random.default_rng(i).uniform(0, 1, (64, 64)).astype("f4") for i in range(3))


@pytest.mark.parametrize(
    ("accident", "spoiled"),
    [
        (None, set()),
        ("blank_frame", {4}),
        ("out_of_focus", {3, 4, 5}),
        ("saturated", set(range(9))),
        ("empty_well", set()),
    ],
)
def test_an_accident_spoils_its_frames_and_no_others(accident, spoiled):
    changed = {
        frame
        for frame in range(9)
        if not np.array_equal(spoil(images(), accident, frame, 9)[0], images()[0])
    }
    assert changed == spoiled


def test_out_of_focus_images_lose_their_detail():
    assert spoil(images(), "out_of_focus", 4, 9)[0].std() < 0.1 * images()[0].std()
