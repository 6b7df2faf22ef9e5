"""Do two samples differ at all? Counted, not modelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcs.ssl.counting import count_bins

_N_BINS = 256


def separability(
    feature: NDArray[np.float32], cell: NDArray[np.bool_], background: NDArray[np.bool_]
) -> float:
    """Return how well one feature tells two sets of pixels apart: the area under the ROC curve.

    Parameters
    ----------
    feature : ndarray of float32, shape (y, x)
        Any unit.
    cell, background : ndarray of bool, shape (y, x)
        Self-labelled pixels.

    Returns
    -------
    float
        Probability that a cell pixel has the larger value; 0.5 when the two cannot be told
        apart, or when one of them is empty. By histograms of 256 bins.

    Examples
    --------
    >>> row = np.array([[1, 2, 3, 4]], np.float32)
    >>> separability(row, row > 2, row <= 2)
    1.0
    >>> separability(row, row > 2, row < 0)
    0.5
    """
    low, high = float(feature.min()), float(feature.max())
    if low == high:
        return 0.5
    return roc_area(
        count_bins(feature, cell, _N_BINS, low, high),
        count_bins(feature, background, _N_BINS, low, high),
    )


def roc_area(cell: NDArray[np.int64], background: NDArray[np.int64]) -> float:
    """Return the area under the ROC curve of two histograms with the same bins.

    Ties within a bin count half.

    Examples
    --------
    >>> roc_area(np.array([0, 1]), np.array([1, 0]))
    1.0
    """
    n_cell, n_background = int(cell.sum()), int(background.sum())
    if n_cell == 0 or n_background == 0:
        return 0.5
    below = np.cumsum(background) - background
    wins = float((cell * (below + background / 2)).sum())
    return wins / (float(n_cell) * n_background)


def otsu(counts: NDArray[np.int64], values: NDArray[np.float64]) -> int:
    """Return the bin that splits a histogram best in two (Otsu): bins above it are the upper part.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
    values : ndarray of float64, shape (n,)
        Value of each bin, ascending; not necessarily evenly spaced.

    Examples
    --------
    >>> otsu(np.array([5, 1, 0, 1, 5]), np.arange(5.0))
    1
    """
    weight = np.cumsum(counts).astype(np.float64)
    moment = np.cumsum(counts * values)
    above = weight[-1] - weight
    inside = (weight > 0) & (above > 0)
    if not inside.any():
        return 0
    spread = np.zeros_like(weight)
    mean_below = moment[inside] / weight[inside]
    mean_above = (moment[-1] - moment[inside]) / above[inside]
    spread[inside] = weight[inside] * above[inside] * (mean_above - mean_below) ** 2
    return int(np.argmax(spread))
