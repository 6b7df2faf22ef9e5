"""What a person may set of the training of a network, with meaning and source of every number.

Sources: B1, B3, B5 = the released code of Bonte et al. 2022 and its paper; B7 = what was measured
on real pairs; "ours" = stated nowhere that we could read, so our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hcs.isl.card import Head

RecipeName = Literal["default", "paper"]
Loss = Literal["l1", "mse", "l1+ms-dssim", "jaccard", "bce+dice", "distance+mask"]

_LOSSES: Mapping[Head, frozenset[str]] = {
    "stain": frozenset({"l1", "mse", "l1+ms-dssim"}),
    "nuclei": frozenset({"jaccard", "bce+dice"}),
    "cells": frozenset({"distance+mask"}),
}


class Recipe(BaseModel):
    """How a network is trained; :func:`recipe_of` fills in what suits its head.

    Examples
    --------
    >>> recipe_of("paper", "stain").loss
    'l1'
    >>> recipe_of("default", "nuclei", steps=50).steps
    50
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: RecipeName = Field(description="default: what an expert would do now; paper: as in B5")
    head: Head = Field(description="stain: grey levels; nuclei: a mask; cells: distance and mask")
    steps: int = Field(
        ge=1, description="optimiser steps; the paper's 'training samples' are these (B5)"
    )
    batch: int = Field(ge=1, description="crops per step (paper 10, B5; default 8, B7)")
    crop_px: int = Field(
        ge=32,
        multiple_of=32,
        description="side of a crop; the network halves it five times (paper 512, B1)",
    )
    crops: Literal["each step", "once"] = Field(
        description="each step: where crops lie is drawn anew whenever a frame is read (ours); "
        "once: the same crops of a frame all the time (B1)"
    )
    crops_per_image: int = Field(
        ge=1, description="crops that are cut of a frame once it is read (paper 5, B1)"
    )
    block_frames: int = Field(
        default=16,
        ge=1,
        description="frames that are held in memory, from which crops are mixed (ours)",
    )
    foreground_value: float = Field(
        description="a pixel of the target from which on it is foreground; stains are near [0, 1], "
        "masks are 0 or 1 (for nuclear stains the paper takes 5 000 grey levels, B1)"
    )
    min_foreground: float = Field(
        ge=0,
        lt=1,
        description="share of a crop that is foreground, else it is drawn again; 0 takes one pixel "
        "(paper: one pixel of a stain or cell, 5 000 pixels of nuclei, B1)",
    )
    foreground_crops: float = Field(
        gt=0,
        le=1,
        description="share of the crops that must have so much foreground; the others lie "
        "anywhere, so that the network sees background too (paper 1, B1; default .75, ours)",
    )
    crop_tries: int = Field(
        ge=1,
        description="draws before the best crop seen is taken (paper 1 000, then the image is "
        "skipped, B1)",
    )
    optimiser: Literal["adam", "adamw"] = Field(description="paper adam (B5); default adamw (B7)")
    learning_rate: float = Field(
        gt=0,
        description="largest rate. Paper: .01 for segmentation (B5) and .1 for stains, where the "
        "network had to reach 65 535 grey levels (B6.8); our targets are near [0, 1], where .1 "
        "learns, but to twice the loss of .01 (drawn nuclei, 120 steps, two seeds), so that the "
        "paper recipe takes .01 for both. Default 1e-3 (B7)",
    )
    betas: tuple[float, float] = Field(
        description="memory of the mean and of the variance of gradients (paper: .5 and .999 for "
        "stains, .9 and .999 for segmentation, B5)"
    )
    weight_decay: float = Field(ge=0, description="paper 0 (B5); default .01 (B7)")
    schedule: Literal["constant", "cosine"] = Field(
        description="constant (B5), or linear warm-up and a cosine down to a hundredth (ours)"
    )
    warm_up: float = Field(
        default=0.1, ge=0, lt=1, description="share of the steps that the warm-up takes (ours)"
    )
    clip: float | None = Field(
        default=None, gt=0, description="longest gradient; null for any (default 1, B7)"
    )
    loss: Loss = Field(
        description="of a stain: l1 (B5), mse, which is better on sparse stains (B7), or "
        "l1+ms-dssim (VSCyto2D); of nuclei: jaccard (B3) or bce+dice (B7); of cells: "
        "distance+mask (eq. 2, B3)"
    )
    distance_weight: float = Field(
        default=65025 / 2000,
        gt=0,
        description="eq. 2 as MSE + 2 000 BCE is for distances up to 255; ours end at 1, so it is "
        "65 025 MSE + 2 000 BCE, which is 32.5 MSE + BCE (B4)",
    )
    augment: Literal["none", "flips", "full"] = Field(
        description="none (B5); flips: and quarter turns, which matter though the shear of DIC has "
        "a direction (B7); full: and gain .8 to 1.25 (B7), offset, noise and blur of the input"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of the running mean of the weights, which is what is validated and "
        "kept; null keeps the weights themselves (B5). Default .99 (ours)",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on a GPU that computes in it, else fp32 (B5)"
    )
    validate_every: int = Field(
        default=100, ge=1, description="steps between two looks at the validation images (ours)"
    )
    validation_px: int = Field(
        default=1024,
        ge=32,
        multiple_of=32,
        description="longest side that is validated; of larger frames it is the middle (ours)",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="validations without a better loss until training ends early; null never "
        "ends it (B5). Default 10 (ours)",
    )
    checkpoint_every: int = Field(
        default=200, ge=1, description="steps that a kill can cost at most (ours)"
    )

    @model_validator(mode="after")
    def _loss_suits_the_head(self) -> Self:
        if self.loss not in _LOSSES[self.head]:
            offered = " or ".join(sorted(_LOSSES[self.head]))
            raise ValueError(f"loss {self.loss} is not for {self.head}: take {offered}")
        return self

    @model_validator(mode="after")
    def _betas_are_shares(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must each lie in [0, 1)")
        return self


def recipe_of(name: RecipeName, head: Head, **changes: object) -> Recipe:
    """Return the recipe of that name for a head, with some of its settings changed.

    Parameters
    ----------
    changes : fields of :class:`Recipe`

    Raises
    ------
    pydantic.ValidationError
        For unknown settings and values out of range, all of them at once.
    """
    chosen = _PAPER if name == "paper" else _DEFAULT
    return Recipe.model_validate(
        {**chosen["all"], **chosen[head], **changes, "name": name, "head": head}
    )


_DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "all": {
        "batch": 8,
        "crop_px": 256,
        "crops": "each step",
        "crops_per_image": 16,
        "foreground_crops": 0.75,
        "crop_tries": 50,
        "optimiser": "adamw",
        "learning_rate": 1e-3,
        "betas": (0.9, 0.999),
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "clip": 1.0,
        "augment": "full",
        "ema": 0.99,
        "patience": 10,
    },
    "stain": {"steps": 2000, "foreground_value": 0.25, "min_foreground": 0.01, "loss": "mse"},
    "nuclei": {"steps": 1000, "foreground_value": 0.5, "min_foreground": 0.02, "loss": "bce+dice"},
    "cells": {
        "steps": 1000,
        "foreground_value": 0.5,
        "min_foreground": 0.05,
        "loss": "distance+mask",
    },
}

_PAPER: Mapping[str, Mapping[str, Any]] = {
    "all": {
        "batch": 10,
        "crop_px": 512,
        "crops": "once",
        "crops_per_image": 5,
        "foreground_crops": 1.0,
        "crop_tries": 1000,
        "optimiser": "adam",
        "learning_rate": 0.01,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "schedule": "constant",
        "augment": "none",
        "precision": "fp32",
    },
    "stain": {
        "steps": 192_000,
        "betas": (0.5, 0.999),
        "foreground_value": 0.25,
        "min_foreground": 0.0,
        "loss": "l1",
    },
    "nuclei": {
        "steps": 20_000,
        "foreground_value": 0.5,
        "min_foreground": 5000 / 512**2,
        "loss": "jaccard",
    },
    "cells": {
        "steps": 10_000,
        "foreground_value": 0.5,
        "min_foreground": 0.0,
        "loss": "distance+mask",
    },
}
