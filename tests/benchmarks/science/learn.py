"""The product's own training and prediction, as every arm uses them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcs.isl.card import Architecture, Head, InputPlane, ModelCard, TargetScale, Training
from hcs.isl.checkpoint import Checkpoints
from hcs.isl.crops import Example, batches
from hcs.isl.device import choose
from hcs.isl.heads import Prediction
from hcs.isl.predict import Predictor
from hcs.isl.recipe import Recipe, recipe_of
from hcs.isl.settings import IslSettings
from hcs.isl.train import train

Image = NDArray[np.float32]


def trained(
    network: torch.nn.Module,
    head: Head,
    examples: Sequence[Example],
    asked: Mapping[str, Any],
    folder: Path,
) -> torch.nn.Module:
    """Return a network trained for the steps and with the seed that an arm asks for.

    Its last weights: whoever has one annotated image has none to choose weights by, so that no arm
    here gets any.
    """
    recipe = recipe_for(head, asked)
    result = train(
        network.to(choose(asked["device"])),
        lambda start: batches(examples, recipe, asked["seed"], start),
        tuple,
        recipe,
        Checkpoints(folder),
        seed=asked["seed"],
    )
    shutil.rmtree(folder)
    return result.network.cpu()


def recipe_for(head: Head, asked: Mapping[str, Any]) -> Recipe:
    """Return the recipe of an arm: the default one, unless it asks otherwise, and its changes."""
    return recipe_of(asked.get("recipe_name", "default"), head, **asked["recipe"])


def predicted(
    network: torch.nn.Module,
    head: Head,
    images: Iterable[Image],
    asked: Mapping[str, Any],
    uncertainty: str = "none",
) -> list[Prediction]:
    """Return what a network says of normalised images (c, y, x)."""
    settings = IslSettings(batch=1, uncertainty=uncertainty)
    predictor = Predictor(network.eval(), settings, choose(asked["device"]), head)
    return list(predictor.predict(images))


def card_for(
    head: Head,
    channels: Sequence[str],
    targets: Sequence[TargetScale],
    asked: Mapping[str, Any],
    n_images: int,
) -> ModelCard:
    """Return the card of an arm's network."""
    return ModelCard(
        name=f"science_{head}",
        head=head,
        inputs=tuple(InputPlane(channel=channel) for channel in channels),
        targets=tuple(targets),
        architecture=Architecture.model_validate(asked["architecture"]),
        pixel_size_um=asked.get("pixel_size_um"),
        training=Training(
            fingerprint="science",
            n_images=n_images,
            n_steps=asked["recipe"]["steps"],
            seed=asked["seed"],
            started_from=asked.get("start", "random"),
            recipe=recipe_for(head, asked).model_dump(mode="json"),
        ),
    )
