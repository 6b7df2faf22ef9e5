"""Training: it learns, goes on after any kill to the same weights, and stops where it must."""

from dataclasses import replace
from functools import partial
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from torch import nn

from hcs.errors import TrainingError
from hcs.isl.card import Architecture
from hcs.isl.checkpoint import Checkpoints
from hcs.isl.crops import batches
from hcs.isl.network import build_network, transfer
from hcs.isl.train import kept_weights, train
from tests.isl.learnt import as_cells, bright_spots, frames, small_recipe, tiny_network

EXAMPLES = [bright_spots(seed) for seed in range(4)]
HELD_OUT = frames(bright_spots(90), bright_spots(91, (40, 70)))


class Killed(Exception):
    """What ends a session of training."""


def train_here(folder, recipe=None, *, killed_at=None, seed=3, validation=HELD_OUT, **changes):
    """Train the tiny network in a folder; return what came of it and its progress."""
    recipe = recipe or small_recipe(**changes)
    seen = []

    def follow(progress):
        seen.append(progress)
        if progress.step == killed_at:
            raise Killed

    outputs = 2 if recipe.head == "cells" else 1
    examples = [as_cells(e) if recipe.head == "cells" else e for e in EXAMPLES]
    trained = train(
        nn.Sequential(tiny_network(outputs), nn.Dropout(0.1)),
        partial(batches, examples, recipe, seed),
        validation,
        recipe,
        Checkpoints(folder),
        seed=seed,
        on_progress=follow,
    )
    return trained, seen


def same_weights(a, b):
    a, b = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("head", ["stain", "nuclei"])
def test_it_learns_what_follows_from_the_input(tmp_path, head):
    trained, _ = train_here(
        tmp_path, small_recipe(head, steps=80, learning_rate=0.02, validate_every=20)
    )
    assert trained.scores["pcc" if head == "stain" else "iou"] > 0.8
    assert trained.curve[-1].loss < trained.curve[0].loss / 2


def test_it_learns_cells(tmp_path):
    validation = frames(as_cells(bright_spots(90)))
    recipe = small_recipe("cells", steps=80, learning_rate=0.02, validate_every=20)
    trained, _ = train_here(tmp_path, recipe, validation=validation)
    assert trained.scores["iou"] > 0.8
    assert trained.scores["mse"] < 0.02


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    torch.set_num_threads(1)
    return {
        ema: train_here(tmp_path_factory.mktemp("straight"), ema=ema, steps=13)
        for ema in (None, 0.9)
    }


@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (12,), (13,), (2, 5, 6, 11)])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_killed_and_resumed_it_comes_to_the_same_weights(tmp_path, straight, ema, kills):
    for step in kills:
        with pytest.raises(Killed):
            train_here(tmp_path, ema=ema, steps=13, killed_at=step)
    resumed, _ = train_here(tmp_path, ema=ema, steps=13)
    expected, _ = straight[ema]
    assert same_weights(resumed, expected)
    assert resumed.curve == expected.curve
    assert resumed.best_step == expected.best_step


def test_a_kill_costs_the_steps_since_the_checkpoint(tmp_path):
    with pytest.raises(Killed):
        train_here(tmp_path, killed_at=8, validate_every=100)  # checkpoints at 3 and 6
    _, seen = train_here(tmp_path, validate_every=100)
    assert [progress.step for progress in seen] == list(range(7, 13))


def test_a_finished_training_is_returned_without_a_step(tmp_path):
    first, _ = train_here(tmp_path)
    again, seen = train_here(tmp_path)
    assert seen == []
    assert same_weights(first, again)
    assert replace(again, network=first.network) == first


def test_another_seed_gives_other_weights(tmp_path):
    one, _ = train_here(tmp_path / "1", seed=1)
    two, _ = train_here(tmp_path / "2", seed=2)
    assert not same_weights(one, two)


