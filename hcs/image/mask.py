"""Operations on masks: components by size, holes, closing, border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def component_areas(mask: Mask) -> NDArray[np.int64]:
    """Areas of the 8-connected components, in pixels, in raster order.

    Examples
    --------
    >>> component_areas(np.array([[1, 1, 0, 1]], bool)).tolist()
    [2, 1]
    """
    stats = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)[2]
    return np.asarray(stats[1:, cv2.CC_STAT_AREA], np.int64)


def typical_area(areas: NDArray[np.int64], min_area_px: int) -> float:
    """Area of the component that holds the middle pixel of all of them, largest first (A5.7).

    The plain mean would follow the debris: it is many and small.

    Examples
    --------
    >>> typical_area(np.array([100, 90, 20, 3, 3, 3]), min_area_px=16)
    90.0
    """
    descending = np.sort(areas[areas >= min_area_px])[::-1]
    if descending.size == 0:
        return 0.0
    covered = np.cumsum(descending)
    return float(descending[np.searchsorted(covered, covered[-1] / 2, side="right")])


def keep_large(mask: Mask, min_area_px: float) -> Mask:
    """Drop the 8-connected components smaller than `min_area_px`.

    Examples
    --------
    >>> keep_large(np.array([[1, 1, 0, 1]], bool), 2).tolist()
    [[True, True, False, False]]
    """
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area_px
    keep[0] = False
    return keep[labels] if n > 1 else np.zeros_like(mask)


def fill_holes(mask: Mask, max_area_px: float = np.inf) -> Mask:
    """Fill the background that is not 4-connected to the border, up to a size (A1.2).

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
    max_area_px : float
        Larger holes stay: in a dense field they are free ground between cells (ours).

    Examples
    --------
    >>> ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    >>> bool(fill_holes(ring)[1, 1]), bool(fill_holes(ring)[0, 0])
    (True, False)
    >>> bool(fill_holes(ring, max_area_px=0)[1, 1])
    False
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    left, top, width, height = (stats[:, column] for column in range(4))
    inside = (left > 0) & (top > 0)
    inside &= (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    fill = inside & (stats[:, cv2.CC_STAT_AREA] <= max_area_px)
    fill[0] = True  # the mask itself
    return np.asarray(fill[labels])


def close(mask: Mask, radius_px: int) -> Mask:
    """Close gaps with a disk; the frame goes on beyond its border as background."""
    padded = np.pad(mask.view(np.uint8), radius_px)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk(radius_px))
    height, width = mask.shape
    return closed[radius_px : radius_px + height, radius_px : radius_px + width] > 0


def dilate(mask: Mask, radius_px: int) -> Mask:
    """Grow a mask by a disk."""
    return np.asarray(cv2.dilate(mask.view(np.uint8), disk(radius_px)) > 0)


def clear_border(mask: Mask) -> Mask:
    """Drop the 8-connected components that touch the border of the frame (A1.8).

    Examples
    --------
    >>> drawn = np.zeros((5, 5), bool)
    >>> drawn[0, 0] = drawn[2, 2] = True
    >>> np.argwhere(clear_border(drawn)).tolist()
    [[2, 2]]
    """
    labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1]
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    keep = np.ones(int(labels.max()) + 1, bool)
    keep[edge] = False
    keep[0] = False
    return np.asarray(keep[labels])


def disk(radius_px: int) -> NDArray[np.uint8]:
    """Disk of pixels whose centre is within `radius_px`.

    Examples
    --------
    >>> disk(1).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    y, x = np.ogrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    return np.asarray(y * y + x * x <= radius_px * radius_px, np.uint8)
