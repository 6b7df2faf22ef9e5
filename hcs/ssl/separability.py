"""Do two samples differ at all? Counted, not modelled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_N_BINS = 256


def separability(cell: NDArray[Any], background: NDArray[Any]) -> float:
    """Return how well one feature tells two samples apart: the area under the ROC curve.

    Parameters
    ----------
    cell, background : ndarray, shape (n,) and (m,)
        Values of one feature at the self-labelled pixels, any unit.

    Returns
    -------
    float
        Probability that a cell pixel has the larger value; 0.5 when the two cannot be told
        apart, or when one of them is empty. By histograms of 256 bins over both.

    Examples
    --------
    >>> separability(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    1.0
    >>> separability(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.5
    """
    if cell.size == 0 or background.size == 0:
        return 0.5
    low = float(min(cell.min(), background.min()))
    high = float(max(cell.max(), background.max()))
    if low == high:
        return 0.5
    counts = [np.histogram(values, _N_BINS, (low, high))[0] for values in (cell, background)]
    return roc_area(counts[0], counts[1])


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
