"""Single steps: what runs away changes nothing, and the mean of the weights is one network."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from hcs.isl.crops import Batch
from hcs.isl.optimise import Learner, autocast, learning_rate
from tests.isl.learnt import bright_spots, small_recipe, tiny_network


def batch(scale=1.0):
    spots = [bright_spots(seed) for seed in range(3)]
    return Batch(
        inputs=np.stack([scale * spot.inputs for spot in spots]).astype(np.float32),
        target=np.stack([spot.target for spot in spots]),
        weight=None,
        names=tuple(spot.name for spot in spots),
    )


def copied(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_step_makes_the_loss_of_its_batch_smaller():
    learner = Learner(tiny_network(), small_recipe(), seed=0)
    losses = [learner.learn(batch()).loss for _ in range(10)]
    assert losses[-1] < losses[0]
    assert learner.step == 10


@pytest.mark.parametrize("scale", [math.nan, math.inf])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_step_that_runs_away_changes_nothing(scale, ema):
    learner = Learner(tiny_network(), small_recipe(ema=ema), seed=0)
    learner.learn(batch())
    before = copied(learner.state())
    taken = learner.learn(batch(scale))
    assert not taken.is_finite
    assert equal(learner.state(), before)
    assert learner.step == 1
    assert learner.learn(batch()).is_finite


def test_the_mean_of_weights_that_stay_is_those_weights():
    recipe = small_recipe(ema=0.9, optimiser="adam", weight_decay=0, learning_rate=1e-30)
    learner = Learner(tiny_network(), recipe, seed=0)
    for _ in range(100):
        learner.learn(batch())
    network, mean = learner.network.eval(), learner.judged.eval()
    inputs = torch.from_numpy(batch().inputs)
    # normalisation too: its statistics are moved with the weights that they belong to
    torch.testing.assert_close(mean(inputs), network(inputs), atol=0.01, rtol=0)
    assert equal(
        {n: t for n, t in mean.state_dict().items() if not t.is_floating_point()},
        {n: t for n, t in network.state_dict().items() if not t.is_floating_point()},
    )


def test_the_mean_is_short_at_first_and_then_as_long_as_asked():
    learner = Learner(tiny_network(), small_recipe(ema=0.5, learning_rate=0.01), seed=0)
    for step in range(1, 15):
        mean_before = copied(learner.judged.state_dict())
        learner.learn(batch())
        decay = min(0.5, step / (step + 10))
        for name, now in learner.network.state_dict().items():
            if now.is_floating_point():
                expected = decay * mean_before[name] + (1 - decay) * now
                torch.testing.assert_close(learner.judged.state_dict()[name], expected)


def test_without_a_mean_the_network_itself_is_judged():
    learner = Learner(tiny_network(), small_recipe(ema=None), seed=0)
    assert learner.judged is learner.network


def test_the_longest_gradient_is_clipped():
    for clip in (1e-3, None):
        learner = Learner(tiny_network(), small_recipe(clip=clip, ema=None), seed=0)
        reported = learner.learn(batch()).gradient
        left = torch.stack([p.grad.norm() for p in learner.network.parameters()]).norm()
        assert float(left) == pytest.approx(min(reported, clip or math.inf), rel=1e-3)


def test_decay_is_for_the_weights_of_convolutions_only():
    recipe = small_recipe(optimiser="adamw", weight_decay=0.5, learning_rate=0.1, ema=None)
    network = tiny_network()
    learner = Learner(network, recipe, seed=0)
    decays = {
        id(p): group["weight_decay"]
        for group in learner._optimiser.param_groups
        for p in group["params"]
    }
    for parameter in network.parameters():
        assert decays[id(parameter)] == (0.5 if parameter.ndim > 1 else 0)


def test_layers_that_draw_have_the_draws_of_their_step():
    network = nn.Sequential(tiny_network(), nn.Dropout(0.5))
    state = copied(network.state_dict())

    def losses(seed, skipped):
        network.load_state_dict(state)
        learner = Learner(network, small_recipe(ema=None), seed)
        learner.step = skipped
        torch.rand(17 * seed)  # whatever was drawn before
        return learner.learn(batch()).loss

    assert losses(1, 0) == losses(1, 0) != losses(2, 0)
    assert losses(1, 0) != losses(1, 3)


def test_the_generator_of_others_is_left_alone():
    learner = Learner(tiny_network(), small_recipe(), seed=0)
    before = torch.get_rng_state()
    learner.learn(batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_rates_rise_then_fall_and_never_end():
    recipe = small_recipe(steps=200, schedule="cosine", warm_up=0.1, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(200)]
    peak = rates.index(max(rates))
    assert peak in (19, 20)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.02


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("warm_up", [0, 0.3, 0.99])
def test_short_trainings_have_rates_too(steps, warm_up):
    recipe = small_recipe(steps=steps, warm_up=warm_up, learning_rate=1.0)
    assert all(0 < learning_rate(recipe, step) <= 1 for step in range(steps))


def test_a_constant_rate_is_constant():
    recipe = small_recipe(schedule="constant", learning_rate=0.5)
    assert {learning_rate(recipe, step) for step in range(12)} == {0.5}


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_a_processor_computes_in_fp32_unless_told(precision, dtype):
    with autocast(small_recipe(precision=precision), torch.device("cpu")):
        assert tiny_network()(torch.zeros(1, 1, 4, 4)).dtype == dtype


def test_bf16_learns_too():
    learner = Learner(tiny_network(), small_recipe(precision="bf16"), seed=0)
    losses = [learner.learn(batch()).loss for _ in range(10)]
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in learner.network.parameters())
