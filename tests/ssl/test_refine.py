"""Boundaries found again from the grey levels near by."""

import numpy as np
import pytest

from hcs.image.mask import dilate
from hcs.ssl.refine import boundary_odds, core, refine


def disc(radius, shape=(120, 120)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - shape[0] // 2, x - shape[1] // 2) <= radius


@pytest.mark.parametrize("grown", [0, 2, 4])
def test_a_mask_that_is_too_wide_comes_back_to_the_edge(grown):
    truth = disc(25)
    noise = np.random.default_rng(0).normal(0, 3, truth.shape)
    frame = np.rint(np.where(truth, 140, 100) + noise).astype(np.uint8)
    wide = dilate(truth, grown) if grown else truth
    assert (refine(wide, frame, max_hole_px=50) ^ truth).sum() < 0.06 * truth.sum()


def test_deep_inside_a_mask_nothing_is_taken_away():
    truth = disc(30)
    frame = np.random.default_rng(0).integers(90, 110, truth.shape).astype(np.uint8)
    assert refine(truth, frame, max_hole_px=50)[core(truth)].all()


def test_an_empty_mask_stays_empty():
    assert not refine(np.zeros((40, 40), bool), np.zeros((40, 40), np.uint8), 10).any()


def test_thin_objects_have_a_core_too():
    line = np.zeros((20, 40), bool)
    line[9:12, 5:35] = True
    assert core(line).any()
    assert (core(line) <= line).all()


def test_local_odds_are_the_definition():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    cell, everywhere = disc(9, (40, 50)), np.ones((40, 50), bool)
    found = boundary_odds(frame, cell, ~disc(12, (40, 50)), everywhere)
    mirrored = boundary_odds(
        frame[:, ::-1].copy(), cell[:, ::-1].copy(), ~disc(12, (40, 50))[:, ::-1].copy(), everywhere
    )
    assert np.allclose(found, mirrored[:, ::-1], atol=1e-3)
    assert np.abs(found).max() <= 8


def test_odds_are_zero_where_one_of_the_two_is_far_away():
    frame = np.random.default_rng(0).integers(0, 256, (90, 90)).astype(np.uint8)
    cell = np.zeros((90, 90), bool)
    cell[:3, :3] = True
    odds = boundary_odds(frame, cell, ~cell, np.ones((90, 90), bool))
    assert (odds[40:, 40:] == 0).all()
