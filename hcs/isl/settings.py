"""What a person may set of prediction with trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IslSettings(BaseModel):
    """Settings of prediction with trained networks; all of them may change a result.

    Examples
    --------
    >>> IslSettings().uncertainty
    'none'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: tuple[str, ...] = Field(
        default=(),
        description="files of trained networks, one step each; as `hcs train` writes them",
    )
    channels: Mapping[str, str] = Field(
        default={},
        description="where the plate calls an input channel otherwise: name in the weights file, "
        "name in the plate",
    )
    pixel_size: Literal["rescale", "refuse"] = Field(
        default="rescale",
        description="what to do with a plate of another pixel size than the training images",
    )
    pixel_size_tolerance: float = Field(
        default=0.1, ge=0, le=1, description="difference of pixel sizes that does not matter (ours)"
    )
    tile_px: int = Field(
        default=2176,
        ge=64,
        multiple_of=32,
        description="longest side that is predicted whole; larger fields are cut into tiles of it",
    )
    halo_px: int = Field(
        default=128, ge=0, description="overlap of neighbouring tiles, blended (ours)"
    )
    batch: int = Field(default=4, ge=1, description="images or tiles that are computed together")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="auto: bf16 where the processor computes in it; say which where workers differ",
    )
    engine: Literal["torch", "openvino"] = Field(
        default="torch", description="openvino: faster on processors of many kinds; no GPU"
    )
    uncertainty: Literal["none", "flips"] = Field(
        default="none",
        description="flips: mean and spread over the eight flips and rotations; eight times slower",
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="foreground above this probability (B4 of the paper)"
    )
    h: float = Field(
        default=0.1,
        gt=0,
        description="how far a peak of a cell's distance map must stand above its saddle (ours)",
    )
    min_area_px: int = Field(
        default=16, ge=0, description="smaller objects are dropped, pixels of the plate (ours)"
    )
