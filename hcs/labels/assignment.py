"""Which object of a frame is which of another: linear assignment by laptrack.

Jaqaman et al. 2008: first frame to frame, then the ends and beginnings that are left, across gaps
and at divisions. Lengths are in typical object diameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from laptrack import LapTrack
from numpy.typing import NDArray

from hcs.labels.settings import TrackSettings

# a node of laptrack's graph: frame and index of the object within it
Node = tuple[int, int]
# from the earlier to the later
Link = tuple[Node, Node]


@dataclass(frozen=True)
class FrameObjects:
    """The objects of one frame, in order of their labels.

    Parameters
    ----------
    position, before : ndarray of float, shape (n, 2)
        Where they are and where they were in the frame before (y, x), in typical diameters,
        without drift.
    area : ndarray of float, shape (n,)
        Pixels.
    """

    position: NDArray[np.float64]
    before: NDArray[np.float64]
    area: NDArray[np.float64]


def objects_by_frame(
    rows: pd.DataFrame, drift: NDArray[np.float64], settings: TrackSettings
) -> list[FrameObjects]:
    """Return every frame's objects, also of frames without any.

    Parameters
    ----------
    rows : DataFrame
        At least one; as :func:`hcs.labels.track.link` takes them, by time, then label.
    drift : ndarray of float, shape (t, 2)
        Of each frame against the one before, pixels.
    settings : TrackSettings
    """
    area = rows["area"].to_numpy(dtype=float)
    diameter = 2 * np.sqrt(np.median(area) / np.pi)
    time = rows["time_index"].to_numpy(dtype=np.int64)
    stage = np.cumsum(np.vstack([np.zeros((1, 2)), drift[1:]]), axis=0)
    position = rows[["y", "x"]].to_numpy(dtype=float) - stage[time]
    own_motion = rows[["dy", "dx"]].to_numpy(dtype=float) - drift[time]
    before = position - settings.displacement_weight * np.nan_to_num(own_motion)
    starts = np.searchsorted(time, np.arange(len(drift) + 1))
    return [
        FrameObjects(position[i:j] / diameter, before[i:j] / diameter, area[i:j])
        for i, j in pairwise(starts)
    ]


def link_neighbours(frames: list[FrameObjects], settings: TrackSettings) -> list[Link]:
    """Return the links between neighbouring frames: where an object is, against where it was.

    Examples
    --------
    >>> place = np.array([[0.0, 0], [9, 9]])
    >>> here = FrameObjects(place, place, np.ones(2))
    >>> there = FrameObjects(place[::-1], place[::-1], np.ones(2))
    >>> link_neighbours([here, there], TrackSettings())
    [((0, 0), (1, 1)), ((0, 1), (1, 0))]
    """
    tracker = LapTrack(
        cutoff=settings.max_step**2,
        gap_closing_cutoff=False,
        splitting_cutoff=False,
        merging_cutoff=False,
    )
    weight = settings.area_weight
    edges: list[Link] = []
    for t, (earlier, later) in enumerate(pairwise(frames)):
        if len(earlier.position) == 0 or len(later.position) == 0:
            continue
        here = np.column_stack([earlier.position, weight * np.log(earlier.area)])
        there = np.column_stack([later.before, weight * np.log(later.area)])
        pairs = tracker.predict([here, there]).edges
        edges += sorted(((t, i), (t + 1, j)) for (_, i), (_, j) in pairs)
    return edges


def link_the_rest(
    frames: list[FrameObjects], links: list[Link], settings: TrackSettings
) -> list[Link]:
    """Return all links: those given, and those across gaps and to mothers.

    laptrack sees only what can get such a link; its time grows with the square of what it sees.

    Parameters
    ----------
    frames : list of FrameObjects
    links : list of Link
        Of :func:`link_neighbours`.
    settings : TrackSettings
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


def _open_ends(frames: list[FrameObjects], links: list[Link], reach: float) -> list[list[Node]]:
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


def _bridges(links: list[Link], seen: set[Node]) -> list[Link]:
    """Return the tracks as links from each node that is seen to the next one."""
    earliest: dict[Node, Node] = {}
    bridges = []
    for earlier, later in sorted(links):
        begin = earliest.get(earlier, earlier)
        if later in seen:
            bridges.append((begin, later))
        else:
            earliest[later] = begin
    return bridges
