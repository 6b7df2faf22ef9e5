import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hcs.errors import SettingsError
from hcs.isl.network import SLOPE, build_network, transfer
from hcs.isl.unet import _idle_parts
from tests.isl.tiny import IMAGES, KINDS, N_OUTPUTS, tiny


def stain_network(n_stains=1):
    """Return a stain network whose batch statistics have seen images."""
    network = build_network("stain", 2, n_stains, tiny())
    network(IMAGES)
    return network


def storages(network):
    return {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}


def train(network, loss, steps):
    """Take some steps of Adam; return the last loss."""
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(network(IMAGES))
        value.backward()
        optimiser.step()
    return value.item()


def background_loss(output):
    """Cross-entropy of the mask logit, the last channel, where all is background."""
    logit = output[:, -1]
    return binary_cross_entropy_with_logits(logit, torch.zeros_like(logit))


@pytest.mark.parametrize(("head", "last"), KINDS)
def test_every_head_gives_its_channels_at_the_size_of_the_image(head, last):
    network = build_network(head, 2, N_OUTPUTS[head], tiny(last))
    assert network(IMAGES).shape == (2, N_OUTPUTS[head], 64, 64)
    assert network.training


def test_a_stain_network_gives_as_many_stains_as_asked_for():
    assert stain_network(3)(IMAGES).shape == (2, 3, 64, 64)


def test_the_papers_network_is_built_as_it_says():
    """A densenet121 U-Net of depth 5: 13.6 million weights with three inputs and one output."""
    network = build_network(
        "stain", 3, 1, tiny(encoder="densenet121", depth=5, decoder_channels=(256, 128, 64, 32, 16))
    )
    assert sum(weight.numel() for weight in network.parameters()) == 13_607_633
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("head", "n_outputs", "architecture", "words"),
    [
        ("nuclei", 2, tiny(), "a nuclei network cannot have 2 outputs"),
        ("cells", 1, tiny(), "a cells network cannot have 1 outputs"),
        ("stain", 0, tiny(), "a stain network cannot have 0 outputs"),
        ("stain", 1, tiny("repaired"), "last: repaired is for nuclei and cells"),
        ("stain", 1, tiny(depth=4), "depth 4 needs 4 decoder_channels, not 3"),
        (
            "stain",
            1,
            tiny(decoder_channels=(16, 0, 8)),
            "decoder_channels are to be from 1 to 4096",
        ),
    ],
)
def test_what_cannot_be_built_is_told(head, n_outputs, architecture, words):
    with pytest.raises(SettingsError, match=words):
        build_network(head, 2, n_outputs, architecture)


def test_two_networks_share_nothing():
    """B6.9: the paper's networks were made once per module and shared by 'different' models."""
    one, other = stain_network(), stain_network()
    assert not storages(one) & storages(other)


@pytest.mark.parametrize(("head", "last"), [kind for kind in KINDS if kind[1] != "linear"])
def test_training_what_was_transferred_leaves_the_stain_network_as_it_is(head, last):
    stain = stain_network()
    before = copy.deepcopy(stain.state_dict())
    network = transfer(stain, head, tiny(last))
    assert not storages(network) & storages(stain)
    train(network, background_loss, 2)
    assert all(torch.equal(after, before[name]) for name, after in stain.state_dict().items())


@pytest.mark.parametrize(("head", "last"), [kind for kind in KINDS if kind[1] != "linear"])
def test_transfer_keeps_all_layers_and_freezes_none(head, last):
    stain = stain_network()
    network = transfer(stain, head, tiny(last))
    for part in ("encoder", "decoder"):
        kept = getattr(stain, part).state_dict()
        assert all(
            torch.equal(t, kept[name]) for name, t in getattr(network, part).state_dict().items()
        )
    network(IMAGES).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("last", ["published", "repaired"])
@pytest.mark.parametrize("index", [0, 1])
def test_nuclei_begin_as_the_sloped_sigmoid_of_the_stain(last, index):
    """Eq. (1): f(x) = 1 / (1 + exp(-10 (x - 0.5))), of the stain that was chosen."""
    stain = stain_network(2).eval()
    network = transfer(stain, "nuclei", tiny(last), index).eval()
    with torch.no_grad():
        x = stain(IMAGES)[:, [index]].double()
        found = torch.sigmoid(network(IMAGES).double())
    torch.testing.assert_close(found, 1 / (1 + torch.exp(-SLOPE * (x - 0.5))), rtol=1e-4, atol=1e-5)


def test_repaired_nuclei_are_one_convolution_that_may_move_freely():
    network = transfer(stain_network(), "nuclei", tiny("repaired"))
    assert [type(layer) for layer in network.last] == [nn.Conv2d]


def test_published_cells_never_say_background_and_repaired_ones_do():
    """B6.1: ReLU last, so no logit is below 0: background costs ln 2 however long one trains."""
    stain = stain_network()
    published = transfer(stain, "cells", tiny("published"))
    repaired = transfer(stain, "cells", tiny("repaired"))
    assert train(published, background_loss, 6) >= math.log(2)
    assert train(repaired, background_loss, 6) < 0.5
    with torch.no_grad():
        assert published(IMAGES).min() >= 0
        assert repaired(IMAGES)[:, 1].max() < 0


def test_the_distance_of_repaired_cells_is_linear():
    """It can be pulled up from below 0, where a ReLU would be dead."""
    network = build_network("cells", 2, 2, tiny("repaired"))
    with torch.no_grad():
        network.last[-1].bias.fill_(-5.0)
    assert train(network, lambda output: (output[:, 0] - 0.5).abs().mean(), 1) > 5
    assert network.last[-1].bias[0] > -5


def test_published_cells_are_the_papers_two_blocks_on_the_predicted_stain():
    stain = stain_network()
    network = transfer(stain, "cells", tiny("published"))
    layers = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in network.last] == [nn.Conv2d, *layers, *layers]
    assert torch.equal(network.last[0].weight, stain.last[0].weight)


@pytest.mark.parametrize(
    ("head", "architecture", "index", "words"),
    [
        (
            "stain",
            tiny("published"),
            0,
            "published of stain has nothing to start from a stain with",
        ),
        ("nuclei", tiny("linear"), 0, "linear of nuclei has nothing to start from"),
        ("nuclei", tiny("repaired", decoder_channels=(16, 8, 4)), 0, r"\(16, 8, 8\).*\(16, 8, 4\)"),
        ("cells", tiny("repaired"), 2, "there is no stain 2 among 2"),
    ],
)
def test_what_cannot_be_transferred_is_told(head, architecture, index, words):
    with pytest.raises(SettingsError, match=words):
        transfer(stain_network(2), head, architecture, index)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (build_network("nuclei", 2, 1, tiny()), "from a stain network, not from nuclei"),
        (nn.Conv2d(2, 1, 3), "from a stain network, not from Conv2d"),
    ],
)
def test_only_a_stain_network_can_be_transferred(other, words):
    with pytest.raises(SettingsError, match=words):
        transfer(other, "nuclei", tiny("repaired"))


def test_equal_seeds_give_equal_weights_in_a_fresh_process_too():
    """What is found out once per process about an encoder draws no random numbers."""

    def first_weights():
        torch.manual_seed(5)
        return build_network("cells", 2, 2, tiny("repaired")).state_dict()

    _idle_parts.cache_clear()
    one, other = first_weights(), first_weights()
    assert all(torch.equal(one[name], other[name]) for name in one)
