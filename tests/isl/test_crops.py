"""Crops: inside their frames, on the foreground, from seed and step alone, each frame read once."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.errors import TrainingError
from hcs.isl.crops import Batch, Example, batches
from tests.isl.learnt import small_recipe


def numbered(index, shape=(48, 64), foreground=1.0):
    """Return a frame whose pixels are numbered, so that a crop tells where it is from."""
    pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    target = np.full((1, *shape), foreground, np.float32)
    return Example(pixels, target, f"frame {index}")


class Counted(list):
    """Frames that count how often each is read."""

    def __init__(self, examples):
        super().__init__(examples)
        self.reads = Counter()

    def __getitem__(self, index):
        self.reads[index] += 1
        return super().__getitem__(index)


def first(n, examples, recipe, seed=0, start=0):
    return list(islice(batches(examples, recipe, seed, start), n))


def same(a: Batch, b: Batch):
    return (
        a.names == b.names
        and np.array_equal(a.inputs, b.inputs)
        and np.array_equal(a.target, b.target)
    )


@given(
    st.lists(st.tuples(st.integers(32, 70), st.integers(32, 70)), min_size=1, max_size=5),
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(0, 30),
)
@settings(max_examples=30)
def test_a_crop_is_a_square_of_its_frame(shapes, seed, block_frames, start):
    examples = [numbered(i, shape) for i, shape in enumerate(shapes)]
    recipe = small_recipe(augment="none", block_frames=block_frames)
    (batch,) = first(1, examples, recipe, seed, start)
    assert batch.inputs.shape == (4, 1, 32, 32)
    for crop, name in zip(batch.inputs[:, 0], batch.names, strict=True):
        image = examples[int(name.split()[1])].inputs[0]
        top, left = divmod(int(crop[0, 0]), image.shape[1])
        assert np.array_equal(crop, image[top : top + 32, left : left + 32])


@pytest.mark.parametrize("crops", ["each step", "once"])
@pytest.mark.parametrize("start", [1, 4, 7, 23])
def test_starting_at_a_step_is_skipping_those_before(start, crops):
    examples = [numbered(i) for i in range(7)]
    recipe = small_recipe(block_frames=3, crops=crops)
    skipped = first(start + 6, examples, recipe, seed=5)[start:]
    assert all(map(same, skipped, first(6, examples, recipe, seed=5, start=start)))


def test_another_seed_gives_other_batches():
    examples, recipe = [numbered(i) for i in range(3)], small_recipe()
    (a,), (b,) = (first(1, examples, recipe, seed) for seed in (1, 2))
    assert not same(a, b)


def test_each_frame_is_read_once_in_a_pass():
    examples = Counted([numbered(i) for i in range(10)])
    recipe = small_recipe(block_frames=4, crops_per_image=4, batch=4)
    first(12, examples, recipe)  # three blocks of 4 steps
    assert set(examples.reads.values()) == {1}
    assert set(examples.reads) == set(range(10))


def test_frames_of_one_block_are_read_once_for_all():
    examples = Counted([numbered(i) for i in range(3)])
    first(50, examples, small_recipe(block_frames=3))
    assert examples.reads == {0: 1, 1: 1, 2: 1}


def test_a_pass_shows_every_frame():
    recipe = small_recipe(block_frames=2, crops_per_image=2, batch=2)
    seen = {
        name for batch in first(6, [numbered(i) for i in range(6)], recipe) for name in batch.names
    }
    assert seen == {f"frame {i}" for i in range(6)}


def places(batches_):
    return {
        (name, float(crop[0, 0, 0]))
        for batch in batches_
        for crop, name in zip(batch.inputs, batch.names, strict=True)
    }


def test_crops_drawn_once_stay_where_they_are():
    recipe = small_recipe(augment="none", crops="once", crops_per_image=3, block_frames=2)
    examples = [numbered(i) for i in range(4)]
    assert len(places(first(60, examples, recipe))) == 12


def test_crops_drawn_each_time_go_everywhere():
    recipe = small_recipe(augment="none", crops_per_image=3, block_frames=2)
    assert len(places(first(60, [numbered(i) for i in range(4)], recipe))) > 100


def spotted(share):
    """Return a frame of 128 x 128 that is foreground in its upper rows only."""
    example = numbered(0, (128, 128), foreground=0.0)
    example.target[:, : round(128 * share)] = 1
    return example


def test_crops_have_the_foreground_that_was_asked_for():
    recipe = small_recipe(min_foreground=0.4, foreground_crops=1.0, crop_tries=200)
    shares = [batch.target.mean(axis=(1, 2, 3)) for batch in first(10, [spotted(0.25)], recipe)]
    assert np.min(shares) >= 0.4


def test_some_crops_may_lie_anywhere():
    recipe = small_recipe(min_foreground=0.4, foreground_crops=0.5, crop_tries=200)
    shares = [batch.target.mean(axis=(1, 2, 3)) for batch in first(20, [spotted(0.25)], recipe)]
    assert 0 < np.mean(np.array(shares) >= 0.4) < 1


def test_where_no_crop_has_enough_the_best_is_taken():
    recipe = small_recipe(min_foreground=0.9, foreground_crops=1.0, crop_tries=200)
    shares = [batch.target.mean(axis=(1, 2, 3)) for batch in first(5, [spotted(0.125)], recipe)]
    assert np.min(shares) > 0.4  # of .5 at most


def test_a_single_foreground_pixel_is_found():
    example = numbered(0, (400, 300), foreground=0.0)
    example.target[0, 399, 17] = 1
    recipe = small_recipe(foreground_crops=1.0, crop_tries=1)
    assert all(
        (batch.target.sum(axis=(1, 2, 3)) == 1).all() for batch in first(5, [example], recipe)
    )


def test_a_frame_without_foreground_gives_its_place_to_another():
    examples = [numbered(0, foreground=0.0), numbered(1)]
    recipe = small_recipe(foreground_crops=1.0)
    names = {name for batch in first(5, examples, recipe) for name in batch.names}
    assert names == {"frame 1"}


def test_a_block_of_background_is_seen_as_it_is():
    examples = [numbered(i, foreground=float(i == 3)) for i in range(4)]
    recipe = small_recipe(foreground_crops=1.0, block_frames=1)
    names = {name for batch in first(16, examples, recipe) for name in batch.names}
    assert names == {f"frame {i}" for i in range(4)}


@pytest.mark.parametrize("block_frames", [1, 2, 5])
def test_frames_without_any_foreground_end_the_training(block_frames):
    examples = [numbered(i, foreground=0.2) for i in range(5)]
    with pytest.raises(
        TrainingError,
        match=r"crops that cannot be found: 5 frames, frame \d among them, have no pixel with "
        r"a target of 0.5 or more",
    ):
        first(50, examples, small_recipe(block_frames=block_frames))


def test_foreground_that_is_unknown_does_not_count():
    example = replace(numbered(0), weight=np.zeros((48, 64), np.float32))
    with pytest.raises(TrainingError, match="crops that cannot be found"):
        first(1, [example], small_recipe())


def test_weights_are_cut_with_their_frames_and_are_1_without():
    weighted = replace(numbered(0), weight=numbered(0).inputs[0] + 1)
    recipe = small_recipe(augment="flips")
    for batch in first(10, [weighted, numbered(1)], recipe):
        if batch.weight is not None:
            for crop, weight, name in zip(batch.inputs, batch.weight, batch.names, strict=True):
                assert np.array_equal(weight, crop + 1 if name == "frame 0" else np.ones_like(crop))


def test_without_weights_there_are_none():
    assert first(1, [numbered(0)], small_recipe())[0].weight is None


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "there is no frame to train on"),
        (
            [numbered(0, (40, 31))],
            "frame 0 is 40 x 31, smaller than a crop of 32 pixels .leave that image out",
        ),
        (
            [replace(numbered(0), target=np.ones((1, 48, 63), np.float32))],
            "frame 0 is 48 x 64 pixels, but its target is 48 x 63",
        ),
        (
            [replace(numbered(0), weight=np.ones((4, 64), np.float32))],
            "frame 0 is 48 x 64 pixels, but its weight map is 4 x 64",
        ),
        (
            [numbered(0), replace(numbered(1), inputs=np.ones((3, 48, 64), np.float32))],
            "frame 1 has 3 input and 1 target planes, frame 0 1 and 1",
        ),
    ],
)
def test_frames_that_cannot_be_cut_are_named(examples, words):
    with pytest.raises(TrainingError, match=words):
        first(1, examples, small_recipe())


def test_a_frame_smaller_than_a_crop_tells_what_would_fit():
    with pytest.raises(TrainingError, match=r"set recipe\.crop_px to 64"):
        first(1, [numbered(0, (100, 70))], small_recipe(crop_px=128))
