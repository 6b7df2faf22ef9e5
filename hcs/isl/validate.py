"""A look at the frames that are not trained on, while a network learns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hcs.isl.card import Head
from hcs.isl.crops import Example
from hcs.isl.losses import loss_of
from hcs.isl.optimise import autocast, on_device
from hcs.isl.recipe import Recipe
from hcs.isl.scores import frame_scores, mean_scores

_MULTIPLE = 32  # a network halves its input five times
_N_SHOWN = 3
_SHOWN_PX = 384


@dataclass(frozen=True)
class Shown:
    """An example for people: the middle of a validation frame.

    Attributes
    ----------
    name : str
        The frame.
    inputs : ndarray of float32, shape (c, y, x)
    target, prediction : ndarray of float32, shape (k, y, x)
        Masks as probabilities.
    """

    name: str
    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    prediction: NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """Scores of the validation frames, "loss" among them, and some of them to look at.

    Attributes
    ----------
    scores : dict of str to float
        Empty where there is no frame to validate on.
    shown : tuple of Shown
    lost : tuple of str
        Names of the frames whose loss is not finite.
    """

    scores: dict[str, float]
    shown: tuple[Shown, ...]
    lost: tuple[str, ...]


def look(network: nn.Module, examples: Iterable[Example], recipe: Recipe) -> Look:
    """Return how well a network does on whole frames, one at a time; its weights stay.

    Parameters
    ----------
    examples : iterable of Example
        Of frames larger than `recipe.validation_px`, the middle is used.
    """
    scores: list[dict[str, float]] = []
    shown: list[Shown] = []
    lost: list[str] = []
    network.eval()
    for whole in examples:
        example = middle(whole, recipe.validation_px)
        output = predict_whole(network, example.inputs, recipe)
        loss = _loss(output, example, recipe)
        fit = frame_scores(recipe.head, output, example.target, example.weight)
        scores.append({"loss": loss, **fit})
        if not math.isfinite(loss):
            lost.append(example.name)
        if len(shown) < _N_SHOWN:
            shown.append(_shown(example, output, recipe.head))
    return Look(mean_scores(scores), tuple(shown), tuple(lost))


def middle(example: Example, side: int) -> Example:
    """Return the middle of a frame, at most `side` pixels high and wide."""
    height, width = example.inputs.shape[1:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    cut = (slice(top, top + side), slice(left, left + side))
    weight = None if example.weight is None else example.weight[cut]
    return Example(example.inputs[:, *cut], example.target[:, *cut], example.name, weight)


@torch.no_grad()
def predict_whole(
    network: nn.Module, inputs: NDArray[np.float32], recipe: Recipe
) -> NDArray[np.float32]:
    """Return the raw output for a whole frame, mirrored at its rim until the network takes it.

    Parameters
    ----------
    inputs : ndarray of float32, shape (c, y, x)

    Returns
    -------
    ndarray of float32, shape (k, y, x)
    """
    height, width = inputs.shape[1:]
    rim = ((0, 0), (0, -height % _MULTIPLE), (0, -width % _MULTIPLE))
    device = next(network.parameters()).device
    images = on_device(np.pad(inputs, rim, mode="reflect")[np.newaxis], device)
    with autocast(recipe, device):
        output = network(images)
    return np.asarray(output[0, :, :height, :width].float().cpu().numpy())


@torch.no_grad()
def _loss(output: NDArray[np.float32], example: Example, recipe: Recipe) -> float:
    weight = None if example.weight is None else torch.from_numpy(example.weight[None, None])
    target = torch.from_numpy(example.target[None])
    return float(loss_of(recipe)(torch.from_numpy(output[None]), target, weight))


def _shown(example: Example, output: NDArray[np.float32], head: Head) -> Shown:
    prediction = output.copy()
    if head != "stain":
        # the last plane is the mask's logit; beyond 30 a float32 probability is 0 or 1
        prediction[-1] = 1 / (1 + np.exp(-np.clip(prediction[-1], -30, 30)))
    whole = Example(example.inputs, prediction, example.name)
    cut = middle(whole, _SHOWN_PX)
    truth = middle(example, _SHOWN_PX)
    return Shown(example.name, cut.inputs, truth.target, cut.target)
