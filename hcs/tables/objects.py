"""Rows per object: what it is in each frame, and the summary of its track."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from hcs.tables.schema import FEATURES, MOTION, OBJECTS

# of scikit-image, and how the columns are called here
_COLUMN_OF_PROPERTY = {
    "label": "label",
    "area": "area_pixel",
    "bbox-0": "bbox_y_start_pixel",
    "bbox-1": "bbox_x_start_pixel",
    "bbox-2": "bbox_y_stop_pixel",
    "bbox-3": "bbox_x_stop_pixel",
    "centroid-0": "y_pixel",
    "centroid-1": "x_pixel",
    "perimeter": "perimeter",
    "axis_major_length": "axis_major_length",
    "axis_minor_length": "axis_minor_length",
    "eccentricity": "eccentricity",
    "orientation": "orientation",
    "solidity": "solidity",
    "extent": "extent",
}
_PROPERTIES = tuple(dict.fromkeys(name.partition("-")[0] for name in _COLUMN_OF_PROPERTY))
_DISPLACEMENTS = ["displacement_y_pixel", "displacement_x_pixel", "displacement_pixel"]
# columns of a track's summary that are no means over its frames
_OF_A_TRACK = ("label", "parent_label")
_SECONDS_PER_HOUR = 3600


def measure_frame(
    labels: NDArray[np.integer],
    intensities: Mapping[str, NDArray[Any]],
    *,
    time_index: int,
    t_second: float | None,
    pixel_size_um: float | None,
) -> pd.DataFrame:
    """Return the object table of one frame (:data:`hcs.tables.schema.OBJECTS`).

    Parameters
    ----------
    labels : ndarray of integer, shape (y, x)
    intensities : mapping of str to ndarray, shape (y, x)
        The frame of every channel, in grey levels.
    time_index : int
    t_second : float or None
        None where the frame interval is not known.
    pixel_size_um : float or None
        None where it is not known: then what is in micrometers is missing.

    Returns
    -------
    DataFrame
        A row per object, by label; none in an empty frame. Displacement and uncertainty are
        missing and the parent 0 until :func:`join_motion` adds them.

    Raises
    ------
    ValueError
        If a channel's frame and the label image differ in shape.

    Examples
    --------
    >>> labels = np.zeros((5, 6), dtype=np.uint32)
    >>> labels[1:3, 2:5] = 7
    >>> phase = np.arange(30).reshape(5, 6)
    >>> row = measure_frame(
    ...     labels, {"phase": phase}, time_index=3, t_second=1800, pixel_size_um=0.5
    ... ).iloc[0]
    >>> row["object_id"], float(row["area"]), float(row["x_pixel"])
    ('7_3', 1.5, 3.0)
    >>> float(row["intensity_mean-phase"]), bool(row["touches_border"])
    (12.0, False)
    """
    for channel, frame in intensities.items():
        if frame.shape != labels.shape:
            raise ValueError(
                f"channel {channel!r} is {frame.shape} pixels, the label image {labels.shape}"
            )
    if not labels.any():
        return OBJECTS.empty(list(intensities))
    table = _shapes(labels, np.nan if pixel_size_um is None else pixel_size_um)
    table["time_index"] = time_index
    table["t_second"] = np.nan if t_second is None else t_second
    table["object_id"] = object_ids(table)
    table[_DISPLACEMENTS] = np.nan
    table["parent_label"] = 0
    table["uncertainty"] = np.nan
    for channel, frame in intensities.items():
        table = table.join(_intensities(labels, frame, channel))
    return OBJECTS.arrange(table, list(intensities))


def object_ids(table: pd.DataFrame) -> pd.Series[str]:
    """Return the id of every row, unique within a field: label and frame.

    Examples
    --------
    >>> object_ids(pd.DataFrame({"label": [12], "time_index": [3]})).tolist()
    ['12_3']
    """
    return table["label"].astype(str) + "_" + table["time_index"].astype(str)


def motion(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the motion table that the segmentation writes (:data:`hcs.tables.schema.MOTION`).

    Parameters
    ----------
    objects : DataFrame
        A row per object and frame: ``label`` (final), ``time_index``, ``parent_label``, the three
        displacements and ``uncertainty``.
    """
    rows = objects.sort_values(["time_index", "label"], ignore_index=True)
    return MOTION.arrange(rows.assign(object_id=object_ids(rows))[MOTION.names()])


