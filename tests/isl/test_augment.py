"""Augmentation: input and target turn together, and a target never changes in value."""

import numpy as np
import pytest

from hcs.isl.augment import augmented, turned
from tests.isl.learnt import bright_spots

SQUARES = np.arange(6 * 2 * 8 * 8, dtype=np.float32).reshape(6, 2, 8, 8)


def rng():
    return np.random.default_rng(3)


def test_the_eight_turns_are_eight():
    seen = {turned(SQUARES[0], turn).tobytes() for turn in range(8)}
    assert len(seen) == 8


@pytest.mark.parametrize("turn", range(8))
def test_a_turn_moves_pixels_and_changes_none(turn):
    assert np.array_equal(np.sort(turned(SQUARES, turn), axis=None), SQUARES.ravel())


def test_nothing_is_nothing():
    inputs, target = augmented(SQUARES, [SQUARES], "none", rng())
    assert inputs is SQUARES
    assert target is SQUARES


def test_targets_and_weights_turn_with_the_inputs():
    inputs, target, weight = augmented(SQUARES, [SQUARES + 1, SQUARES[:, :1]], "flips", rng())
    assert np.array_equal(inputs + 1, target)
    assert np.array_equal(inputs[:, :1], weight)
    assert not np.array_equal(inputs, SQUARES)


def test_full_changes_the_grey_levels_of_the_inputs_only():
    scenes = np.stack([bright_spots(seed).inputs for seed in range(6)])
    inputs, target = augmented(scenes, [scenes], "full", rng())
    assert np.array_equal(np.sort(target, axis=None), np.sort(scenes, axis=None))
    assert inputs.dtype == np.float32
    for seen, true in zip(inputs, target, strict=True):  # the same scene
        assert np.corrcoef(seen.ravel(), true.ravel())[0, 1] > 0.9


def test_a_seed_gives_one_augmentation():
    first, second = (augmented(SQUARES, [SQUARES], "full", rng()) for _ in range(2))
    assert np.array_equal(first[0], second[0])


def test_the_batch_that_was_given_stays():
    before = SQUARES.copy()
    augmented(SQUARES, [SQUARES], "full", rng())
    assert np.array_equal(SQUARES, before)
