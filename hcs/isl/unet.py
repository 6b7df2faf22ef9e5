"""A U-Net of segmentation-models-pytorch, made ready for our trainings.

Three of its traps are taken away here. EfficientNets average their batch statistics over a hundred
steps, and predict noise after a short training: every batch norm gets the usual ten. An encoder
that is cut at depth 3 keeps, and some even compute, the layers below: they go. And some names of
encoders would have a file downloaded, which a model card must not do: they are refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hcs.errors import SettingsError
from hcs.isl.card import Architecture
from hcs.isl.pretrained import load_encoder

EncoderWeights = Literal["none", "imagenet"] | Path
# encoder, decoder, and the convolution that makes the output of the decoder's features
Parts = tuple[nn.Module, nn.Module, nn.Conv2d]

# torch's own; EfficientNets come with .01
_MOMENTUM = 0.1
# halved five times, two images of it still give batch norm more than one value per channel
_PROBE_PX = 64
_FULL_DEPTH = 5
# encoders of timm by their plain name; others would be looked up on a hub or on the disk
_TIMM = re.compile(r"tu-[a-z0-9_]+")
# what the two libraries raise for an encoder that cannot be cut into stages
_UNFIT = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def make_unet(
    architecture: Architecture, n_inputs: int, n_outputs: int, encoder_weights: EncoderWeights
) -> Parts:
    """Return the parts of a new U-Net; each call makes its own.

    Parameters
    ----------
    architecture : Architecture
        Encoder, depth and decoder; `last` is not looked at.
    n_inputs, n_outputs : int
        Channels of the input, and of the closing convolution.
    encoder_weights : {"none", "imagenet"} or Path
        Where the encoder's weights come from.

    Raises
    ------
    SettingsError
        There is no such encoder, or it makes no U-Net.
    WeightsError
        The weights of the encoder cannot be had.
    """
    _check_name(architecture.encoder)
    try:
        idle = _idle_parts(architecture.encoder, architecture.depth)
        parts = _parts(architecture, n_inputs if encoder_weights == "none" else 3, n_outputs)
    except _UNFIT as error:
        raise SettingsError(
            f"encoder {architecture.encoder} makes no U-Net of depth {architecture.depth}: {error}",
            hint="densenet121 is the paper's, resnet18 a light one",
        ) from error
    if encoder_weights != "none":
        load_encoder(parts[0], architecture.encoder, encoder_weights, n_inputs)
    _drop(parts[0], idle)
    for part in parts:
        _raise_momentum(part)
    return parts


@contextmanager
def without_memory() -> Iterator[None]:
    """Make networks of shapes only inside the block: none takes memory, whatever its size.

    The sequence of random numbers goes on behind it as if nothing had been made.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _NumbersInMemory():
        yield


class _NumbersInMemory(TorchFunctionMode):
    """Keeps short sequences in memory: the `mit` encoders read rates off one while being made."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call a function of torch, `linspace` on the CPU."""
        place = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **place})


class _Skipped(nn.Module):
    """Stands where an idle part was; some encoders still call it."""

    def forward(self, x: Tensor, *_more: object) -> Tensor:
        return x


def _check_name(encoder: str) -> None:
    known = list(smp.encoders.encoders)
    if encoder in known or _TIMM.fullmatch(encoder):
        return
    close = difflib.get_close_matches(encoder, known, n=3)
    raise SettingsError(
        f"there is no encoder {encoder[:80]!r}",
        hint=f"close to it: {', '.join(close)}" if close else "take densenet121 or resnet18",
    )


def _parts(architecture: Architecture, n_inputs: int, n_outputs: int) -> Parts:
    unet = smp.Unet(
        architecture.encoder,
        encoder_depth=architecture.depth,
        encoder_weights=None,
        decoder_channels=architecture.decoder_channels,
        in_channels=n_inputs,
        classes=n_outputs,
    )
    return unet.encoder, unet.decoder, unet.segmentation_head[0]


def _raise_momentum(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM


@lru_cache(maxsize=16)
def _idle_parts(encoder: str, depth: int) -> tuple[str, ...]:
    """Return the parts of an encoder that the decoder never sees when it is cut at a depth.

    They get no gradient. Two thirds of the weights of a resnet cut at depth 3 are such; at full
    depth there are next to none, and they are not looked for.
    """
    if depth == _FULL_DEPTH:
        return ()
    with without_memory():
        parts = _parts(
            Architecture(encoder=encoder, depth=depth, decoder_channels=(8,) * depth), 3, 1
        )
        probe = nn.Sequential(*parts)
        probe(torch.zeros(2, 3, _PROBE_PX, _PROBE_PX)).sum().backward()
        found = tuple(_without_gradient(parts[0], ""))
        _drop(parts[0], found)
        try:
            probe(torch.zeros(2, 3, _PROBE_PX, _PROBE_PX))
        except _UNFIT:
            # a few encoders want lists from their idle parts: they keep them
            return ()
    return found


def _without_gradient(module: nn.Module, prefix: str) -> list[str]:
    found: list[str] = []
    for name, child in module.named_children():
        weights = list(child.parameters())
        if weights and all(weight.requires_grad and weight.grad is None for weight in weights):
            found.append(prefix + name)
        else:
            found += _without_gradient(child, f"{prefix}{name}.")
    return found


def _drop(encoder: nn.Module, parts: tuple[str, ...]) -> None:
    for name in parts:
        encoder.set_submodule(name, _Skipped())
