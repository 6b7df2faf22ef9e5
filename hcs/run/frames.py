"""Sums per frame of a field: what the measurement of a well notes for the tables of the plate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike

from hcs.plate.commit import JSON, Marker
from hcs.plate.metadata import FieldImage
from hcs.run.steps import record_of
from hcs.tables.fields import field_frames

_DTYPES: Mapping[str, DTypeLike] = {"time_index": np.int64, "qc_reason": object, "model": object}
_BLANK = "blank or missing: the frame has one grey level only"


def summarise_frames(objects: pd.DataFrame, image: FieldImage, segmented: Marker) -> pd.DataFrame:
    """Return the sums over the objects of each frame of a field.

    Parameters
    ----------
    objects : DataFrame
        Object table of the field.
    image : FieldImage
    segmented : Marker
        Of the step that found the objects, for what it said of the frames.
    """
    height, width = image.frame_shape
    decisions = _decisions(segmented, image)
    return field_frames(
        objects,
        qc_reasons=_reasons(decisions, _blank(segmented, image), image.n_frames),
        models=[one["source"] for one in decisions] if decisions else None,
        interval_s=image.interval_s,
        field_area_pixel=height * width,
    )


def frames_to_json(frames: pd.DataFrame) -> dict[str, JSON]:
    """Return a table as JSON by column; None where a number is missing.

    Examples
    --------
    >>> frames_to_json(pd.DataFrame({"n_objects": [2.0, float("nan")]}))
    {'n_objects': [2.0, None]}
    """
    return {
        str(name): [None if pd.isna(value) else value for value in frames[name].tolist()]
        for name in frames
    }


def frames_from_json(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return the table of `frames_to_json`."""
    n_frames = len(columns["time_index"])
    # measured before frames told these: nothing is known of them
    unknown = dict.fromkeys(("model", "uncertainty"), [None] * n_frames)
    told = {**unknown, **columns}
    return pd.DataFrame(
        {name: np.array(told[name], _DTYPES.get(name, np.float64)) for name in told}
    )


def _decisions(segmented: Marker, image: FieldImage) -> Sequence[Mapping[str, Any]] | None:
    """Return what SSL decided for each frame; None for segmenters that decide nothing."""
    of_fields: Any = record_of(segmented).get("decisions")
    return None if of_fields is None else of_fields[image.path.name]


def _blank(segmented: Marker, image: FieldImage) -> Sequence[int]:
    """Return the frames that a network was not asked about."""
    of_fields: Any = record_of(segmented).get("blank", {})
    found: Sequence[int] = of_fields.get(image.path.name, ())
    return found


def _reasons(
    decisions: Sequence[Mapping[str, Any]] | None, blank: Sequence[int], n_frames: int
) -> list[str]:
    """Say for each frame why it has no answer; empty where it has one.

    A pair that is not separable has one all the same where another pair's model decided.
    """
    if decisions is None:
        return [_BLANK if index in blank else "" for index in range(n_frames)]
    return [_reason(one) for one in decisions]


def _reason(decision: Mapping[str, Any]) -> str:
    if decision["blank"]:
        return _BLANK
    if decision["source"] == "none":
        return "not separable: nothing moves, or there is nothing to see"
    return ""
