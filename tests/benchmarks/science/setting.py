"""The two settings: what two processor cores can do in two hours, and the paper's own network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hcs.isl.card import Architecture

# annotated images, as in the paper's second table
COUNTS = (1, 2, 10, 50)
# side of what is annotated of a field, about ten cells: one whole field holds forty, which is more
# than a few hundred steps can use (METHODS B7 found as much on real images)
ANNOTATED_PX = 256
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Setting:
    """How big the networks are and how long they train.

    Parameters
    ----------
    name : str
    device : {"cpu", "gpu"}
    architecture : Architecture
        Of every network on the simulated plate.
    real_architecture : Architecture
        Of every network on the real pairs.
    pixel_size_um : float
        That the networks see; the simulated plate has 0.65.
    stain, segmentation, real : mapping
        What the arms change of the default recipe.
    more_steps : int
        Of the arms that ask what more steps would give.
    pcc_bars : mapping of str to float
        Per stain of the simulated plate.
    """

    name: str
    device: Literal["cpu", "gpu"]
    architecture: Architecture
    real_architecture: Architecture
    pixel_size_um: float
    stain: Mapping[str, Any]
    segmentation: Mapping[str, Any]
    real: Mapping[str, Any]
    more_steps: int
    pcc_bars: Mapping[str, float]


# short trainings end on their last weights: no running mean, no early end
_SHORT = {"ema": None, "patience": None, "crop_px": 128, "crops_per_image": 4, "augment": "flips"}
# resnet10t learnt less in as many steps: nuclear PCC .860 against .869, crops of 128 px
_SMALL = Architecture(encoder="resnet18", depth=3, decoder_channels=(32, 16, 16))

CPU = Setting(
    name="cpu",
    device="cpu",
    architecture=_SMALL,
    real_architecture=Architecture(encoder="resnet18", depth=3, decoder_channels=(64, 32, 16)),
    pixel_size_um=0.65,
    stain={**_SHORT, "steps": 400, "crop_px": 256, "learning_rate": 3e-3},
    segmentation={**_SHORT, "steps": 160, "batch": 4},
    real={**_SHORT, "steps": 150, "augment": "full"},
    more_steps=400,
    pcc_bars={"nuclei": 0.90, "cells": 0.85},
)

_LONG = {"crop_px": 512, "batch": 10}

GPU = Setting(
    name="gpu",
    device="gpu",
    architecture=Architecture(),
    real_architecture=Architecture(),
    pixel_size_um=0.65,
    stain={**_LONG, "steps": 20_000},
    segmentation={**_LONG, "crop_px": ANNOTATED_PX, "steps": 5_000},
    # the left part of the narrowest pair is 208 columns wide
    real={"crop_px": 192, "batch": 8, "steps": 600},
    more_steps=20_000,
    pcc_bars={"nuclei": 0.95, "cells": 0.90},
)

SETTINGS = {setting.name: setting for setting in (CPU, GPU)}
