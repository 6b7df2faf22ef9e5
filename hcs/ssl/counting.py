"""Histograms under a mask: thresholds, medians and quantiles of millions of pixels, exactly."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


def count_values(
    values: NDArray[Any], chosen: NDArray[np.bool_], n_values: int
) -> NDArray[np.int64]:
    """Count how often each integer occurs among the chosen pixels.

    Parameters
    ----------
    values : ndarray of unsigned integers, shape (y, x)
        Below `n_values`.
    chosen : ndarray of bool, shape (y, x)

    Examples
    --------
    >>> image = np.array([[0, 2, 2]], np.uint8)
    >>> count_values(image, np.array([[True, True, False]]), 3).tolist()
    [1, 0, 1]
    """
    out = np.zeros(n_values, np.int64)
    _count_values(values, chosen, out)
    return out


def count_bins(
    values: NDArray[np.float32], chosen: NDArray[np.bool_], n_bins: int, low: float, high: float
) -> NDArray[np.int64]:
    """Count the chosen pixels in equal bins from `low` to `high`; the last bin includes `high`.

    Examples
    --------
    >>> image = np.array([[0.0, 0.9, 1.0]], np.float32)
    >>> count_bins(image, image >= 0, 2, 0.0, 1.0).tolist()
    [1, 2]
    """
    out = np.zeros(n_bins, np.int64)
    _count_bins(values, chosen, low, n_bins / (high - low), out)
    return out


def quantile_bin(counts: NDArray[np.int64], fraction: float) -> int:
    """Return the first bin at which `fraction` of the counts is reached; 0 when there are none.

    Examples
    --------
    >>> quantile_bin(np.array([1, 1, 2]), 0.5), quantile_bin(np.array([0, 0]), 0.5)
    (1, 0)
    """
    cumulated = np.cumsum(counts)
    if cumulated.size == 0 or cumulated[-1] == 0:
        return 0
    return int(np.searchsorted(cumulated, fraction * cumulated[-1]))


@numba.njit(cache=True)
def _count_values(values: NDArray[Any], chosen: NDArray[np.bool_], out: NDArray[np.int64]) -> None:
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if chosen[y, x]:
                out[values[y, x]] += 1


@numba.njit(cache=True)
def _count_bins(
    values: NDArray[np.float32],
    chosen: NDArray[np.bool_],
    low: float,
    scale: float,
    out: NDArray[np.int64],
) -> None:
    last = out.size - 1
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if chosen[y, x]:
                out[min(int((values[y, x] - low) * scale), last)] += 1
