"""Scores: known values, and what is not defined is left out instead of poisoning a mean."""

import numpy as np
import pytest

from hcs.isl.scores import fit_scores, frame_scores, mean_scores

NOISE = np.random.default_rng(0).standard_normal((2, 20, 30)).astype(np.float32)


def test_a_stain_is_scored_whatever_its_gain_and_offset():
    assert fit_scores("stain", [NOISE], [3 * NOISE + 5]) == {"pcc": pytest.approx(1)}
    assert fit_scores("stain", [NOISE], [-NOISE]) == {"pcc": pytest.approx(-1)}


def test_a_constant_stain_has_no_correlation_and_is_left_out():
    flat = np.zeros_like(NOISE)
    assert fit_scores("stain", [NOISE, NOISE], [flat, NOISE]) == {"pcc": pytest.approx(1)}
    assert fit_scores("stain", [NOISE], [flat]) == {}
    half = np.stack([NOISE[0], flat[0]])
    assert fit_scores("stain", [NOISE], [half]) == {"pcc": pytest.approx(1)}


def mask(*pixels):
    return np.array(pixels, np.float32).reshape(1, 1, -1)


def test_overlap_has_one_pixel_added():
    assert fit_scores("nuclei", [mask(-1, 2, 2, -1)], [mask(0, 1, 1, 1)]) == {"iou": 3 / 4}


def test_two_empty_masks_agree():
    assert fit_scores("nuclei", [mask(-1, -1)], [mask(0, 0)]) == {"iou": 1}


def test_cells_are_scored_by_mask_and_distance():
    output = np.concatenate([mask(0.5, 0.0), mask(9, -9)])
    target = np.concatenate([mask(1.0, 0.0), mask(1, 0)])
    assert fit_scores("cells", [output], [target]) == {"iou": 1, "mse": 0.125}


@pytest.mark.parametrize("head", ["stain", "nuclei", "cells"])
def test_unknown_pixels_are_left_out(head):
    target = (NOISE > 0).astype(np.float32)
    output = NOISE.copy()
    weight = np.ones((20, 30), np.float32)
    weight[:5] = 0
    before = frame_scores(head, output, target, weight)
    output[:, :5] *= -3
    assert frame_scores(head, output, target, weight) == before
    assert frame_scores(head, output, target) != before


def test_a_frame_without_known_pixels_does_no_harm():
    nothing = np.zeros((20, 30), np.float32)
    assert frame_scores("stain", NOISE, NOISE, nothing) == {}
    assert frame_scores("cells", NOISE, NOISE, nothing) == {"iou": 1, "mse": 0}


def test_a_mean_is_over_the_frames_that_have_the_score():
    assert mean_scores([{"a": 1.0}, {"a": 2.0, "b": 5.0}, {}]) == {"a": 1.5, "b": 5.0}
