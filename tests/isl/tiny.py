"""The smallest network that has everything, and cards for it."""

from typing import Any

import torch

from hcs.isl.card import Architecture, Head, InputPlane, ModelCard, TargetScale, Training

# two images of two planes, with structure and noise
IMAGES = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(1))
# every head with every kind of last layers that it can have
KINDS: tuple[tuple[Head, str], ...] = (
    ("stain", "linear"),
    ("nuclei", "linear"),
    ("nuclei", "published"),
    ("nuclei", "repaired"),
    ("cells", "linear"),
    ("cells", "published"),
    ("cells", "repaired"),
)
N_OUTPUTS = {"stain": 1, "nuclei": 1, "cells": 2}


def tiny(last: str = "linear", **changes: Any) -> Architecture:
    body = {"encoder": "resnet18", "depth": 3, "decoder_channels": (16, 8, 8)}
    return Architecture(**{**body, "last": last, **changes})


def tiny_card(head: Head = "stain", last: str = "linear", **changes: Any) -> ModelCard:
    facts: dict[str, Any] = {
        "name": "dapi",
        "head": head,
        "inputs": (InputPlane(channel="phase"), InputPlane(channel="phase", plane=1)),
        "targets": (TargetScale(stain="DAPI", offset=120, scale=850),) if head == "stain" else (),
        "architecture": tiny(last),
        "pixel_size_um": 0.65,
        "training": Training(
            fingerprint="f" * 64,
            n_images=3,
            n_steps=150,
            seed=7,
            started_from="random",
            recipe={"batch": 4, "betas": [0.9, 0.999]},
        ),
        "scores": {"pcc": 0.91},
        "licence": "CC0-1.0",
        "made_by": "hcs 0.1",
    }
    return ModelCard(**{**facts, **changes})
