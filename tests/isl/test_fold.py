import torch
from torch import nn

from hcs.isl.fold import folded
from hcs.isl.network import build_network
from tests.isl.tiny import IMAGES, tiny


class Branching(nn.Module):
    """Takes the output of its convolution twice; only one of both goes through the norm."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.convolution(x)
        return self.norm(y) + y


class Twice(nn.Module):
    """Uses one convolution in two places, once without a norm."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        return self.convolution(self.norm(self.convolution(x)))


def seasoned(network):
    """Return a network whose norms do something."""
    with torch.no_grad():
        for _ in range(20):
            network(3 * IMAGES + 1)
    return network.eval()


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_folded_network_predicts_the_same_with_fewer_norms():
    network = seasoned(build_network("stain", 2, 1, tiny()))
    own = folded(network, IMAGES[:1])
    assert norms(network) > 10
    assert norms(own) == 0
    with torch.no_grad():
        assert torch.allclose(own(IMAGES), network(IMAGES), atol=1e-5)


def test_folding_leaves_the_network_as_it_was():
    network = build_network("stain", 2, 1, tiny())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not folded(network, IMAGES).training
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_an_output_that_something_else_takes_too_is_not_folded():
    network = seasoned(Branching())
    own = folded(network, IMAGES)
    assert norms(own) == 1
    assert torch.equal(own(IMAGES), network(IMAGES))


def test_a_convolution_that_is_used_twice_is_not_folded():
    network = seasoned(Twice())
    own = folded(network, IMAGES)
    assert norms(own) == 1
    assert torch.equal(own(IMAGES), network(IMAGES))
