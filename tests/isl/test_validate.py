"""Validation: whole frames of any size, and a network that stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hcs.isl.crops import Example
from hcs.isl.validate import look, middle, predict_whole
from tests.isl.learnt import as_cells, bright_spots, small_recipe, tiny_network


class Halving(torch.nn.Module):
    """A network that takes multiples of 32 only, as real ones do."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        assert x.shape[-2] % 32 == x.shape[-1] % 32 == 0
        return self.gain * x


@pytest.mark.parametrize("shape", [(32, 64), (33, 31), (7, 100)])
def test_frames_of_any_size_are_predicted_whole(shape):
    inputs = bright_spots(0, shape).inputs
    output = predict_whole(Halving(), inputs, small_recipe())
    np.testing.assert_array_equal(output, 2 * inputs)


def test_looking_changes_no_network():
    network = tiny_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    look(network, [bright_spots(0)], small_recipe())
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_scores_are_means_over_frames():
    network, recipe = tiny_network(), small_recipe()
    one, two = (look(network, [bright_spots(seed)], recipe).scores for seed in (1, 2))
    both = look(network, [bright_spots(1), bright_spots(2)], recipe).scores
    assert both.keys() == {"loss", "iou"}
    assert both == {name: pytest.approx((one[name] + two[name]) / 2) for name in both}


def test_unknown_pixels_do_not_count():
    example = bright_spots(0)
    weight = np.ones((48, 48), np.float32)
    weight[:20] = 0
    spoilt = replace(example, target=example.target.copy(), weight=weight)
    spoilt.target[:, :20] = np.nan
    whole = look(tiny_network(), [replace(example, weight=weight)], small_recipe())
    assert look(tiny_network(), [spoilt], small_recipe()).scores == whole.scores


def test_without_frames_there_are_no_scores():
    seen = look(tiny_network(), [], small_recipe())
    assert (seen.scores, seen.shown, seen.lost) == ({}, (), ())


def test_frames_whose_loss_is_lost_are_named():
    bad = replace(bright_spots(1), target=np.full((1, 48, 48), np.nan, np.float32))
    seen = look(tiny_network(), [bright_spots(0), bad], small_recipe())
    assert seen.lost == (bad.name,)


def test_large_frames_are_validated_in_their_middle():
    pixels = np.arange(80 * 100, dtype=np.float32).reshape(1, 80, 100)
    example = Example(pixels, pixels, "large", pixels[0])
    cut = middle(example, 64)
    assert cut.inputs.shape == cut.target.shape == (1, 64, 64)
    assert cut.inputs[0, 0, 0] == cut.weight[0, 0] == 8 * 100 + 18
    assert middle(example, 128).inputs.shape == (1, 80, 100)


def test_examples_to_look_at_are_few_small_and_probabilities():
    examples = [as_cells(bright_spots(seed, (400, 500))) for seed in range(5)]
    seen = look(tiny_network(outputs=2), examples, small_recipe("cells"))
    assert [shown.name for shown in seen.shown] == [example.name for example in examples[:3]]
    for shown in seen.shown:
        assert shown.inputs.shape == (1, 384, 384)
        assert shown.target.shape == shown.prediction.shape == (2, 384, 384)
        assert 0 <= shown.prediction[1].min() < shown.prediction[1].max() <= 1


def test_stains_are_shown_as_they_are():
    example = bright_spots(0)
    (shown,) = look(Halving(), [example], small_recipe("stain")).shown
    np.testing.assert_array_equal(shown.prediction, 2 * example.inputs)
