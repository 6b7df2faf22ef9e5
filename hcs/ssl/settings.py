"""What a person may set of the SSL segmentation, with meaning and source of every number.

Sources: A1 = the released code of Robitaille et al. 2022 as it runs, with its constants; A5 = the
recipe that six real data sets chose; "ours" = stated nowhere that we could read, so our choice.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SslSettings(BaseModel):
    """Settings of :mod:`hcs.ssl`; the defaults are the recipe that is scored.

    Examples
    --------
    >>> SslSettings().thresholds
    'adaptive'
    >>> SslSettings(thresholds="paper", flow_reference="black").prior
    'equal'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: Literal["adaptive", "paper"] = Field(
        default="adaptive",
        description="adaptive: every threshold comes from the pair of frames (A5); "
        "paper: the fixed ladders of the released code, for comparison (A1)",
    )
    flow_reference: Literal["previous", "black"] = Field(
        default="previous",
        description="what the flow of a frame starts from; black is what the released code "
        "seems to do (A2) and needs thresholds: paper",
    )
    prior: Literal["empirical", "equal"] = Field(
        default="equal",
        description="class prior of the classifier when it is fitted: label counts (A1.7) or 0.5 "
        "each (A5.6); the EM round of the adaptive recipe then estimates it",
    )
    border: Literal["auto", "keep", "clear"] = Field(
        default="auto",
        description="what becomes of objects that touch the frame's border; auto keeps them, "
        "under thresholds: paper clears them as released (A1.8)",
    )
    low_percentile: float = Field(
        default=0.1, ge=0, lt=50, description="grey level of the sequence that becomes 0 (A5.0)"
    )
    high_percentile: float = Field(
        default=99.9,
        gt=50,
        le=100,
        description="grey level of the sequence that becomes 255 (A5.0)",
    )
    noise_for_unit_blur: float = Field(
        default=10.6,
        gt=0,
        description="noise in grey levels that is answered by a Gaussian blur of 1 px; "
        "the blur grows in proportion (A5.1)",
    )
    max_blur_px: float = Field(
        default=4.0, ge=0, description="largest sigma of that blur; 0 switches it off (A5.1)"
    )
    min_labelled_pixels: int = Field(
        default=200,
        ge=2,
        description="self-labelled pixels that each class needs to train a model (A3.5)",
    )
    em_rounds: int = Field(
        default=1, ge=0, le=20, description="hard EM rounds after the fit on self-labels (A5.6)"
    )
    min_separability: float = Field(
        default=0.75,
        ge=0.5,
        le=1,
        description="area under the ROC curve below which a pair is called not separable: mean "
        "over features of the two label sets, and temporal change of mask against rest (A5)",
    )
    min_entropy_gap: float = Field(
        default=0.5,
        ge=0,
        description="and a pair whose cells have less than that many bits of entropy more than "
        "its background; in quantised background without cells the gap is .35 to .45, in real "
        "frames with cells .61 to 3.0, with heavy noise added still .77 (ours)",
    )
    min_empty_ratio: float = Field(
        default=0.65,
        ge=0,
        le=1,
        description="a pair whose cell entropy reaches less than this part of the way from the "
        "pooled background to the pooled cells is called empty (A5)",
    )
    min_area_fraction: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="objects smaller than this part of the typical object are dropped (A5.7)",
    )
    min_area_px: int = Field(
        default=16, ge=1, description="lower limit of that smallest area (A5.7)"
    )
    max_min_area_px: int = Field(
        default=550, ge=1, description="upper limit of that smallest area (A5.7)"
    )
    paper_extra_entropy: float = Field(
        default=4e3,
        ge=0,
        description="thresholds: paper. Entropy by which the cell labels are grown, in bits; "
        "'camera dependent, works for sensors of 2 Mpixel or more' (A1.5)",
    )

    @model_validator(mode="after")
    def _black_flow_is_of_the_paper(self) -> Self:
        if self.flow_reference == "black" and self.thresholds != "paper":
            raise ValueError(
                "flow_reference: black goes with thresholds: paper only; "
                "against a black frame there is no temporal change to learn from"
            )
        if self.min_area_px > self.max_min_area_px:
            raise ValueError(
                f"min_area_px {self.min_area_px} is above max_min_area_px {self.max_min_area_px}"
            )
        return self