def join_motion(objects: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """Return the object table with what the segmentation knew of every object that moved has.

    Parameters
    ----------
    objects, moved : DataFrame
        Object table and motion table of the same label image, columns as declared.
    """
    known = moved.set_index("object_id").reindex(objects["object_id"])
    joined = objects.copy()
    joined[_DISPLACEMENTS] = known[_DISPLACEMENTS].to_numpy()
    joined["parent_label"] = known["parent_label"].fillna(0).to_numpy(dtype=np.int64)
    # motion tables of earlier versions do not have it
    joined["uncertainty"] = known["uncertainty"].to_numpy() if "uncertainty" in known else np.nan
    return joined


def steps(objects: pd.DataFrame) -> pd.DataFrame:
    """Return how every object moved since it was seen last.

    Parameters
    ----------
    objects : DataFrame
        Object table of a field, rows in any order.

    Returns
    -------
    DataFrame
        With the index of ``objects``: ``n_frames`` since then (NaN for the first sight),
        ``step_micrometer`` and ``duration_hour``.
    """
    by_label = objects.sort_values("time_index").groupby("label")
    change = by_label[["time_index", "t_second", "y_micrometer", "x_micrometer"]].diff()
    return pd.DataFrame(
        {
            "n_frames": change["time_index"],
            "step_micrometer": np.hypot(change["y_micrometer"], change["x_micrometer"]),
            "duration_hour": change["t_second"] / _SECONDS_PER_HOUR,
        }
    ).reindex(objects.index)


def features(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of every track (:data:`hcs.tables.schema.FEATURES`).

    Parameters
    ----------
    objects : DataFrame
        Object table of a field, of all its frames.

    Returns
    -------
    DataFrame
        A row per id, by id.
    """
    channels = channels_of(objects)
    rows = objects.sort_values(["label", "time_index"], ignore_index=True)
    tracks = rows.groupby("label")
    means = [name for name in FEATURES.names(channels) if name in rows and name not in _OF_A_TRACK]
    table = tracks[means].mean()
    table["n_frames"] = tracks.size()
    table["first_frame"] = tracks["time_index"].min()
    table["last_frame"] = tracks["time_index"].max()
    table["parent_label"] = tracks["parent_label"].max()
    moved = steps(rows).groupby(rows["label"]).sum(min_count=1)
    table["path_length"] = moved["step_micrometer"]
    table["net_displacement"] = _net_displacement(rows).where(table["n_frames"] > 1)
    table["speed_mean"] = moved["step_micrometer"] / moved["duration_hour"]
    return FEATURES.arrange(table.reset_index(), channels)


def channels_of(objects: pd.DataFrame) -> list[str]:
    """Return the channels whose intensity an object table holds, in its order.

    Examples
    --------
    >>> channels_of(OBJECTS.empty(["phase", "nuclei"]))
    ['phase', 'nuclei']
    """
    prefix = "intensity_mean-"
    return [str(name).removeprefix(prefix) for name in objects if str(name).startswith(prefix)]


def _net_displacement(rows: pd.DataFrame) -> pd.Series[float]:
    """Return the distance from first to last centroid by id; rows are in order of time."""
    places = rows.groupby("label")[["y_micrometer", "x_micrometer"]]
    way = places.last() - places.first()
    return pd.Series(np.hypot(way["y_micrometer"], way["x_micrometer"]), index=way.index)


def _shapes(labels: NDArray[np.integer], pixel_size_um: float) -> pd.DataFrame:
    """Return everything about the objects that the label image alone tells, by label."""
    signed = labels.astype(np.int64)
    found = pd.DataFrame(regionprops_table(signed, properties=_PROPERTIES))
    table = found.rename(columns=_COLUMN_OF_PROPERTY)
    table["y_micrometer"] = table["y_pixel"] * pixel_size_um
    table["x_micrometer"] = table["x_pixel"] * pixel_size_um
    table["area"] = table["area_pixel"] * pixel_size_um**2
    perimeter = table["perimeter"].where(table["perimeter"] > 0)
    table["form_factor"] = 4 * np.pi * table["area_pixel"] / perimeter**2
    lengths = ["perimeter", "axis_major_length", "axis_minor_length"]
    table[lengths] *= pixel_size_um
    height, width = labels.shape
    table["touches_border"] = (
        (table["bbox_y_start_pixel"] == 0)
        | (table["bbox_x_start_pixel"] == 0)
        | (table["bbox_y_stop_pixel"] == height)
        | (table["bbox_x_stop_pixel"] == width)
    )
    return table


def _intensities(labels: NDArray[np.integer], frame: NDArray[Any], channel: str) -> pd.DataFrame:
    """Return mean, standard deviation, smallest and largest grey level by label."""
    inside = labels > 0
    pixels = pd.Series(frame[inside].astype(np.float64)).groupby(labels[inside])
    table = pixels.agg(["mean", "min", "max"]).reset_index(drop=True)
    table["sd"] = pixels.std(ddof=0).to_numpy()
    return table.add_prefix("intensity_").add_suffix(f"-{channel}")