def test_a_folder_of_another_training_is_refused(tmp_path):
    with pytest.raises(Killed):
        train_here(tmp_path, killed_at=5)
    with pytest.raises(
        TrainingError,
        match=r"is of another training: recipe\.learning_rate was 0\.001, is 0\.01; "
        r"seed was 3, is 4",
    ):
        train_here(tmp_path, learning_rate=0.01, seed=4)


def test_a_network_of_other_layers_is_refused(tmp_path):
    train_here(tmp_path)
    recipe = small_recipe()
    with pytest.raises(TrainingError, match="layers was"):
        train(tiny_network(), lambda step: (), frames(), recipe, Checkpoints(tmp_path), seed=3)


@pytest.mark.parametrize(
    ("head", "last", "channels"),
    [("stain", "linear", (64, 32, 16)), ("cells", "repaired", (16, 16, 16))],
)
def test_a_real_network_resumes_bit_for_bit(tmp_path, head, last, channels):
    architecture = Architecture(
        encoder="resnet18", depth=3, decoder_channels=channels, last="linear"
    )
    recipe = small_recipe(head, steps=4, checkpoint_every=2, batch=2)
    examples = [as_cells(e) if head == "cells" else e for e in EXAMPLES]

    def session(folder, killed_at=None):
        def follow(progress):
            if progress.step == killed_at:
                raise Killed

        torch.manual_seed(1)
        network = build_network("stain", 1, 1, architecture)
        if last == "repaired":
            network = transfer(network, head, architecture.model_copy(update={"last": last}))
        return train(
            network, partial(batches, examples, recipe, 0), frames(examples[0]), recipe,
            Checkpoints(folder), seed=0, on_progress=follow,
        )  # fmt: skip

    for step in (3, 4):
        with pytest.raises(Killed):
            session(tmp_path / "killed", killed_at=step)
    assert same_weights(session(tmp_path / "killed"), session(tmp_path / "straight"))


def spoilt_from(step):
    """Return batches whose inputs are NaN from a step on."""

    def feed(recipe, start):
        for number, batch in enumerate(batches(EXAMPLES, recipe, 3, start), start=start):
            bad = np.full_like(batch.inputs, np.nan)
            yield replace(batch, inputs=bad) if number >= step else batch

    return feed


@pytest.mark.parametrize("ema", [None, 0.9])
def test_numbers_that_run_away_stop_it_and_the_last_good_weights_are_kept(tmp_path, ema):
    recipe = small_recipe(ema=ema, checkpoint_every=100, validate_every=100)
    network = tiny_network()
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(
        TrainingError,
        match=r"ran away at step 8: loss nan, gradient .*, learning rate 0\.000\d+, on crops of "
        r"B/02/\d.*; the weights of before are kept in .*checkpoint.safetensors .lower recipe",
    ):
        train(network, partial(spoilt_from(7), recipe), frames(), recipe, checkpoints, seed=3)
    assert checkpoints.read_any().facts["step"] == 7
    tensors = checkpoints.read_any().tensors
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    # nobody has looked at them
    assert kept_weights(checkpoints) is None


def test_the_best_weights_are_kept_when_it_stops(tmp_path):
    recipe = small_recipe(validate_every=2)
    best = {}

    def follow(progress):
        if progress.validation:
            best[progress.step] = progress.best_step

    with pytest.raises(TrainingError, match="ran away at step 8"):
        train(
            tiny_network(), partial(spoilt_from(7), recipe), HELD_OUT, recipe,
            Checkpoints(tmp_path), seed=3, on_progress=follow,
        )  # fmt: skip
    kept = kept_weights(Checkpoints(tmp_path))
    assert kept.step == best[6]
    assert set(kept.scores) == {"loss", "iou"}
    assert all(torch.isfinite(tensor).all() for tensor in kept.weights.values())
    tiny_network().load_state_dict(kept.weights)


def test_without_a_checkpoint_no_weights_are_kept(tmp_path):
    assert kept_weights(Checkpoints(tmp_path)) is None


