"""Small things to learn: frames whose target follows from the input, and a network that can."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import nn

from hcs.isl.card import Head
from hcs.isl.crops import Example
from hcs.isl.recipe import Recipe, recipe_of


def small_recipe(head: Head = "nuclei", **changes: object) -> Recipe:
    """Return the default recipe for frames of 48 pixels and a few steps."""
    small = {
        "steps": 12,
        "batch": 4,
        "crop_px": 32,
        "crops_per_image": 4,
        "validate_every": 4,
        "checkpoint_every": 3,
        "patience": None,
    }
    return recipe_of("default", head, **{**small, **changes})


def bright_spots(seed: int, shape: tuple[int, int] = (48, 48)) -> Example:
    """Draw a frame of smooth noise; what is bright in it is foreground."""
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    inputs = ((smooth - smooth.mean()) / smooth.std())[np.newaxis]
    return Example(inputs, (inputs > 0.5).astype(np.float32), f"B/02/{seed}, frame 0")


def as_cells(example: Example) -> Example:
    """Return the same frame with a distance map before its mask."""
    return replace(example, target=np.concatenate([example.target / 2, example.target]))


def tiny_network(outputs: int = 1, inputs: int = 1) -> nn.Module:
    """Return two convolutions with normalisation between them, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(inputs, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, outputs, 3, padding=1),
    )


def frames(*examples: Example) -> Callable[[], list[Example]]:
    """Return what gives these frames each time it is called."""
    return lambda: list(examples)
