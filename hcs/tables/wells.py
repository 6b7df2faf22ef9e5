"""Rows per well: its frames over all fields, its summary over time, what went wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from hcs.errors import QUALITY
from hcs.tables.schema import QUARANTINE, WELL_FRAMES, WELLS

_SECONDS_PER_HOUR = 3600
# below it a well is flagged
_MIN_QC_PASS_SHARE = 0.5
_FLAG_HINT = (
    "look at its frames (hcs overlay): out of focus, without cells, never taken? "
    "`well_frames` has each frame's reason"
)
_KEY = ["row", "column", "path_in_well"]
_FRAME = ["measured", "acquisition", "time_index"]
_NUMBERS = [
    *("n_objects", "n_new", "n_linked", "n_divisions", "confluence"),
    *("area_mean", "speed_mean", "uncertainty_mean"),
]


@dataclass(frozen=True)
class WellKey:
    """Which well a row speaks of.

    Parameters
    ----------
    row, column : str
    path_in_well : str
        Name of the well's first field: ngio finds the well by it. Empty where nothing of the well
        can be read.
    """

    row: str
    column: str
    path_in_well: str

    @property
    def well(self) -> str:
        """The well as people write it."""
        return f"{self.row}{self.column}"


@dataclass(frozen=True)
class FieldRecord:
    """The frames of one field of a well.

    Parameters
    ----------
    acquisition : int or None
        None where the plate names none.
    frames : DataFrame
        Of :func:`hcs.tables.fields.field_frames`.
    """

    acquisition: int | None
    frames: pd.DataFrame


@dataclass(frozen=True)
class MeasuredWell:
    """What was measured in one label image of a well.

    Parameters
    ----------
    key : WellKey
    label_image : str
    fields : sequence of FieldRecord
        In the order of the well.
    """

    key: WellKey
    label_image: str
    fields: Sequence[FieldRecord]


@dataclass(frozen=True)
class WellRecord:
    """How far a well came.

    Parameters
    ----------
    key : WellKey
    state : str
        ``failed`` leaves every number of the well missing.
    n_frames : int or None
        Of its longest field; None where nothing of the well can be read.
    """

    key: WellKey
    state: str
    n_frames: int | None


@dataclass(frozen=True)
class Quarantined:
    """A well that failed or was flagged, and what to do about it."""

    well: str
    cause: str
    message: str
    hint: str


def well_frames(measured: Sequence[MeasuredWell]) -> pd.DataFrame:
    """Return a row per acquisition and frame of wells (:data:`hcs.tables.schema.WELL_FRAMES`).

    Parameters
    ----------
    measured : sequence of MeasuredWell

    Returns
    -------
    DataFrame
        In the order of the wells, by acquisition and time; without rows where there is no field.
    """
    fields = [(n, f) for n, one in enumerate(measured) for f in one.fields if len(f.frames)]
    if not fields:
        return WELL_FRAMES.empty()
    lengths = [len(field.frames) for _, field in fields]
    rows = pd.concat([field.frames for _, field in fields], ignore_index=True)
    rows["measured"] = np.repeat([number for number, _ in fields], lengths)
    acquisitions = pd.array([field.acquisition for _, field in fields], dtype="Int64")
    rows["acquisition"] = acquisitions.repeat(lengths)
    groups = rows.groupby(_FRAME, dropna=False)
    table = groups.sum(min_count=1, numeric_only=True).drop(columns="t_second")
    table["t_second"] = groups["t_second"].first()
    table["confluence"] = table["area_pixel"] / table["field_area_pixel"]
    table["area_mean"] = table["area"] / table["n_objects"]
    table["speed_mean"] = table["speed"] / table["n_linked"]
    table["uncertainty_mean"] = table["uncertainty"] / table["n_objects"]
    table["qc_reason"] = groups["qc_reason"].agg(_join)
    table["qc_pass"] = table["qc_reason"] == ""
    table["model"] = groups["model"].agg(_join).replace("", None)
    names = [
        asdict(one.key) | {"well": one.key.well, "label_image": one.label_image} for one in measured
    ]
    table = table.reset_index().join(pd.DataFrame(names), on="measured")
    return WELL_FRAMES.arrange(table[WELL_FRAMES.names()])


def wells(
    records: Sequence[WellRecord],
    frames: pd.DataFrame,
    label_images: Sequence[str],
    condition: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return a row per well: its state and its summary over time.

    Parameters
    ----------
    records : sequence of WellRecord
        Every well of the plate, in its order.
    frames : DataFrame
        All rows of :func:`well_frames`, of all wells.
    label_images : sequence of str
        Each has its columns, with or without rows.
    condition : DataFrame, optional
        A row per well: ``row``, ``column``, ``path_in_well`` and what the plate map has.

    Returns
    -------
    DataFrame
        :data:`hcs.tables.schema.WELLS`; growth is the slope of the least-squares line, pooled
        over acquisitions.

    Raises
    ------
    ValueError
        If the plate map has a column of ours, lacks one of those, or has a well twice.
    """
    done = {record.key.well for record in records if record.state != "failed"}
    table = pd.DataFrame(
        [
            asdict(record.key)
            | {"well": record.key.well, "state": record.state}
            | {"n_frames": record.n_frames if record.key.well in done else None}
            for record in records
        ],
        columns=[*_KEY, "well", "state", "n_frames"],
    )
    known = frames[frames["well"].isin(done)]
    for label_image in label_images:
        summary = _summary(known[known["label_image"] == label_image])
        table = table.join(summary.add_suffix(f"-{label_image}"), on="well")
    return WELLS.arrange(_with_condition(table, condition), label_images)


