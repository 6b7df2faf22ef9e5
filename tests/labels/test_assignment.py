"""Links between objects, in typical diameters."""

import numpy as np
import pandas as pd
import pytest

from hcs.labels.assignment import FrameObjects, link_neighbours, link_the_rest, objects_by_frame
from hcs.labels.settings import TrackSettings


def frame(*places):
    """Return objects of one size at (y, x), that stood still."""
    position = np.array(places, dtype=float).reshape(-1, 2)
    return FrameObjects(position, position, np.full(len(places), 80.0))


def all_links(*frames, **changes):
    settings = TrackSettings(**changes)
    return link_the_rest(list(frames), link_neighbours(list(frames), settings), settings)


def test_lengths_are_in_typical_diameters_and_the_stage_stands_still():
    rows = pd.DataFrame(
        {"time_index": [0, 2], "y": [10.0, 16], "x": [0.0, 3], "area": [np.pi * 25] * 2}
    ).assign(dy=np.nan, dx=[np.nan, 5.0])
    drift = np.array([[99.0, 99], [2, 0], [4, 3]])
    first, empty, last = objects_by_frame(rows, drift, TrackSettings(displacement_weight=1))
    np.testing.assert_allclose(first.position, [[1, 0]])
    assert empty.position.shape == (0, 2)
    np.testing.assert_allclose(last.position, [[1, 0]])
    # an unknown motion is none; of a known one the drift is taken away
    np.testing.assert_allclose(last.before, [[1, -0.2]])


def test_what_was_where_another_is_now_is_linked_to_it():
    here = frame((0, 0), (0, 1))
    moved = FrameObjects(here.position, here.position[::-1], here.area)
    assert link_neighbours([here, moved], TrackSettings()) == [((0, 0), (1, 1)), ((0, 1), (1, 0))]


def test_no_link_reaches_further_than_the_longest_step():
    step = TrackSettings().max_step
    assert len(link_neighbours([frame((0, 0)), frame((0, 0.99 * step))], TrackSettings())) == 1
    assert link_neighbours([frame((0, 0)), frame((0, 1.01 * step))], TrackSettings()) == []


@pytest.mark.parametrize(("max_gap_frames", "links"), [(1, [((0, 0), (2, 0))]), (0, [])])
def test_a_gap_is_closed_if_it_may_be(max_gap_frames, links):
    assert all_links(frame((5, 5)), frame(), frame((5, 5)), max_gap_frames=max_gap_frames) == links


def test_a_beginning_near_an_object_that_goes_on_gets_it_as_mother():
    mother, daughters = frame((0, 0), (9, 9)), frame((0, 0.1), (0, 0.4), (9, 9))
    assert all_links(mother, daughters) == [
        ((0, 0), (1, 0)),
        ((0, 0), (1, 1)),
        ((0, 1), (1, 2)),
    ]


def test_links_given_are_kept_whatever_laptrack_is_shown():
    still = [frame((0, 0), (3, 3)) for _ in range(6)]
    links = link_neighbours(still, TrackSettings())
    assert link_the_rest(still, links, TrackSettings()) == sorted(links)
