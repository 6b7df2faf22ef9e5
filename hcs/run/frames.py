"""Sums per frame of a field: what the measurement of a well notes for the tables of the plate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hcs.plate.commit import JSON, Marker
from hcs.plate.metadata import FieldImage
from hcs.run.steps import record_of
from hcs.tables.fields import field_frames


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
    return field_frames(
        objects,
        qc_reasons=_reasons(segmented, image),
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
    table = pd.DataFrame(dict(columns))
    numbers = [name for name in table if name != "qc_reason"]
    return table.astype(dict.fromkeys(numbers, "float64")).astype({"time_index": "int64"})


def _reasons(segmented: Marker, image: FieldImage) -> list[str]:
    """Say for each frame why it has no answer; empty where it has one.

    A pair that is not separable has one all the same where another pair's model decided.
    """
    decisions: Any = record_of(segmented).get("decisions")
    if decisions is None:
        return [""] * image.n_frames
    return [_reason(decision) for decision in decisions[image.path.name]]


def _reason(decision: Mapping[str, Any]) -> str:
    if decision["blank"]:
        return "blank or missing: the frame has one grey level only"
    if decision["model"] is None and not decision["empty"]:
        return "not separable: nothing moves, or there is nothing to see"
    return ""
