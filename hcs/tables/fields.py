"""Rows per frame of a field: what the tables of wells are added up from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hcs.tables.objects import steps


def field_frames(
    objects: pd.DataFrame,
    *,
    qc_reasons: Sequence[str],
    models: Sequence[str] | None = None,
    interval_s: float | None,
    field_area_pixel: int,
) -> pd.DataFrame:
    """Return the sums over the objects of every frame, also of frames without any.

    A frame that failed quality control and holds no object has no answer: its numbers are
    missing. One that passed and holds none is empty: its numbers are 0.

    Parameters
    ----------
    objects : DataFrame
        Object table of the field (:data:`hcs.tables.schema.OBJECTS`).
    qc_reasons : sequence of str
        A text per frame: why it failed quality control, empty where it passed.
    models : sequence of str or None
        Whose model labelled each frame; None for segmenters that have none.
    interval_s : float or None
        Between frames.
    field_area_pixel : int
        Height times width.

    Returns
    -------
    DataFrame
        A row per frame: ``time_index``, ``t_second``, ``qc_reason``, ``model``, and what can be
        added up over fields: ``n_fields`` (1, or 0 without an answer), ``n_objects``,
        ``n_linked``, ``n_new``, ``n_divisions``, ``field_area_pixel``, ``area_pixel``, ``area``,
        ``speed``, ``uncertainty``.

    Raises
    ------
    ValueError
        If an object lies in a frame after the last.

    Examples
    --------
    >>> from hcs.tables.schema import OBJECTS
    >>> table = field_frames(
    ...     OBJECTS.empty(), qc_reasons=["", "blank"], interval_s=60, field_area_pixel=100
    ... )
    >>> table[["t_second", "n_objects", "qc_reason"]].to_numpy().tolist()
    [[0.0, 0.0, ''], [60.0, nan, 'blank']]
    """
    n_frames = len(qc_reasons)
    if len(objects) and objects["time_index"].max() >= n_frames:
        raise ValueError(
            f"an object lies in frame {objects['time_index'].max()} of a field of {n_frames} frames"
        )
    frames = pd.RangeIndex(n_frames, name="time_index")
    table = _sums(objects).reindex(frames, fill_value=0.0)
    # of no object nothing is known: a sum of 0 would hide that the others' is missing
    table.loc[table["n_objects"] == 0, "uncertainty"] = np.nan
    table["n_fields"], table["field_area_pixel"] = 1.0, float(field_area_pixel)
    reasons = pd.Series(list(qc_reasons), index=frames, dtype=object)
    unanswered = (reasons != "") & (table["n_objects"] == 0)
    table[unanswered] = np.nan
    table["n_fields"] = table["n_fields"].fillna(0)
    table.insert(0, "t_second", frames * (np.nan if interval_s is None else float(interval_s)))
    whose = pd.Series([None] * n_frames if models is None else [*models], frames, dtype=object)
    return table.assign(qc_reason=reasons, model=whose).reset_index()


def _sums(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the sums over the objects of every frame that holds one."""
    moved = steps(objects)
    linked, new = moved["n_frames"] == 1, moved["n_frames"].isna()
    speed = (moved["step_micrometer"] / moved["duration_hour"]).where(linked, 0.0)
    each = pd.DataFrame(
        {
            "n_objects": 1.0,
            "n_linked": linked.astype(float),
            "n_new": new.astype(float),
            "n_divisions": _is_first_daughter(objects, new).astype(float),
            "area_pixel": objects["area_pixel"].astype(float),
            "area": objects["area"],
            "speed": speed,
            "uncertainty": objects["uncertainty"].astype(float),
        },
        index=objects.index,
    )
    # a missing pixel size or interval makes every sum missing, never 0
    return each.groupby(objects["time_index"]).agg(_sum_of_all)


def _sum_of_all(values: pd.Series[float]) -> float:
    return float(values.sum(skipna=False))


def _is_first_daughter(objects: pd.DataFrame, new: pd.Series[bool]) -> pd.Series[bool]:
    """Return which rows are the first sight of the first daughter of a mother."""
    born = objects[new & (objects["parent_label"] > 0)].sort_values(["time_index", "label"])
    first = born.drop_duplicates("parent_label").index
    return pd.Series(objects.index.isin(first), index=objects.index)
