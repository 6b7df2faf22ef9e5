"""What a person may set of instances and tracks, with meaning and source of every number.

Source "real": chosen on the true masks and tracks of seven real data sets (Cell Tracking
Challenge, Usiigaci), see the fields; "ours": stated nowhere that we could read, so our choice.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SplitSettings(BaseModel):
    """Settings of :func:`hcs.labels.split.split`.

    Examples
    --------
    >>> SplitSettings().h
    0.12
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    h: float = Field(
        default=0.12,
        gt=0,
        description="how far a peak of the distance map must stand above its saddle to be an "
        "object of its own, in typical object radii (real)",
    )
    smoothing: float = Field(
        default=0.15,
        ge=0,
        description="Gaussian smoothing of the distance map, sigma in typical object radii: "
        "ragged outlines make no objects (real)",
    )


class TrackSettings(BaseModel):
    """Settings of :func:`hcs.labels.track.link`.

    Examples
    --------
    >>> TrackSettings().max_gap_frames
    2
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_step: float = Field(
        default=1.0,
        gt=0,
        description="farthest move between two frames, in typical object diameters (real)",
    )
    area_weight: float = Field(
        default=0.5,
        ge=0,
        description="cost of a change of area: object diameters per factor e (real)",
    )
    displacement_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of an object's displacement from the optical flow that predicts where "
        "it was in the frame before; 0 does without it (real)",
    )
    max_gap_frames: int = Field(
        default=2,
        ge=0,
        description="frames that an object may be missing and keep its id (ours)",
    )
    max_daughter_step: float = Field(
        default=1.0,
        ge=0,
        description="farthest distance of a daughter from its mother, in typical object "
        "diameters; 0 finds no divisions (real)",
    )
    min_daughter_ratio: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="smallest ratio of the daughters' areas, smaller to larger: a cell divides "
        "into equals, a passing fragment is none (ours)",
    )
    min_daughter_frames: int = Field(
        default=3,
        ge=1,
        description="frames that both daughters of a division must be followed for, where the "
        "sequence is long enough: a cell that is cut in two for a moment divides not (real)",
    )
