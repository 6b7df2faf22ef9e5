import pytest
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import nn
from torch.nn import functional

from hcs.isl.network import build_network
from hcs.isl.subpixel import SubpixelBlock, with_subpixel_blocks
from tests.isl.tiny import IMAGES, tiny


def subpixel_blocks(network):
    return sum(isinstance(module, SubpixelBlock) for module in network.modules())


@pytest.mark.parametrize("shape", [(64, 64), (32, 96)])
def test_a_network_of_such_blocks_predicts_the_same_up_to_the_rim(shape):
    network = build_network("stain", 2, 1, tiny()).eval()
    own = with_subpixel_blocks(network, IMAGES[:1])
    image = torch.randn(2, 2, *shape)
    assert subpixel_blocks(network) == 0
    assert subpixel_blocks(own) == 3
    with torch.no_grad():
        assert torch.allclose(own(image), network(image), atol=1e-5)


class Joining(nn.Module):
    """A decoder block whose coarse image is made of the fine one."""

    def __init__(self, coarser=2, **changes):
        super().__init__()
        self.coarser = coarser
        self.block = UnetDecoderBlock(16, 2, 16, **changes)

    def forward(self, x):
        coarse = functional.avg_pool2d(x, self.coarser).repeat(1, 8, 1, 1)
        return self.block(coarse, *x.shape[-2:], skip_connection=x)


@pytest.mark.parametrize(
    ("changes", "n_replaced"),
    [
        ({}, 1),
        ({"attention_type": "scse"}, 0),
        ({"interpolation_mode": "bilinear"}, 0),
        ({"coarser": 4}, 0),
    ],
)
def test_blocks_that_do_something_else_stay_as_they_are(changes, n_replaced):
    network = Joining(**changes).eval()
    own = with_subpixel_blocks(network, IMAGES)
    assert subpixel_blocks(own) == n_replaced
    with torch.no_grad():
        assert torch.allclose(own(IMAGES), network(IMAGES), atol=1e-5)


def test_a_network_without_such_a_decoder_stays_as_it_is():
    network = nn.Conv2d(2, 1, 3)
    assert torch.equal(with_subpixel_blocks(network, IMAGES)(IMAGES), network(IMAGES))
