"""From the cells that were drawn to the truth of a field: ids, tracks and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = (
    "label",
    "parent_label",
    "first_frame",
    "last_frame",
    "end",
    "motion",
    "stops_at_frame",
)
# smaller slivers, at the rim of the field mostly, are nobody's truth
MIN_AREA_PX = 40


@dataclass(frozen=True)
class Life:
    """What the simulation knows of one cell.

    Parameters
    ----------
    parent : int
        Serial of its mother, 0 for none.
    stops_at : int
        First frame at which it stands still; 0: it never moved; huge: it never stops.
    end : {"", "division", "death"}
    """

    parent: int
    stops_at: int
    end: str = ""


@dataclass(frozen=True)
class _Run:
    serial: int
    first: int
    last: int


def clean(owner: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the label image with one connected piece per cell and no slivers.

    Examples
    --------
    >>> import numpy as np
    >>> owner = np.zeros((12, 12), np.uint32)
    >>> owner[1:9, 1:9], owner[10, 10] = 3, 3
    >>> int(clean(owner).astype(bool).sum())
    64
    """
    kept = np.zeros_like(owner)
    for serial in np.unique(owner[owner > 0]):
        rows, columns = np.nonzero(owner == serial)
        where = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        mine = (owner[where] == serial).astype(np.uint8)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=4)
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        if stats[largest, cv2.CC_STAT_AREA] >= MIN_AREA_PX:
            kept[where][pieces == largest] = serial
    return kept


def tracks(
    owners: NDArray[np.uint32], lives: Mapping[int, Life]
) -> tuple[NDArray[np.uint32], pd.DataFrame]:
    """Return label images with ids unique over time, and one row per track.

    A cell that leaves the field and comes back is a new track, as in the Cell Tracking Challenge.

    Parameters
    ----------
    owners : ndarray of uint32, shape (t, y, x)
        Serials, 0 for background.
    lives : mapping of int to Life
        By serial.

    Returns
    -------
    ndarray of uint32, shape (t, y, x)
        Labels 1..n, in the order of first appearance.
    DataFrame
        Columns ``COLUMNS``. ``end`` is "division", "death", "left" or "" for the last frame;
        ``motion`` is "moving", "stopped" (from ``stops_at_frame`` on) or "resting".
    """
    n_frames = len(owners)
    runs = _runs(owners)
    lookup = np.zeros((n_frames, max(lives, default=0) + 1), np.uint32)
    for label, run in enumerate(runs, start=1):
        lookup[run.first : run.last + 1, run.serial] = label
    labels = np.stack([lookup[t][frame] for t, frame in enumerate(owners)])
    last_of = {run.serial: run for run in runs}
    rows = [
        _row(label, run, lives, lookup, last_of[run.serial])
        for label, run in enumerate(runs, start=1)
    ]
    return labels, pd.DataFrame(rows, columns=list(COLUMNS))


def _runs(owners: NDArray[np.uint32]) -> list[_Run]:
    """Return the unbroken stretches of frames in which each cell is seen."""
    seen: dict[int, list[int]] = {}
    for t, frame in enumerate(owners):
        for serial in np.unique(frame[frame > 0]):
            seen.setdefault(int(serial), []).append(t)
    runs = []
    for serial, frames in seen.items():
        breaks = np.flatnonzero(np.diff(frames) > 1) + 1
        parts = np.split(np.asarray(frames), breaks)
        runs += [_Run(serial, int(part[0]), int(part[-1])) for part in parts]
    return sorted(runs, key=lambda run: (run.first, run.serial))


def _row(
    label: int,
    run: _Run,
    lives: Mapping[int, Life],
    lookup: NDArray[np.uint32],
    last: _Run,
) -> tuple[object, ...]:
    life = lives[run.serial]
    n_frames = len(lookup)
    mother_dies = life.parent > 0 and run.first > 0
    parent = int(lookup[run.first - 1, life.parent]) if mother_dies else 0
    end = (life.end if run is last and life.end else "left") if run.last < n_frames - 1 else ""
    motion, stop = "moving", -1
    if life.stops_at == 0:
        motion, stop = "resting", 0
    elif life.stops_at < n_frames:
        motion, stop = "stopped", life.stops_at
    return label, parent, run.first, run.last, end, motion, stop
