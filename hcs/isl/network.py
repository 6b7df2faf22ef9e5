"""The networks: a U-Net, and its last layers of three kinds.

Bonte 2022 calls it "U-net on steroids": densenet121 as encoder, ImageNet weights, nothing else
changed. The encoder is a setting here, for a laptop cannot train that one in a night.

What a network gives is raw: stains as values near [0, 1], nuclei as one logit, cells as a distance
map and a logit. Losses and `heads.py` apply the activation, where it is numerically safe, and tiles
are blended before it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from hcs.errors import SettingsError
from hcs.isl.card import Architecture, Head
from hcs.isl.unet import EncoderWeights, make_unet

# slope of eq. (1): the paper leaves it open; with 10, x in [0, 1] spans probabilities .007 to .993
SLOPE = 10.0
# hidden channels of the repaired cell head (ours): the published one squeezes all through two
_CELL_CHANNELS = 16


@dataclass(frozen=True)
class Kind:
    """What a network was built as.

    Parameters
    ----------
    head : {"stain", "nuclei", "cells"}
        What it gives.
    n_inputs, n_outputs : int
        Channels of its input and output.
    architecture : Architecture
        Its layers.
    """

    head: Head
    n_inputs: int
    n_outputs: int
    architecture: Architecture


class Network(nn.Module):
    """Encoder, decoder and last layers.

    Parameters
    ----------
    encoder, decoder : nn.Module
        Of a U-Net of segmentation-models-pytorch.
    last : nn.Sequential
        From the decoder's features, (b, c, y, x), to the raw output, (b, k, y, x).
    kind : Kind
        What it was built as.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, last: nn.Sequential, kind: Kind
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.last = last
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw output, (b, k, y, x), of normalised images, (b, c, y, x)."""
        output: Tensor = self.last(self.decoder(self.encoder(x)))
        return output


class SlopedLogit(nn.Module):
    """The logit of eq. (1), whose sigmoid is 1 / (1 + exp(-slope (x - 0.5))).

    Examples
    --------
    >>> import torch
    >>> SlopedLogit()(torch.tensor([0.0, 0.5, 1.0]))
    tensor([-5.,  0.,  5.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of values near [0, 1], of the same shape."""
        return SLOPE * (x - 0.5)


def build_network(
    head: Head,
    n_inputs: int,
    n_outputs: int,
    architecture: Architecture,
    encoder_weights: EncoderWeights = "none",
) -> Network:
    """Return a network with random weights, or with an encoder that was trained before.

    Random weights come from torch's generator: `torch.manual_seed` before it makes them repeat.

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
        In training mode, on the CPU; it shares nothing with any other network.

    Raises
    ------
    SettingsError
        There is no such encoder, or numbers do not fit each other.
    WeightsError
        The weights of the encoder cannot be had, or are another encoder's.
    """
    if problems := architecture.problems(head, n_inputs, n_outputs):
        raise SettingsError(f"this network cannot be built: {'; '.join(problems)}")
    # other last layers than a convolution build on one that predicts, or would predict, a stain
    n_predicted = n_outputs if architecture.last == "linear" else 1
    encoder, decoder, convolution = make_unet(architecture, n_inputs, n_predicted, encoder_weights)
    kind = Kind(head, n_inputs, n_outputs, architecture)
    return Network(encoder, decoder, _last_layers(convolution, head, architecture), kind)


def transfer(
    stain: nn.Module, head: Head, architecture: Architecture, stain_index: int = 0
) -> Network:
    """Return a network for nuclei or cells that starts from a whole trained stain network.

    All layers are kept, nothing is frozen and nothing shared: training it leaves `stain` as it is.

    Parameters
    ----------
    stain : Network
        Trained, of the architecture asked for but for `last`.
    head : {"nuclei", "cells"}
        What the new network gives.
    architecture : Architecture
        With `last` either "published" (the paper's layers on top of the predicted stain) or
        "repaired": for nuclei a convolution that begins as the same function and is free
        afterwards, for cells new layers on the features from which the stain was predicted.
    stain_index : int, optional
        Which of several stains.

    Raises
    ------
    SettingsError
        `stain` is no stain network of this architecture, has fewer stains, or `last` is "linear".
    """
    problems = _transfer_problems(stain, head, architecture, stain_index)
    if problems or not isinstance(stain, Network):
        raise SettingsError(f"this network cannot be transferred: {'; '.join(problems)}")
    trained = copy.deepcopy(stain)
    last = _last_layers(_one_stain(trained.last, stain_index), head, architecture)
    kind = Kind(head, stain.kind.n_inputs, 2 if head == "cells" else 1, architecture)
    return Network(trained.encoder, trained.decoder, last, kind)


def _transfer_problems(
    stain: nn.Module, head: Head, architecture: Architecture, stain_index: int
) -> list[str]:
    if not isinstance(stain, Network) or stain.kind.head != "stain":
        what = stain.kind.head if isinstance(stain, Network) else type(stain).__name__
        return [f"it starts from a stain network, not from {what}"]
    found = []
    if head == "stain" or architecture.last == "linear":
        found.append(f"last: {architecture.last} of {head} has nothing to start from a stain with")
    if architecture.model_copy(update={"last": "linear"}) != stain.kind.architecture:
        found.append(f"the stain network is {stain.kind.architecture}, wanted is {architecture}")
    if not 0 <= stain_index < stain.kind.n_outputs:
        found.append(f"there is no stain {stain_index} among {stain.kind.n_outputs}")
    return found


def _one_stain(last: nn.Sequential, index: int) -> nn.Conv2d:
    """Return the convolution that gives one of a stain network's outputs."""
    several = last.state_dict()
    n_features = several["0.weight"].shape[1]
    one = nn.Conv2d(n_features, 1, 3, padding=1)
    one.load_state_dict({name: several[f"0.{name}"][[index]] for name in ("weight", "bias")})
    return one


def _last_layers(stain: nn.Conv2d, head: Head, architecture: Architecture) -> nn.Sequential:
    """Return last layers around, or instead of, the convolution that gives a stain."""
    if architecture.last == "linear":
        return nn.Sequential(stain)
    if head == "nuclei":
        if architecture.last == "published":
            return nn.Sequential(stain, SlopedLogit())
        return nn.Sequential(_sloped(stain))
    if architecture.last == "published":
        # the ReLU that ends it is the paper's: no mask logit is below 0, so no probability below
        # .5, and a distance map can die; kept to reproduce the paper
        return nn.Sequential(stain, *_block(1, 2), *_block(2, 2))
    return nn.Sequential(
        *_block(stain.in_channels, _CELL_CHANNELS), nn.Conv2d(_CELL_CHANNELS, 2, 1)
    )


def _sloped(stain: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution that gives what `SlopedLogit` gives after this one."""
    weights = stain.state_dict()
    logit = copy.deepcopy(stain)
    logit.load_state_dict(
        {"weight": SLOPE * weights["weight"], "bias": SLOPE * (weights["bias"] - 0.5)}
    )
    return logit


def _block(n_inputs: int, n_outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(n_inputs, n_outputs, 3, padding=1),
        nn.BatchNorm2d(n_outputs),
        nn.ReLU(),
    )
