"""Batch norms folded into the convolutions before them: the same prediction, fewer passes.

Pairs are found by watching a small image pass, not by tracing the code, which fails in a new way
with every other encoder.
"""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# a wrong pair changes everything; folding a right one rounds at 1e-4 in random deep networks
_SAME = 0.01


def folded(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy in evaluation mode that predicts the same, with as few batch norms as can be.

    Parameters
    ----------
    network : torch.nn.Module
    example : torch.Tensor, shape (b, c, y, x)
        On the network's device. A small one will do.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    >>> [type(layer).__name__ for layer in folded(network, torch.ones(1, 1, 8, 8))]
    ['Conv2d', 'Identity', 'ReLU']
    """
    whole = copy.deepcopy(network).eval()
    own = copy.deepcopy(whole)
    with torch.no_grad():
        before = whole(example)
        for maker, taker in _pairs(own, example):
            convolution, norm = own.get_submodule(maker), own.get_submodule(taker)
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            own.set_submodule(maker, fuse_conv_bn_eval(convolution, norm))
            own.set_submodule(taker, nn.Identity())
        change = float((own(example) - before).abs().max())
    # not so where something else takes a convolution's output too
    return own if change <= _SAME * float(before.abs().max()) else whole


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the norms that take their output, each used once."""
    made: list[tuple[Tensor, str]] = []
    taken: list[tuple[str, str]] = []
    used = Counter[str]()

    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        used[name] += 1
        if isinstance(module, nn.Conv2d):
            made.append((output, name))
        taken.extend((maker, name) for tensor, maker in made[-1:] if tensor is inputs[0])

    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: watch(name, module, inputs, output)
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    network(example)
    for hook in hooks:
        hook.remove()
    return [pair for pair in taken if all(used[name] == 1 for name in pair)]
