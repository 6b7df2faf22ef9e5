"""The measures of the Cell Tracking Challenge, on arrays, by py-ctcmetrics.

SEG: how well objects are outlined. TRA: how much of the truth's graph of cells in time is right
(Matula et al. 2015). LNK: the same, links only. py-ctcmetrics reads folders; its counting works
on lists of ids, which is what we give it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from ctc_metrics.metrics.technical.det import det
from ctc_metrics.metrics.technical.lnk import lnk
from ctc_metrics.metrics.technical.seg import seg
from ctc_metrics.metrics.technical.tra import tra
from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations
from numpy.typing import NDArray

from hcs.labels.match import Overlaps


@dataclass(frozen=True)
class Pairs:
    """Truth objects of one frame and the objects that cover more than half of each.

    Parameters
    ----------
    truth, labels : ndarray of int64
        All ids of the frame.
    matched_truth, matched_labels : ndarray of int64, shape (k,)
        The pairs; a truth object occurs at most once.
    iou : ndarray of float64, shape (k,)
    """

    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    matched_truth: NDArray[np.int64]
    matched_labels: NDArray[np.int64]
    iou: NDArray[np.float64]


_NONE = np.zeros(0, dtype=np.int64)
_EMPTY = Pairs(_NONE, _NONE, _NONE, _NONE, iou=np.zeros(0))


def pair(found: Overlaps) -> Pairs:
    """Return the pairs of a frame by the challenge's rule: more than half of the truth object.

    Examples
    --------
    >>> from hcs.labels.match import overlaps
    >>> pairs = pair(overlaps(np.array([[5, 5, 0, 9]]), np.array([[2, 2, 2, 3]])))
    >>> pairs.matched_truth.tolist(), pairs.matched_labels.tolist()
    ([2, 3], [5, 9])
    """
    shared = found.shared.tocoo()
    covers = 2 * shared.data > found.truth_area[shared.row]
    rows, columns, common = shared.row[covers], shared.col[covers], shared.data[covers]
    return Pairs(
        truth=found.truth,
        labels=found.labels,
        matched_truth=found.truth[rows],
        matched_labels=found.labels[columns],
        iou=common / (found.truth_area[rows] + found.label_area[columns] - common),
    )


def seg_score(frames: Iterable[Pairs]) -> float:
    """Return SEG: the mean IoU over truth objects, 0 for one that nothing covers.

    Asks nothing of what lies outside the truth objects, so it holds for partial truth too.

    Returns
    -------
    float
        In [0, 1]; NaN where the truth holds no object.
    """
    frames = list(frames)
    if sum(frame.truth.size for frame in frames) == 0:
        return float("nan")
    return float(seg([frame.truth for frame in frames], [frame.iou for frame in frames]))


@dataclass(frozen=True)
class TrackScores:
    """How well tracks follow complete true tracks, each in [0, 1], NaN where not defined.

    Parameters
    ----------
    tra, det, lnk : float
        The challenge's measures: of the whole graph, of its objects, of its links.
    link_accuracy : float
        Share of the true links whose both ends were found that we link too; what tracking is
        answerable for, whatever the segmentation missed.
    """

    tra: float
    det: float
    lnk: float
    link_accuracy: float


def track_scores(
    frames: Iterable[Pairs], tracks: pd.DataFrame, true_tracks: pd.DataFrame
) -> TrackScores:
    """Return the tracking scores of a sequence.

    Parameters
    ----------
    frames : iterable of Pairs
        Of every frame, in order of time, ids unique over time.
    tracks, true_tracks : DataFrame
        ``label`` and ``parent_label`` (0 where there is none), a row per id.

    Returns
    -------
    TrackScores

    Examples
    --------
    A cell in two frames, found in both, but with a new id in the second:

    >>> one = np.array([1])
    >>> first = Pairs(one, one, one, one, np.ones(1))
    >>> second = Pairs(one, one + 1, one, one + 1, np.ones(1))
    >>> truth = pd.DataFrame({"label": [1], "parent_label": [0]})
    >>> ours = pd.DataFrame({"label": [1, 2], "parent_label": [0, 0]})
    >>> scores = track_scores([first, second], ours, truth)
    >>> scores.det, scores.lnk, scores.link_accuracy
    (1.0, 0.0, 0.0)
    """
    # py-ctcmetrics cannot do with a single frame; an empty one at the end changes nothing
    frames = [*frames, _EMPTY]
    nan = float("nan")
    if sum(frame.truth.size for frame in frames) == 0:
        return TrackScores(tra=nan, det=nan, lnk=nan, link_accuracy=nan)
    if sum(frame.labels.size for frame in frames) == 0:
        return TrackScores(tra=0.0, det=0.0, lnk=0.0, link_accuracy=nan)
    true_graph = _lineage([frame.truth for frame in frames], true_tracks)
    graph = _lineage([frame.labels for frame in frames], tracks)
    errors = count_acyclic_graph_correction_operations(
        true_graph,
        graph,
        [frame.truth for frame in frames],
        [frame.labels for frame in frames],
        [frame.matched_truth for frame in frames],
        [frame.matched_labels for frame in frames],
    )
    return TrackScores(
        tra=tra(**errors)[0],
        det=det(**errors),
        lnk=lnk(**errors) if errors["num_edges"] else nan,
        link_accuracy=_link_accuracy(frames, graph, true_graph),
    )


def _lineage(ids: list[NDArray[np.int64]], tracks: pd.DataFrame) -> NDArray[np.int64]:
    """Return id, first frame, last frame and parent of every id that occurs, shape (n, 4).

    A parent that occurs in no frame is none: the sequence may be cut out of a longer one.
    """
    time = np.repeat(np.arange(len(ids)), [frame.size for frame in ids])
    seen = pd.DataFrame({"label": np.concatenate(ids), "time": time}).groupby("label")["time"]
    table = seen.agg(["min", "max"])
    parents = tracks.set_index("label")["parent_label"].reindex(table.index, fill_value=0)
    known = parents.where(parents.isin(table.index), 0)
    return np.column_stack([table.index, table["min"], table["max"], known]).astype(np.int64)


# one link: (frame, id) to (frame, id)
_Link = tuple[int, int, int, int]


def _links(ids: list[NDArray[np.int64]], lineage: NDArray[np.int64]) -> set[_Link]:
    """Return all links: an id to itself in the next frame, a mother to a daughter."""
    kept = {
        (t, int(i), t + 1, int(i))
        for t, (a, b) in enumerate(pairwise(ids))
        for i in np.intersect1d(a, b)
    }
    last = {int(row[0]): int(row[2]) for row in lineage}
    born = {(last[int(p)], int(p), int(first), int(i)) for i, first, _, p in lineage if p}
    return kept | born


def _link_accuracy(
    frames: list[Pairs], lineage: NDArray[np.int64], true_lineage: NDArray[np.int64]
) -> float:
    """Return the share of the true links between found objects that are ours too."""
    ours = _links([frame.labels for frame in frames], lineage)
    true = _links([frame.truth for frame in frames], true_lineage)
    found = {
        (t, int(i)): int(j)
        for t, frame in enumerate(frames)
        for i, j in zip(frame.matched_truth, frame.matched_labels, strict=True)
    }
    seen = [
        (t, found[t, i], u, found[u, j]) for t, i, u, j in true if {(t, i), (u, j)} <= found.keys()
    ]
    return sum(one in ours for one in seen) / len(seen) if seen else float("nan")
