"""The peaks of a distance map that stand out: the h-maxima, one pixel for each.

A flood that falls from the highest pixel finds the saddle at which every peak joins a higher one.
Exact like a reconstruction by dilation, but it visits only the mask, so it is several times
faster; and of two equal peaks with a shallow saddle it keeps one.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


def peaks(distance: NDArray[np.float32], mask: NDArray[np.bool_], h: float) -> NDArray[np.bool_]:
    """Return the peaks from which one must climb down by at least h to reach a higher one.

    Parameters
    ----------
    distance : ndarray of float32, shape (y, x)
        Only its values within the mask count.
    mask : ndarray of bool, shape (y, x)
    h : float
        In the unit of the map.

    Returns
    -------
    ndarray of bool, shape (y, x)
        One pixel per peak, the first in raster order of its top; the highest peak of each
        8-connected component of the mask is always one.

    Examples
    --------
    >>> distance = np.array([[1, 3, 2, 4, 1]], dtype=np.float32)
    >>> mask = np.ones((1, 5), dtype=bool)
    >>> peaks(distance, mask, h=1).astype(int).tolist()
    [[0, 1, 0, 1, 0]]
    >>> peaks(distance, mask, h=1.5).astype(int).tolist()
    [[0, 0, 0, 1, 0]]
    """
    padded = np.pad(mask, 1)
    heights = np.zeros(padded.shape, dtype=np.float32)
    heights[padded] = distance[mask]
    inside = np.flatnonzero(padded)
    falling = inside[np.argsort(-heights.ravel()[inside], kind="stable")]
    width = padded.shape[1]
    around = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
    found = np.zeros(padded.size, dtype=np.bool_)
    _flood(falling, heights.ravel(), around, h, found)
    return found.reshape(padded.shape)[1:-1, 1:-1]


@numba.njit(cache=True)
def _flood(
    falling: NDArray[np.int64],
    heights: NDArray[np.float32],
    around: NDArray[np.int64],
    h: float,
    found: NDArray[np.bool_],
) -> None:
    # of every pixel above the water, one that leads to the peak of its island; itself on a peak
    towards = np.full(heights.size, -1, np.int64)
    for pixel in falling:
        peak = -1
        for step in around:
            other = pixel + step
            if towards[other] < 0:
                continue
            while towards[other] != other:
                towards[other] = towards[towards[other]]
                other = towards[other]
            if peak < 0 or other == peak:
                peak = other
                continue
            # two islands meet at this saddle; equal heights: the first in raster order is higher
            low, high = min(other, peak), max(other, peak)
            if heights[low] >= heights[high]:
                low, high = high, low
            found[low] = heights[low] - heights[pixel] >= h
            towards[low] = high
            peak = high
        towards[pixel] = pixel if peak < 0 else peak
    for pixel in falling:
        if towards[pixel] == pixel:
            found[pixel] = True
