"""What a weights file says of itself; read without torch, since every plan and status asks.

The card is JSON in the metadata of a safetensors file. It tells what the network takes and gives,
so that a plate can be checked against it before any pixel is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

Head = Literal["stain", "nuclei", "cells"]
# wider than any network of use; a card comes from anyone, and widths multiply (ours)
_MAX_CHANNELS = 4096
Plane = int | Literal["max", "mean"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputPlane(_Fact):
    """One plane of the network's input."""

    channel: str = Field(description="by its name in the plate")
    plane: Plane = Field(default=0, description="of a z stack, from 0, or its projection")


class TargetScale(_Fact):
    """How grey levels of a stain became values near [0, 1]: value = (grey - offset) / scale."""

    stain: str = Field(description="by its name in the plate")
    offset: float = Field(description="grey level of the background")
    scale: float = Field(gt=0, description="grey levels from the background to bright objects")


class Architecture(_Fact):
    """A U-Net of segmentation-models-pytorch, and how its last layers are made."""

    encoder: str = Field(default="densenet121", description="any of segmentation-models-pytorch")
    depth: int = Field(default=5, ge=3, le=5, description="halvings of the image")
    decoder_channels: tuple[int, ...] = Field(
        default=(256, 128, 64, 32, 16), description="from the coarsest block to the finest"
    )
    last: Literal["linear", "published", "repaired"] = Field(
        default="linear",
        description="linear: a convolution on the decoder (the paper's basic networks); published: "
        "the paper's layers on top of a whole stain network; repaired: the same idea on its "
        "decoder, without the closing ReLU",
    )

    def problems(self, head: Head, n_inputs: int, n_outputs: int) -> list[str]:
        """Return in words what cannot be together; empty for what can be built.

        Examples
        --------
        >>> Architecture(depth=4).problems("stain", 2, 0)
        ['depth 4 needs 4 decoder_channels, not 5', 'a stain network cannot have 0 outputs']
        """
        found = []
        if len(self.decoder_channels) != self.depth:
            found.append(
                f"depth {self.depth} needs {self.depth} decoder_channels, "
                f"not {len(self.decoder_channels)}"
            )
        widths = {"decoder_channels": self.decoder_channels, "inputs": (n_inputs,)}
        for name, values in widths.items():
            if any(not 1 <= value <= _MAX_CHANNELS for value in values):
                found.append(f"{name} are to be from 1 to {_MAX_CHANNELS}, not {values}")
        outputs = {"stain": range(1, _MAX_CHANNELS + 1), "nuclei": (1,), "cells": (2,)}[head]
        if n_outputs not in outputs:
            found.append(f"a {head} network cannot have {n_outputs} outputs")
        if head == "stain" and self.last != "linear":
            found.append(f"last: {self.last} is for nuclei and cells, a stain's is linear")
        return found


class Training(_Fact):
    """Where the weights come from."""

    fingerprint: str = Field(description="of the training pixels, targets and settings")
    n_images: int = Field(ge=0, description="frames trained on")
    n_steps: int = Field(ge=0, description="optimiser steps until the weights that were kept")
    seed: int = Field(ge=0, description="equal seeds give equal weights on one type of processor")
    started_from: str = Field(description="random, imagenet, or the digest of a weights file")
    recipe: Mapping[str, JsonValue] = Field(description="settings of the optimisation")


class ModelCard(_Fact):
    """What a network takes, what it gives, and where it comes from."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")] = Field(
        description="its step is isl-<name>"
    )
    head: Head = Field(description="stain: grey levels; nuclei: a mask; cells: distance and mask")
    inputs: tuple[InputPlane, ...] = Field(min_length=1, description="in the network's order")
    targets: tuple[TargetScale, ...] = Field(default=(), description="stains only, in order")
    architecture: Architecture = Field(description="of the network")
    pixel_size_um: float | None = Field(default=None, gt=0, description="of the training images")
    training: Training = Field(description="where the weights come from")
    scores: Mapping[str, float] = Field(default={}, description="on images not trained on")
    licence: str = Field(default="unknown", description="of the weights")
    made_by: str = Field(default="", description="version of hcs")

    @property
    def step(self) -> str:
        """Name of the step that uses it, and end of the name of its stain plate."""
        return f"isl-{self.name}"

    @property
    def label_image(self) -> str | None:
        """The label image that it fills; None for a stain."""
        return None if self.head == "stain" else f"isl_{self.head}"

    @property
    def n_outputs(self) -> int:
        """Channels of the network's output."""
        return {"stain": len(self.targets), "nuclei": 1, "cells": 2}[self.head]

    def problems(self) -> list[str]:
        """Return in words what in it cannot be together; empty for a good one."""
        found = self.architecture.problems(self.head, len(self.inputs), self.n_outputs)
        if self.head != "stain" and self.targets:
            found.append(f"a network for {self.head} has no targets, this has {len(self.targets)}")
        return found
