"""The networks: a U-Net of segmentation-models-pytorch, and its last layers of three kinds.

Bonte 2022 calls it "U-net on steroids": densenet121 as encoder, ImageNet weights, nothing else
changed. The encoder is a setting here, for a laptop cannot train that one in a night.

What the last layers give is raw: stains as values near [0, 1], nuclei as one logit, cells as a
distance map and a logit. Losses and `heads.py` apply the activation, so it is computed where it is
numerically safe, and tiles are blended on logits.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Literal

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from hcs.errors import SettingsError
from hcs.isl.card import Architecture, Head
from hcs.isl.pretrained import load_encoder

# slope of eq. (1): the paper leaves it open; with 10, x in [0, 1] spans probabilities .007 to .993
SLOPE = 10.0
# hidden channels of the repaired cell head (ours): the published one squeezes all through two
_CELL_CHANNELS = 16
# EfficientNets come with .01: their running statistics would lag far behind in a short training
_MOMENTUM = 0.1
# small, and still more than one value per channel after five halvings, as batch norm wants
_PROBE_PX = 64

EncoderWeights = Literal["none", "imagenet"] | Path


class SlopedLogit(nn.Module):
    """The logit of eq. (1): sigmoid of its output is 1 / (1 + exp(-slope (x - 0.5))).

    Examples
    --------
    >>> SlopedLogit()(torch.tensor([0.0, 0.5, 1.0]))
    tensor([-5.,  0.,  5.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of values near [0, 1], of the same shape."""
        return SLOPE * (x - 0.5)


class Network(nn.Module):
    """Encoder, decoder and last layers; what it was built as stays with it.

    Parameters
    ----------
    encoder, decoder : nn.Module
        Of a U-Net of segmentation-models-pytorch.
    last : nn.Sequential
        From the decoder's features, (b, c, y, x), to the raw output, (b, k, y, x).
    n_inputs : int
        Channels of the input.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, last: nn.Sequential, n_inputs: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.last = last
        self.n_inputs = n_inputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw output, (b, k, y, x), of normalised images, (b, c, y, x)."""
        output: Tensor = self.last(self.decoder(self.encoder(x)))
        return output


def build_network(
    head: Head,
    n_inputs: int,
    n_outputs: int,
    architecture: Architecture,
    encoder_weights: EncoderWeights = "none",
) -> Network:
    """Return a network with random weights, or with an encoder that was trained before.

    Parameters
    ----------
    head : {"stain", "nuclei", "cells"}
        What it gives.
    n_inputs, n_outputs : int
        Channels of its input and output: any number of stains, 1 for nuclei, 2 for cells.
    architecture : Architecture
        Encoder, depth, decoder, and how its last layers are made.
    encoder_weights : {"none", "imagenet"} or Path, optional
        Where the encoder's weights come from: random, downloaded, or a safetensors file.

    Returns
    -------
    Network
        In training mode, on the CPU; nothing of it is shared with any other network.

    Raises
    ------
    SettingsError
        There is no such encoder, or numbers do not fit each other.
    WeightsError
        The weights of the encoder cannot be had, or fit another encoder.
    """
    if problems := architecture.problems(head, n_inputs, n_outputs):
        raise SettingsError(f"this network cannot be built: {'; '.join(problems)}")
    n_predicted = n_outputs if architecture.last == "linear" else 1
    encoder, decoder, convolution = _unet(architecture, n_inputs, n_predicted, encoder_weights)
    for name in _idle_parts(architecture.encoder, architecture.depth):
        encoder.set_submodule(name, nn.Identity())
    network = Network(encoder, decoder, _last_layers(convolution, head, architecture), n_inputs)
    _raise_momentum(network)
    return network


def transfer(
    stain: nn.Module, head: Head, architecture: Architecture, stain_index: int = 0
) -> Network:
    """Return a network for nuclei or cells that starts from a whole trained stain network.

    All layers are kept, nothing is frozen, and nothing is shared: training one never changes the
    other.

    Parameters
    ----------
    stain : Network
        Trained; its architecture but for `last` must be the one asked for.
    head : {"nuclei", "cells"}
        What the new network gives.
    architecture : Architecture
        With `last` either "published" (the paper's layers on top of the predicted stain) or
        "repaired" (new layers on the features from which the stain was predicted).
    stain_index : int, optional
        Which of several stains.

    Raises
    ------
    SettingsError
        `stain` is no stain network of this architecture, or `last` is "linear".
    """
    if head == "stain" or architecture.last == "linear":
        raise SettingsError(
            f"nothing to transfer to a {architecture.last} head of {head}",
            hint="transfer is for nuclei and cells, with last: published or repaired",
        )
    if not isinstance(stain, Network):
        raise TypeError(f"want a Network that build_network made, not a {type(stain).__name__}")
    trained = copy.deepcopy(stain)
    chosen = _one_stain(trained.last[0], stain_index)  # type: ignore[arg-type]
    trained.last = _last_layers(chosen, head, architecture)
    return trained


def _one_stain(convolution: nn.Conv2d, index: int) -> nn.Conv2d:
    """Return the part of a convolution that gives one of its channels."""
    one = nn.Conv2d(convolution.in_channels, 1, convolution.kernel_size, padding=1)  # type: ignore[arg-type]
    with torch.no_grad():
        one.weight.copy_(convolution.weight[index : index + 1])
        one.bias.copy_(convolution.bias[index : index + 1])  # type: ignore[union-attr, index]
    return one


def _last_layers(stain: nn.Conv2d, head: Head, architecture: Architecture) -> nn.Sequential:
    """Return the last layers that build on the convolution that gives (or would give) a stain."""
    if architecture.last == "linear":
        return nn.Sequential(stain)
    if head == "nuclei":
        published = architecture.last == "published"
        return nn.Sequential(stain, SlopedLogit()) if published else nn.Sequential(_sloped(stain))
    if architecture.last == "published":
        # the ReLU that ends it is the paper's: no mask logit is below 0, so no probability below
        # .5, and a distance map can die; kept to reproduce the paper, never the default
        return nn.Sequential(stain, *_block(1, 2), *_block(2, 2))
    return nn.Sequential(
        *_block(stain.in_channels, _CELL_CHANNELS), nn.Conv2d(_CELL_CHANNELS, 2, 1)
    )


def _sloped(stain: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution that gives what `SlopedLogit` would after this one; it may then move."""
    logit = copy.deepcopy(stain)
    with torch.no_grad():
        logit.weight.mul_(SLOPE)
        logit.bias.sub_(0.5).mul_(SLOPE)  # type: ignore[union-attr]
    return logit


def _block(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_inputs, n_outputs, 3, padding=1), nn.BatchNorm2d(n_outputs), nn.ReLU()
    )


def _unet(
    architecture: Architecture, n_inputs: int, n_outputs: int, encoder_weights: EncoderWeights
) -> tuple[nn.Module, nn.Module, nn.Conv2d]:
    """Return encoder, decoder, and the convolution that follows."""
    if encoder_weights == "none":
        return _parts(architecture, n_inputs, n_outputs)
    encoder, decoder, convolution = _parts(architecture, 3, n_outputs)
    load_encoder(encoder, architecture.encoder, encoder_weights)
    # trained filters are for three channels; smp makes of them filters for n
    encoder.set_in_channels(n_inputs, pretrained=True)  # type: ignore[operator]
    return encoder, decoder, convolution


def _parts(
    architecture: Architecture, n_inputs: int, n_outputs: int
) -> tuple[nn.Module, nn.Module, nn.Conv2d]:
    unet = smp.Unet(
        architecture.encoder,
        encoder_depth=architecture.depth,
        encoder_weights=None,
        decoder_channels=architecture.decoder_channels,
        in_channels=n_inputs,
        classes=n_outputs,
    )
    return unet.encoder, unet.decoder, unet.segmentation_head[0]


def _raise_momentum(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM


@lru_cache(maxsize=16)
def _idle_parts(encoder: str, depth: int) -> tuple[str, ...]:
    """Return the parts of an encoder that the decoder never sees when it is cut at a depth.

    They get no gradient; found on a device without memory. A third of the weights of a resnet cut
    at depth 3 would be stored for nothing.
    """
    architecture = Architecture(encoder=encoder, depth=depth, decoder_channels=(8,) * depth)
    with torch.device("meta"):
        parts = _parts(architecture, 3, 1)
        images = torch.zeros(2, 3, _PROBE_PX, _PROBE_PX)
        Network(parts[0], parts[1], nn.Sequential(parts[2]), 3)(images).sum().backward()
    return tuple(_without_gradient(parts[0], ""))


def _without_gradient(module: nn.Module, prefix: str) -> list[str]:
    found: list[str] = []
    for name, child in module.named_children():
        weights = list(child.parameters())
        if weights and all(weight.requires_grad and weight.grad is None for weight in weights):
            found.append(prefix + name)
        else:
            found += _without_gradient(child, f"{prefix}{name}.")
    return found
