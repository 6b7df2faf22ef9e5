"""Ids over time: an object keeps its id from frame to frame, an id is never used again.

Linear assignment by laptrack (Jaqaman et al. 2008): first frame to frame, then the ends and
beginnings that are left, across gaps and at divisions. Lengths are in typical object diameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from laptrack import LapTrack
from numpy.typing import NDArray

from hcs.labels.settings import TrackSettings

# a node of laptrack's graph: frame and index of the object within it
_Node = tuple[int, int]
_Edge = tuple[_Node, _Node]


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


@dataclass(frozen=True)
class _Frame:
    """The objects of one frame: where they are and were, in typical diameters, without drift."""

    position: NDArray[np.float64]
    before: NDArray[np.float64]
    area: NDArray[np.float64]


def _ids(
    rows: pd.DataFrame, drift: NDArray[np.float64], settings: TrackSettings
) -> tuple[list[int], list[int]]:
    """Return id and parent of every object, in the order of the rows."""
    if rows.empty:
        return [], []
    frames = _frames(rows, drift, settings)
    links = _link_pairs(frames, settings)
    edges = _without_false_divisions(_close(frames, links, settings), links, frames, settings)
    return _number(
        ((t, i) for t, frame in enumerate(frames) for i in range(frame.area.size)), edges
    )


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


def _frames(
    rows: pd.DataFrame, drift: NDArray[np.float64], settings: TrackSettings
) -> list[_Frame]:
    """Return every frame's objects, also of frames without any."""
    area = rows["area"].to_numpy(dtype=float)
    diameter = 2 * np.sqrt(np.median(area) / np.pi)
    time = rows["time_index"].to_numpy(dtype=np.int64)
    stage = np.cumsum(np.vstack([np.zeros((1, 2)), drift[1:]]), axis=0)
    position = rows[["y", "x"]].to_numpy(dtype=float) - stage[time]
    own_motion = rows[["dy", "dx"]].to_numpy(dtype=float) - drift[time]
    before = position - settings.displacement_weight * np.nan_to_num(own_motion)
    starts = np.searchsorted(time, np.arange(len(drift) + 1))
    return [
        _Frame(position[i:j] / diameter, before[i:j] / diameter, area[i:j])
        for i, j in pairwise(starts)
    ]


def _link_pairs(frames: list[_Frame], settings: TrackSettings) -> list[_Edge]:
    """Return the links between neighbouring frames: where an object is, against where it was."""
    tracker = LapTrack(
        cutoff=settings.max_step**2,
        gap_closing_cutoff=False,
        splitting_cutoff=False,
        merging_cutoff=False,
    )
    weight = settings.area_weight
    edges: list[_Edge] = []
    for t, (earlier, later) in enumerate(pairwise(frames)):
        if len(earlier.position) == 0 or len(later.position) == 0:
            continue
        here = np.column_stack([earlier.position, weight * np.log(earlier.area)])
        there = np.column_stack([later.before, weight * np.log(later.area)])
        pairs = tracker.predict([here, there]).edges
        edges += sorted(((t, i), (t + 1, j)) for (_, i), (_, j) in pairs)
    return edges


def _close(frames: list[_Frame], links: list[_Edge], settings: TrackSettings) -> list[_Edge]:
    """Return all links: those given, and those across gaps and to mothers.

    laptrack sees only what can get such a link; its time grows with the square of what it sees.
    """
    seen = _open_ends(frames, links, settings.max_daughter_step)
    places = [[i for _, i in group] for group in seen]
    index = {node: k for group in seen for k, node in enumerate(group)}
    joined = _bridges(links, set(index))
    tracker = LapTrack(
        # every link between neighbouring frames is made already
        cutoff=0,
        gap_closing_cutoff=settings.max_gap_frames > 0 and settings.max_step**2,
        gap_closing_max_frame_count=settings.max_gap_frames + 1,
        splitting_cutoff=settings.max_daughter_step > 0 and settings.max_daughter_step**2,
        merging_cutoff=False,
    )
    graph = tracker.predict(
        [frame.position[place] for frame, place in zip(frames, places, strict=True)],
        connected_edges=[((a[0], index[a]), (b[0], index[b])) for a, b in joined],
    )
    found = {((t, places[t][i]), (u, places[u][j])) for (t, i), (u, j) in graph.edges}
    return sorted((found - set(joined)) | set(links))


def _open_ends(frames: list[_Frame], links: list[_Edge], reach: float) -> list[list[_Node]]:
    """Return, by frame, where tracks begin and end, and what may be a mother of a beginning."""
    begun, ended = {later for _, later in links}, {earlier for earlier, _ in links}
    nodes = [[(t, i) for i in range(frame.area.size)] for t, frame in enumerate(frames)]
    inside = begun & ended
    kept = [{node for node in group if node not in inside} for group in nodes]
    for t, group in enumerate(nodes[1:], start=1):
        for _, i in (node for node in group if node not in begun):
            far = np.hypot(*(frames[t - 1].position - frames[t].position[i]).T)
            kept[t - 1] |= {(t - 1, int(k)) for k in np.flatnonzero(far < reach)}
    return [sorted(group) for group in kept]


def _bridges(links: list[_Edge], seen: set[_Node]) -> list[_Edge]:
    """Return the tracks as links from each node that is seen to the next one."""
    earliest: dict[_Node, _Node] = {}
    bridges = []
    for earlier, later in sorted(links):
        begin = earliest.get(earlier, earlier)
        if later in seen:
            bridges.append((begin, later))
        else:
            earliest[later] = begin
    return bridges


def _without_false_divisions(
    edges: list[_Edge], links: list[_Edge], frames: list[_Frame], settings: TrackSettings
) -> list[_Edge]:
    """Return the links where only lasting daughters of like size have a mother.

    A cell that is cut in two in one frame only would have daughters, too.
    """
    linked = set(links)
    daughters: dict[_Node, list[_Node]] = {}
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


def _last_seen(edges: list[_Edge]) -> dict[_Node, int]:
    """Return the last frame of every object that goes on, or of its offspring."""
    last: dict[_Node, int] = {}
    for mother, node in sorted(edges, reverse=True):
        last[mother] = max(last.get(mother, 0), last.get(node, node[0]))
    return last


def _number(nodes: Iterable[_Node], edges: list[_Edge]) -> tuple[list[int], list[int]]:
    """Return id and parent of every object, in order of time: a division ends the mother's id."""
    mothers = {node: mother for mother, node in edges}
    n_daughters = Counter(mother for mother, _ in edges)
    label: dict[_Node, int] = {}
    parent: dict[_Node, int] = {}
    n_ids = 0
    for node in nodes:
        mother = mothers.get(node)
        if mother is not None and n_daughters[mother] == 1:
            label[node], parent[node] = label[mother], parent[mother]
        else:
            n_ids += 1
            label[node], parent[node] = n_ids, 0 if mother is None else label[mother]
    return list(label.values()), list(parent.values())
