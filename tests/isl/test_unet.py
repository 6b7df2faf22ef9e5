import pytest
import torch
from torch import nn

from hcs.errors import SettingsError
from hcs.isl.network import build_network
from hcs.isl.unet import make_unet, without_memory
from tests.isl.tiny import IMAGES, tiny


def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_every_batch_norm_averages_over_ten_steps():
    """EfficientNets come with .01, and predict noise after a short training (B7)."""
    network = build_network("stain", 2, 1, tiny(encoder="efficientnet-b0"))
    assert {norm.momentum for norm in batch_norms(network)} == {0.1}


def test_batch_statistics_are_near_the_images_after_a_short_training():
    """After twenty steps at least .9 ** 20 of what they began with is left, not .99 ** 20."""
    network = build_network("stain", 2, 1, tiny(encoder="efficientnet-b0"))
    first = batch_norms(network)[0]
    seen = []
    first.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].var().item()))
    for _ in range(20):
        with torch.no_grad():
            network(40 * IMAGES)
    assert first.running_var.mean().item() == pytest.approx(seen[-1], rel=0.2)


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0", "mit_b0"])
def test_no_weight_is_idle(encoder):
    """B7: two thirds of a depth-3 resnet's weights are never used, nor should be stored."""
    network = build_network("stain", 2, 1, tiny(encoder=encoder))
    network(IMAGES).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_what_was_dropped_changed_nothing():
    import segmentation_models_pytorch as smp

    torch.manual_seed(3)
    encoder, *_ = make_unet(tiny(), 2, 1, "none")
    torch.manual_seed(3)
    whole = smp.Unet("resnet18", 3, None, "batchnorm", (16, 8, 8), in_channels=2).encoder
    found, wanted = encoder.eval()(IMAGES), whole.eval()(IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert sum(weight.numel() for weight in encoder.parameters()) < 700_000
    assert sum(weight.numel() for weight in whole.parameters()) > 11_000_000


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0"])
def test_shapes_without_memory_are_those_with_it(encoder):
    with without_memory():
        shapes = build_network("stain", 2, 1, tiny(encoder=encoder)).state_dict()
    real = build_network("stain", 2, 1, tiny(encoder=encoder)).state_dict()
    assert {n: t.shape for n, t in shapes.items()} == {n: t.shape for n, t in real.items()}
    # smp makes the filters of the first layer anew, with memory
    assert sum(not tensor.is_meta for tensor in shapes.values()) == 1
    assert not any(tensor.is_meta for tensor in real.values())


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("densnet121", "no encoder 'densnet121' .close to it: densenet121"),
        ("?", "take densenet121 or resnet18"),
        ("tu-hf_hub:someone/network", "no encoder 'tu-hf_hub:someone/network'"),
        ("tu-local-dir:/home", "no encoder 'tu-local-dir:/home'"),
        ("tu-../model", "no encoder"),
        ("tu-no_such_network", "makes no U-Net of depth 3: Unknown model"),
        ("tu-swin_tiny_patch4_window7_224", "makes no U-Net of depth 3: .*224"),
    ],
)
def test_an_encoder_that_is_none_is_told_and_nothing_is_looked_up(encoder, words):
    with pytest.raises(SettingsError, match=words):
        build_network("stain", 2, 1, tiny(encoder=encoder))


def test_encoders_that_want_lists_from_idle_parts_keep_them(monkeypatch):
    from hcs.isl import unet

    class Wants(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Conv2d(3, 4, 3, 2, 1)
            self.idle = nn.ModuleList([nn.Conv2d(4, 4, 1)])

        def forward(self, x):
            y = self.used(x)
            self.idle[0](y)
            return y

    def parts(*_):
        return Wants(), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 1, 3)

    monkeypatch.setattr(unet, "_parts", parts)
    assert unet._idle_parts.__wrapped__("any", 3) == ()
