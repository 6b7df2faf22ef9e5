"""Objects against a truth: which belong together, and the scores of a frame.

Area measures (pixel F1 and its kin) and average precision by the intersection over union (IoU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

# of the DSB-2018 measure: 0.50, 0.55 .. 0.95
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))

# above, a table of all ids would take more memory than the image
_MAX_COUNTED = 1 << 22


@dataclass(frozen=True)
class PixelScores:
    """Pixel scores of one mask against its truth; NaN where one is not defined.

    Parameters
    ----------
    f1, precision, recall, iou : float
        In [0, 1]. Both masks empty is a perfect answer: all of them are 1.
    mcc : float
        Matthews correlation, in [-1, 1]; NaN where either mask is constant.
    """

    f1: float
    precision: float
    recall: float
    iou: float
    mcc: float


def pixel_scores(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> PixelScores:
    """Return how well a mask covers a complete truth.

    Parameters
    ----------
    mask, truth : ndarray of bool, shape (y, x)

    Raises
    ------
    ValueError
        If their shapes differ.

    Examples
    --------
    >>> mask = np.array([[True, True, False, False]])
    >>> truth = np.array([[True, False, True, False]])
    >>> scores = pixel_scores(mask, truth)
    >>> scores.f1, scores.precision, scores.mcc
    (0.5, 0.5, 0.0)
    """
    _same_shape(mask, truth)
    tp = int(np.count_nonzero(mask & truth))
    fp = int(np.count_nonzero(mask)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = mask.size - tp - fp - fn
    if tp + fp + fn == 0:
        return PixelScores(f1=1.0, precision=1.0, recall=1.0, iou=1.0, mcc=float("nan"))
    return PixelScores(
        f1=2 * tp / (2 * tp + fp + fn),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        iou=tp / (tp + fp + fn),
        mcc=_ratio(tp * tn - fp * fn, ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5),
    )


@dataclass(frozen=True)
class Overlaps:
    """How the objects of two label images overlap.

    Parameters
    ----------
    labels, truth : ndarray of int64, shape (n,) and (m,)
        The ids that occur, without the background.
    shared : csr_array of int64, shape (m, n)
        Pixels that truth object i and object j share.
    label_area, truth_area : ndarray of int64, shape (n,) and (m,)
        Pixels.
    """

    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: csr_array
    label_area: NDArray[np.int64]
    truth_area: NDArray[np.int64]

    def iou(self) -> csr_array:
        """Return the intersection over union of every pair that touches, shape (m, n)."""
        pairs = self.shared.tocoo()
        union = self.truth_area[pairs.row] + self.label_area[pairs.col] - pairs.data
        return csr_array((pairs.data / union, (pairs.row, pairs.col)), shape=self.shared.shape)


def overlaps(labels: NDArray[np.integer], truth: NDArray[np.integer]) -> Overlaps:
    """Return the overlaps of two label images.

    Parameters
    ----------
    labels, truth : ndarray of integer, shape (y, x)
        0 is background.

    Raises
    ------
    ValueError
        If their shapes differ.

    Examples
    --------
    >>> found = overlaps(np.array([[5, 5, 0, 9]]), np.array([[2, 2, 2, 0]]))
    >>> found.labels.tolist(), found.truth.tolist(), found.shared.toarray().tolist()
    ([5, 9], [2], [[2, 0]])
    """
    _same_shape(labels, truth)
    label_ids, columns = _ranked(labels)
    truth_ids, rows = _ranked(truth)
    shape = (truth_ids.size, label_ids.size)
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    table = counts.reshape(shape)
    of_label, of_truth = label_ids != 0, truth_ids != 0
    return Overlaps(
        labels=label_ids[of_label].astype(np.int64),
        truth=truth_ids[of_truth].astype(np.int64),
        shared=csr_array(table[np.ix_(of_truth, of_label)]),
        label_area=table.sum(axis=0)[of_label],
        truth_area=table.sum(axis=1)[of_truth],
    )


def _ranked(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Return the values that occur, and each pixel's index into them; as `np.unique` does."""
    flat = labels.ravel()
    if flat.size == 0 or flat.min() < 0 or flat.max() > _MAX_COUNTED:
        return np.unique(flat, return_inverse=True)
    # counting is ten times quicker than the sorting of `np.unique`
    occurs = np.bincount(flat.astype(np.intp, copy=False)) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[flat]


def average_precision(
    labels: NDArray[np.integer],
    truth: NDArray[np.integer],
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> NDArray[np.float64]:
    """Return TP / (TP + FP + FN) over objects at each IoU threshold (METHODS B3, eq. 5).

    Parameters
    ----------
    labels, truth : ndarray of integer, shape (y, x)
        The truth must be complete.
    thresholds : sequence of float
        An object counts where its IoU with a truth object is at least this; each counts once.

    Returns
    -------
    ndarray of float64, shape (len(thresholds),)
        In [0, 1]; 1 where neither image holds an object.

    Examples
    --------
    >>> truth = np.array([[1, 1, 1, 1, 0, 2, 2]])
    >>> labels = np.array([[7, 7, 7, 0, 0, 0, 0]])
    >>> average_precision(labels, truth, thresholds=[0.5, 0.9]).tolist()
    [0.5, 0.0]
    """
    found = overlaps(labels, truth)
    total = found.labels.size + found.truth.size
    if total == 0:
        return np.ones(len(thresholds))
    iou = found.iou()
    hits = [_n_matches(iou, threshold) for threshold in thresholds]
    return np.array([tp / (total - tp) for tp in hits])


def _n_matches(iou: csr_array, threshold: float) -> int:
    """Return how many pairs can be made at a threshold.

    Above 1/2 a pair excludes every other; at it and below the assignment decides.
    """
    close = iou.toarray() >= threshold
    if threshold > 0.5:
        return int(np.count_nonzero(close))
    rows, columns = linear_sum_assignment(close, maximize=True)
    return int(np.count_nonzero(close[rows, columns]))


def _same_shape(labels: NDArray[np.generic], truth: NDArray[np.generic]) -> None:
    if labels.shape != truth.shape:
        raise ValueError(f"the labels are {labels.shape} pixels, their truth is {truth.shape}")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
