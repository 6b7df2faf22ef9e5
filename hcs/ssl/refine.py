"""Boundary of a mask, decided again from grey levels near by (A5.8).

The features look at windows of 7 pixels and make masks about 3 pixels too wide. A fixed erosion
hurts where the boundary was right; here each boundary pixel is compared with the cells and the
background around it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.ssl.mask import Mask, close, dilate, fill_holes, keep_large

_CORE_DEPTH_PX = 6.0
_CORE_FRACTION = 0.6  # thin objects keep a core too
_RIM_PX = 3
_WINDOW_PX = 21
_SMOOTH_SIGMA_PX = 1.0
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
    odds = boundary_odds(frame, inside, ~wide)
    refined = inside | (wide & (odds > 0))
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


def boundary_odds(frame: NDArray[np.uint8], cell: Mask, background: Mask) -> NDArray[np.float32]:
    """Return the local log-odds of cell against background from the smoothed grey level.

    Both classes are Gaussians with the background's variance, estimated in 21x21 boxes; 0 where a
    box lacks one of them.
    """
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _SMOOTH_SIGMA_PX)
    grey = np.asarray(smooth, np.float32)
    cell_mean, n_cell = _box_mean(grey, cell)
    background_mean, n_background = _box_mean(grey, background)
    square_mean, _ = _box_mean(grey * grey, background)
    variance = np.maximum(square_mean - background_mean * background_mean, _MIN_VARIANCE)
    odds = ((grey - background_mean) ** 2 - (grey - cell_mean) ** 2) / (2 * variance)
    odds[(n_cell == 0) | (n_background == 0)] = 0
    np.clip(odds, -_MAX_ODDS, _MAX_ODDS, out=odds)
    return np.asarray(cv2.blur(odds, (_ODDS_WINDOW_PX, _ODDS_WINDOW_PX)))


def _box_mean(
    grey: NDArray[np.float32], chosen: Mask
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    window = (_WINDOW_PX, _WINDOW_PX)
    weight = chosen.astype(np.float32)
    n = np.asarray(cv2.boxFilter(weight, cv2.CV_32F, window, normalize=False), np.float32)
    total = cv2.boxFilter(grey * weight, cv2.CV_32F, window, normalize=False)
    return np.asarray(total / np.maximum(n, 1), np.float32), n
