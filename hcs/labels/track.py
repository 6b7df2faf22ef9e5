"""Ids over time: an object keeps its id from frame to frame, an id is never used again.

Linked objects share an id (`hcs.labels.assignment` links them); a division ends the mother's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.labels.assignment import (
    FrameObjects,
    Link,
    Node,
    link_neighbours,
    link_the_rest,
    objects_by_frame,
)
from hcs.labels.settings import TrackSettings


@dataclass(frozen=True)
class Tracks:
    """Which id each object of each frame has.

    Parameters
    ----------
    objects : DataFrame
        A row per object: ``time_index``, ``local_label`` (as in the frame's own label image),
        ``label`` (unique over time) and ``parent_label`` (0 where no division made it), in order
        of time and local label.
    """

    objects: pd.DataFrame

    def ids(self, time_index: int) -> NDArray[np.uint32]:
        """Return the final label by local label of one frame; index 0, the background, is 0."""
        rows = self.objects[self.objects["time_index"] == time_index]
        local = rows["local_label"].to_numpy(dtype=np.int64)
        ids = np.zeros(local.max(initial=0) + 1, dtype=np.uint32)
        ids[local] = rows["label"]
        return ids


def link(
    objects: pd.DataFrame,
    drift: NDArray[np.floating],
    settings: TrackSettings | None = None,
) -> Tracks:
    """Return the ids of all objects of a field.

    Parameters
    ----------
    objects : DataFrame
        A row per object, in any order: ``time_index``, ``label`` (unique within its frame),
        ``y``, ``x`` (centroid, pixels), ``area`` (pixels), ``dy``, ``dx`` (displacement since
        the frame before, pixels, with the drift in it; NaN where unknown).
    drift : ndarray of float, shape (t, 2)
        Shift (y, x) of the whole picture of frame t against frame t-1, pixels; the first row is
        not used. Its length is the number of frames.
    settings : TrackSettings, optional

    Returns
    -------
    Tracks
        Ids 1..n in order of first appearance, then of local label.

    Raises
    ------
    ValueError
        If an object lies outside the frames, or a label occurs twice in a frame.

    Examples
    --------
    >>> objects = pd.DataFrame(
    ...     {
    ...         "time_index": [0, 0, 1, 1],
    ...         "label": [1, 2, 1, 2],
    ...         "y": [5.0, 50, 52, 6],
    ...         "x": [5.0, 50, 50, 5],
    ...         "area": 80,
    ...         "dy": np.nan,
    ...         "dx": np.nan,
    ...     }
    ... )
    >>> link(objects, drift=np.zeros((2, 2))).objects["label"].tolist()
    [1, 2, 2, 1]
    """
    settings = settings or TrackSettings()
    rows = objects.sort_values(["time_index", "label"], ignore_index=True)
    _check(rows, len(drift))
    label, parent = _ids(rows, np.asarray(drift, dtype=float), settings)
    return Tracks(
        pd.DataFrame(
            {
                "time_index": rows["time_index"].to_numpy(dtype=np.int64),
                "local_label": rows["label"].to_numpy(dtype=np.uint32),
                "label": np.array(label, dtype=np.uint32),
                "parent_label": np.array(parent, dtype=np.uint32),
            }
        )
    )


def relabel(labels: NDArray[np.integer], ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return a frame's label image with its local labels replaced by final ids.

    Parameters
    ----------
    labels : ndarray of integer, shape (y, x)
    ids : ndarray of uint32, shape (n + 1,)
        As :meth:`Tracks.ids` gives them.

    Raises
    ------
    ValueError
        If the label image holds an object that has no id.

    Examples
    --------
    >>> relabel(np.array([[0, 1], [2, 2]]), np.array([0, 70, 3], dtype=np.uint32)).tolist()
    [[0, 70], [3, 3]]
    """
    present = np.unique(labels)
    known = np.append(True, ids[1:] != 0)
    lost = [int(i) for i in present if i >= ids.size or not known[i]]
    if lost:
        raise ValueError(f"no id for the objects {lost[:5]} of the label image: link them first")
    return np.asarray(ids[labels])


def _check(rows: pd.DataFrame, n_frames: int) -> None:
    times = rows["time_index"]
    outside = times[(times < 0) | (times >= n_frames)]
    if len(outside):
        raise ValueError(
            f"an object lies in frame {int(outside.iloc[0])}, but the drift has {n_frames} frames"
        )
    twice = rows[rows.duplicated(["time_index", "label"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"label {int(first['label'])} occurs twice in frame {int(first['time_index'])}"
        )


def _ids(
    rows: pd.DataFrame, drift: NDArray[np.float64], settings: TrackSettings
) -> tuple[list[int], list[int]]:
    """Return id and parent of every object, in the order of the rows."""
    if rows.empty:
        return [], []
    frames = objects_by_frame(rows, drift, settings)
    links = link_neighbours(frames, settings)
    every = link_the_rest(frames, links, settings)
    kept = _without_false_divisions(every, links, frames, settings)
    nodes = ((t, i) for t, frame in enumerate(frames) for i in range(frame.area.size))
    return _number(nodes, kept)


def _without_false_divisions(
    edges: list[Link], links: list[Link], frames: list[FrameObjects], settings: TrackSettings
) -> list[Link]:
    """Return the links where only lasting daughters of like size have a mother.

    A cell that is cut in two in one frame only would have daughters, too.
    """
    linked = set(links)
    daughters: dict[Node, list[Node]] = {}
    # the link between neighbouring frames is the surer one, then the earlier
    for mother, node in sorted(edges, key=lambda edge: (edge not in linked, edge)):
        daughters.setdefault(mother, []).append(node)
    last_seen = _last_seen(edges)
    kept = []
    for mother, nodes in daughters.items():
        sizes = [frames[t].area[i] for t, i in nodes]
        alike = min(sizes) >= settings.min_daughter_ratio * max(sizes)
        last = [
            last_seen.get((t, i), t) - t + 1 >= settings.min_daughter_frames
            or last_seen.get((t, i), t) == len(frames) - 1
            for t, i in nodes
        ]
        kept += [(mother, node) for node in (nodes if alike and all(last) else nodes[:1])]
    return kept


def _last_seen(edges: list[Link]) -> dict[Node, int]:
    """Return the last frame of every object that goes on, or of its offspring."""
    last: dict[Node, int] = {}
    for mother, node in sorted(edges, reverse=True):
        last[mother] = max(last.get(mother, 0), last.get(node, node[0]))
    return last


def _number(nodes: Iterable[Node], edges: list[Link]) -> tuple[list[int], list[int]]:
    """Return id and parent of every object, in order of time: a division ends the mother's id."""
    mothers = {node: mother for mother, node in edges}
    n_daughters = Counter(mother for mother, _ in edges)
    label: dict[Node, int] = {}
    parent: dict[Node, int] = {}
    n_ids = 0
    for node in nodes:
        mother = mothers.get(node)
        if mother is not None and n_daughters[mother] == 1:
            label[node], parent[node] = label[mother], parent[mother]
        else:
            n_ids += 1
            label[node], parent[node] = n_ids, 0 if mother is None else label[mother]
    return list(label.values()), list(parent.values())
