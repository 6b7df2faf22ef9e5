"""A plate as squares: what is where, and what failed."""

import cv2
import numpy as np
import pytest

from hcs.report.heatmap import draw_heat_map, to_grid

ROWS, COLUMNS = ("A", "B", "C"), ("1", "2", "3", "4")


def picture_of(values, failed=()):
    png = draw_heat_map(values, ROWS, COLUMNS, "cells", failed)
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_every_figure_stands_at_its_well():
    values = {("A", "1"): 1.0, ("C", "4"): 2.0}
    grid = to_grid(values, ROWS, COLUMNS)
    assert (grid[0, 0], grid[2, 3]) == (1.0, 2.0)
    assert np.isnan(grid).sum() == 10


def test_more_is_brighter_and_a_well_without_a_figure_is_grey():
    picture = picture_of({("A", "1"): 1.0, ("C", "4"): 2.0})
    # the ends of viridis
    low, high = (np.abs(picture - colour).sum(-1) < 9 for colour in ((68, 1, 84), (253, 231, 37)))
    grey = np.abs(picture - (227, 229, 232)).sum(-1) < 9
    (y_low, x_low), (y_high, _) = (np.argwhere(mask).mean(0) for mask in (low, high))
    assert y_low < y_high
    assert x_low < picture.shape[1] / 2
    assert grey.sum() > 5 * low.sum()


@pytest.mark.parametrize("values", [{}, {("B", "2"): float("nan")}])
def test_a_plate_without_figures_is_drawn_all_the_same(values):
    assert picture_of(values).ndim == 3


def test_a_failed_well_is_crossed_out():
    red = [
        (np.abs(picture_of({("A", "1"): 1.0}, failed) - (192, 57, 43)).sum(-1) < 30).any()
        for failed in ((), (("B", "2"),))
    ]
    assert red == [False, True]
