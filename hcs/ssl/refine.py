"""Boundary of a mask, decided again from grey levels near by (A5.8).

The features look at windows of 7 pixels and make masks about 3 pixels too wide. A fixed erosion
hurts where the boundary was right; here each boundary pixel is compared with the cells and the
background around it.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from hcs.image.mask import Mask, close, dilate, fill_holes, keep_large

_CORE_DEPTH_PX = 6.0
_CORE_FRACTION = 0.6  # thin objects keep a core too
_RIM_PX = 3
_WINDOW_RADIUS_PX = 10
_SMOOTH_SIGMA_PX = 1.0
_GREY_UNITS = 16  # fixed point: sliding sums of integers stay exact
_MIN_VARIANCE = 1.0
_MAX_ODDS = 8.0
_ODDS_WINDOW_PX = 5
_SMALLEST_PX = 16
_CLOSE_PX = 2


def refine(mask: Mask, frame: NDArray[np.uint8], max_hole_px: float) -> Mask:
    """Return the mask with its boundary moved to where the grey levels change sides.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
    frame : ndarray of uint8, shape (y, x)
    max_hole_px : float
        Holes up to this area are filled at the end.
    """
    if not mask.any():
        return mask
    inside = core(mask)
    wide = dilate(mask, _RIM_PX)
    undecided = wide & ~inside
    odds = boundary_odds(frame, inside, ~wide, undecided)
    refined = inside | (undecided & (odds > 0))
    refined = keep_large(refined, _SMALLEST_PX)
    return fill_holes(close(refined, _CLOSE_PX), max_hole_px)


def core(mask: Mask) -> Mask:
    """Return the pixels deep inside: 6 px, or in thin objects 60 % of the object's depth.

    Examples
    --------
    >>> core(np.ones((1, 3), bool)).tolist()
    [[True, True, True]]
    """
    pixels = mask.view(np.uint8)
    depth = cv2.distanceTransform(pixels, cv2.DIST_L2, 5)
    n, labelled = cv2.connectedComponents(pixels, connectivity=8)
    labels = np.asarray(labelled, np.int32)
    deepest = np.zeros(n, np.float32)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    limit = np.minimum(_CORE_DEPTH_PX, _CORE_FRACTION * deepest)
    return np.asarray(mask & (depth > limit[labels]))


def boundary_odds(
    frame: NDArray[np.uint8], cell: Mask, background: Mask, chosen: Mask
) -> NDArray[np.float32]:
    """Return the local log-odds of cell against background from the smoothed grey level.

    Both classes are Gaussians with the background's variance, estimated in 21x21 boxes; 0 where a
    box lacks one of them, and where it is not asked for.

    Parameters
    ----------
    frame : ndarray of uint8, shape (y, x)
    cell, background : ndarray of bool, shape (y, x)
        Pixels taken to be one or the other.
    chosen : ndarray of bool, shape (y, x)
        Pixels to be decided.
    """
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _SMOOTH_SIGMA_PX)
    grey = np.rint(np.asarray(smooth, np.float32) * _GREY_UNITS).astype(np.int32)
    out = np.zeros(frame.shape, np.float32)
    window = (_ODDS_WINDOW_PX, _ODDS_WINDOW_PX)
    asked = cv2.dilate(chosen.view(np.uint8), np.ones(window, np.uint8)).view(bool)
    _slide_odds(grey, cell, background, asked, out)
    return np.asarray(cv2.blur(out, window), np.float32)


@numba.njit(cache=True)
def _slide_odds(
    grey: NDArray[np.int32],
    cell: Mask,
    background: Mask,
    asked: Mask,
    out: NDArray[np.float32],
) -> None:
    height, width = grey.shape
    # per column, over the rows of the window: n and sum of cell; n, sum, squares of background
    columns = np.zeros((width, 5), np.int64)
    for y in range(-_WINDOW_RADIUS_PX, height):
        if y + _WINDOW_RADIUS_PX < height:
            _add_row(grey, cell, background, y + _WINDOW_RADIUS_PX, 1, columns)
        if y - _WINDOW_RADIUS_PX - 1 >= 0:
            _add_row(grey, cell, background, y - _WINDOW_RADIUS_PX - 1, -1, columns)
        if y >= 0 and asked[y].any():
            _odds_of_row(grey[y], asked[y], columns, out[y])


@numba.njit(cache=True)
def _add_row(
    grey: NDArray[np.int32],
    cell: Mask,
    background: Mask,
    y: int,
    sign: int,
    columns: NDArray[np.int64],
) -> None:
    for x in range(grey.shape[1]):
        value = np.int64(grey[y, x])
        if cell[y, x]:
            columns[x, 0] += sign
            columns[x, 1] += sign * value
        elif background[y, x]:
            columns[x, 2] += sign
            columns[x, 3] += sign * value
            columns[x, 4] += sign * value * value


@numba.njit(cache=True)
def _odds_of_row(
    grey: NDArray[np.int32], asked: Mask, columns: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    width = grey.size
    sums = np.zeros(5, np.int64)
    for x in range(-_WINDOW_RADIUS_PX, width):
        if x + _WINDOW_RADIUS_PX < width:
            for j in range(5):
                sums[j] += columns[x + _WINDOW_RADIUS_PX, j]
        if x - _WINDOW_RADIUS_PX - 1 >= 0:
            for j in range(5):
                sums[j] -= columns[x - _WINDOW_RADIUS_PX - 1, j]
        if x >= 0 and asked[x] and sums[0] > 0 and sums[2] > 0:
            cell_mean = sums[1] / sums[0]
            mean = sums[3] / sums[2]
            least = _MIN_VARIANCE * _GREY_UNITS * _GREY_UNITS
            variance = max(sums[4] / sums[2] - mean * mean, least)
            odds = ((grey[x] - mean) ** 2 - (grey[x] - cell_mean) ** 2) / (2 * variance)
            out[x] = min(max(odds, -_MAX_ODDS), _MAX_ODDS)