def test_a_validation_loss_that_runs_away_stops_it(tmp_path):
    bad = replace(bright_spots(7), target=np.full((1, 48, 48), np.nan, np.float32))
    with pytest.raises(
        TrainingError,
        match=r"ran away by step 4: the loss of validation image B/02/7, frame 0 is not finite; "
        r"an earlier state is kept in .*checkpoint.safetensors",
    ):
        train_here(tmp_path, validation=frames(bad))


def test_the_best_weights_are_kept_when_a_later_validation_runs_away(tmp_path):
    bad = replace(bright_spots(7), target=np.full((1, 48, 48), np.nan, np.float32))
    looks = iter([HELD_OUT(), [bad]])
    with pytest.raises(TrainingError, match=r"by step 8: .*is kept in"):
        train_here(tmp_path, validation=lambda: next(looks), checkpoint_every=100)
    facts = Checkpoints(tmp_path).read_any().facts
    assert facts["history"]["best_step"] == 4


def test_batches_that_end_are_too_few(tmp_path):
    recipe = small_recipe()
    with pytest.raises(TrainingError, match="the batches ended after step 5"):
        train(
            tiny_network(), lambda step: islice(batches(EXAMPLES, recipe, 3, step), 5),
            HELD_OUT, recipe, Checkpoints(tmp_path), seed=3,
        )  # fmt: skip


def test_it_ends_early_when_nothing_gets_better(tmp_path):
    # labels that say the opposite of those learnt from: validation gets worse with each step
    opposite = frames(*(replace(e, target=1 - e.target) for e in HELD_OUT()))
    trained, seen = train_here(
        tmp_path, validation=opposite, steps=1000, patience=3, learning_rate=0.01, ema=None,
        validate_every=5, schedule="constant",
    )  # fmt: skip
    assert trained.ended == "patience"
    assert trained.step == seen[-1].step == trained.best_step + 3 * 5 < 1000
    assert trained.scores["loss"] == min(point.validation["loss"] for point in trained.curve)
    again, seen = train_here(
        tmp_path, validation=opposite, steps=1000, patience=3, learning_rate=0.01, ema=None,
        validate_every=5, schedule="constant",
    )  # fmt: skip
    assert seen == []
    assert again.ended == "patience"


def test_the_best_weights_are_returned_and_not_the_last(tmp_path):
    trained, _ = train_here(tmp_path, learning_rate=0.5, schedule="constant", ema=None, steps=20)
    losses = {point.step: point.validation["loss"] for point in trained.curve}
    assert trained.best_step == min(losses, key=losses.get)
    assert not trained.network.training


def test_without_validation_frames_the_last_weights_are_kept(tmp_path):
    trained, seen = train_here(tmp_path, validation=frames(), patience=1)
    assert trained.best_step == trained.step == 12
    assert trained.scores == {}
    assert {progress.best_step for progress in seen[3:]} == {4, 8, 12}


def test_progress_tells_each_step_and_shows_examples_at_validation(tmp_path):
    _, seen = train_here(tmp_path)
    assert [(p.step, p.steps) for p in seen] == [(step, 12) for step in range(1, 13)]
    for progress in seen:
        validated = progress.step % 4 == 0
        assert (progress.validation is not None) == validated
        assert len(progress.shown) == (2 if validated else 0)
    assert seen[-1].seconds_left == 0
    assert all(a.seconds <= b.seconds for a, b in pairwise(seen))
    assert all(progress.seconds_left > 0 for progress in seen[:-1])


def test_the_curve_has_the_mean_loss_between_its_points(tmp_path):
    trained, seen = train_here(tmp_path)
    assert [point.step for point in trained.curve] == [4, 8, 12]
    losses = [progress.loss for progress in seen]
    assert trained.curve[1].loss == pytest.approx(np.mean(losses[4:8]))
    assert trained.curve[-1].validation.keys() == {"loss", "iou"}
