import pytest
import torch

from hcs.isl.card import Architecture
from hcs.isl.network import build_network

TINY = Architecture(encoder="resnet18", depth=3, decoder_channels=(16, 8, 8))
IMAGES = torch.linspace(-2, 2, 2 * 2 * 64 * 64).reshape(2, 2, 64, 64)


def tiny(last):
    return TINY.model_copy(update={"last": last})


@pytest.mark.parametrize(
    ("head", "n_outputs", "last"),
    [
        ("stain", 1, "linear"),
        ("stain", 3, "linear"),
        ("nuclei", 1, "linear"),
        ("nuclei", 1, "published"),
        ("nuclei", 1, "repaired"),
        ("cells", 2, "linear"),
        ("cells", 2, "published"),
        ("cells", 2, "repaired"),
    ],
)
def test_every_head_gives_its_channels_at_the_size_of_the_image(head, n_outputs, last):
    network = build_network(head, 2, n_outputs, tiny(last))
    assert network(IMAGES).shape == (2, n_outputs, 64, 64)