def flagged(frames: pd.DataFrame) -> list[Quarantined]:
    """Return a row for each well most of whose frames failed quality control in a label image.

    Parameters
    ----------
    frames : DataFrame
        Rows of :func:`well_frames`, of any wells.

    Examples
    --------
    >>> frames = pd.DataFrame(
    ...     {
    ...         "well": "B03",
    ...         "label_image": "ssl_cells",
    ...         "qc_pass": [True] + [False] * 3,
    ...         "qc_reason": ["", "dim", "blank", "blank"],
    ...     }
    ... )
    >>> flagged(frames)[0].message
    'ssl_cells: 3 of 4 frames failed quality control, 2 of them: blank'
    """
    told: dict[str, list[str]] = {}
    for (well, label_image), rows in frames.groupby(["well", "label_image"], sort=False):
        reasons = rows.loc[~rows["qc_pass"].astype(bool), "qc_reason"]
        if 1 - len(reasons) / len(rows) < _MIN_QC_PASS_SHARE:
            (most, n_most), *_ = Counter(reasons).most_common(1)
            counted = f"{len(reasons)} of {len(rows)} frames failed quality control"
            told.setdefault(str(well), []).append(
                f"{label_image}: {counted}, {n_most} of them: {most}"
            )
    return [Quarantined(well, QUALITY, ". ".join(of), _FLAG_HINT) for well, of in told.items()]


def quarantine(rows: Iterable[Quarantined]) -> pd.DataFrame:
    """Return the quarantine table (:data:`hcs.tables.schema.QUARANTINE`).

    Examples
    --------
    >>> row = Quarantined("B03", "unusable frames", "1 frame", "SSL needs two")
    >>> quarantine([row]).iloc[0].tolist()
    ['B03', 'unusable frames', '1 frame', 'SSL needs two']
    """
    return QUARANTINE.arrange(
        pd.DataFrame([asdict(row) for row in rows], columns=QUARANTINE.names())
    )


def growth_per_hour(frames: pd.DataFrame, column: str) -> float:
    """Return the slope of log2 of a column over time: doublings per hour.

    Parameters
    ----------
    frames : DataFrame
        ``t_second``, ``acquisition`` and the column; where it is 0 or missing a row does not count.
    column : str

    Returns
    -------
    float
        Least squares, pooled over acquisitions; NaN without two times.

    Examples
    --------
    >>> frames = pd.DataFrame({"t_second": [0, 3600, 7200], "acquisition": 0, "n": [10, 20, 40]})
    >>> round(growth_per_hour(frames, "n"), 6)
    1.0
    """
    slopes = _growth(frames.reset_index(drop=True).assign(well=""), column)
    return float(slopes.get("", float("nan")))


def _growth(frames: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return the slope of each well."""
    rows = frames[frames[column].notna() & (frames[column] > 0) & frames["t_second"].notna()]
    hours = rows["t_second"].astype(float) / _SECONDS_PER_HOUR
    doublings = rows[column].astype(float).map(math.log2)
    pooled = [rows["well"], rows["acquisition"]]
    x = hours - hours.groupby(pooled, dropna=False).transform("mean")
    y = doublings - doublings.groupby(pooled, dropna=False).transform("mean")
    spread = (x**2).groupby(rows["well"]).sum()
    return (x * y).groupby(rows["well"]).sum() / spread.where(spread > 0)


def _weighted(frames: pd.DataFrame, column: str, weight: str) -> pd.Series[float]:
    """Return the mean of a column in each well, each frame with the weight of another."""
    known = frames[frames[column].notna()]
    total = known[weight].groupby(known["well"]).sum()
    sums = (known[column] * known[weight]).groupby(known["well"]).sum()
    return sums / total.where(total != 0)


def _summary(frames: pd.DataFrame) -> pd.DataFrame:
    """Return the label-dependent columns of `wells`, by well."""
    rows = frames.sort_values(["acquisition", "time_index"]).reset_index(drop=True)
    rows = rows.astype(dict.fromkeys(_NUMBERS, "float64"))
    of = rows.groupby("well")
    own = (rows["model"].dropna() == "own").groupby(rows["well"])
    return pd.DataFrame(
        {
            "n_objects_first": of["n_objects"].first(),
            "n_objects_last": of["n_objects"].last(),
            "n_objects_mean": of["n_objects"].mean(),
            "n_tracks": of["n_new"].sum(min_count=1),
            "n_divisions": of["n_divisions"].sum(min_count=1),
            "confluence_first": of["confluence"].first(),
            "confluence_last": of["confluence"].last(),
            "confluence_mean": of["confluence"].mean(),
            "growth_count": _growth(rows, "n_objects"),
            "growth_confluence": _growth(rows, "confluence"),
            "area_mean": _weighted(rows, "area_mean", "n_objects"),
            "speed_mean": _weighted(rows, "speed_mean", "n_linked"),
            "qc_pass_share": of["qc_pass"].mean(),
            "own_model_share": own.mean(),
            "uncertainty_mean": _weighted(rows, "uncertainty_mean", "n_objects"),
        }
    )


def _with_condition(table: pd.DataFrame, condition: pd.DataFrame | None) -> pd.DataFrame:
    if condition is None:
        return table
    missing = [name for name in _KEY if name not in condition]
    if missing:
        raise ValueError(f"plate map: it has no column {', '.join(missing)}")
    free = condition.drop(columns="path_in_well")
    problems = [
        f"its column {name!r} is one of ours" for name in free if name in table and name not in _KEY
    ]
    names = free["row"].astype(str) + free["column"].astype(str)
    twice = names[names.duplicated()].unique()
    problems += [f"well {well} is in it twice" for well in twice]
    if problems:
        raise ValueError("plate map: " + "; ".join(problems))
    return table.merge(free, how="left", on=["row", "column"])


def _join(texts: pd.Series[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts.dropna() if text))
