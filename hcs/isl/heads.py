"""From raw outputs of a network to objects, by METHODS B4; arrays and numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs.image.mask import Mask, component_areas, fill_holes, typical_area
from hcs.isl.card import Head
from hcs.labels.split import in_raster_order, split, split_by_distance


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image.

    Attributes
    ----------
    output : ndarray of float32, shape (k, y, x)
        Raw: values of stains near [0, 1]; the logit of a mask; distance map and logit.
    spread : ndarray of float32, shape (k, y, x) or (1, y, x), or None
        Standard deviation over flips and rotations: of the values of each stain, or of the
        probability of foreground. None where it was not asked for.
    """

    output: NDArray[np.float32]
    spread: NDArray[np.float32] | None


def nuclei_of(logit: NDArray[np.float32], threshold: float, min_area_px: int) -> NDArray[np.uint32]:
    """Return the nuclei of a mask's logit: foreground, touching ones split by their outline.

    Parameters
    ----------
    logit : ndarray of float32, shape (y, x)
    threshold : float
        Probability in (0, 1) above which a pixel is foreground.
    min_area_px : int
        Smaller objects are dropped.

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order.

    Examples
    --------
    >>> y, x = np.mgrid[:15, :28]
    >>> discs = np.minimum(np.hypot(y - 7, x - 7), np.hypot(y - 7, x - 19)) <= 6
    >>> int(nuclei_of(np.where(discs, 9, -9).astype(np.float32), 0.5, 16).max())
    2
    """
    return keep_large_objects(split(foreground(logit, threshold, min_area_px)), min_area_px)


def cells_of(
    distance: NDArray[np.float32],
    logit: NDArray[np.float32],
    threshold: float,
    h: float,
    min_area_px: int,
) -> NDArray[np.uint32]:
    """Return the cells of a distance map and a mask's logit: watershed from the h-maxima.

    A part of the mask without a peak of its own is an object of its own (the authors' code gives
    it no label).

    Parameters
    ----------
    distance : ndarray of float32, shape (y, x)
        About 1 in the middle of each cell and 0 at its outline.
    logit : ndarray of float32, shape (y, x)
    threshold : float
        Probability in (0, 1) above which a pixel is foreground.
    h : float
        How far a peak must stand above its saddle, in the map's unit.
    min_area_px : int
        Smaller objects are dropped.

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order.

    Examples
    --------
    >>> distance = np.array([[0.2, 0.9, 0.4, 0.8, 0.1]], np.float32)
    >>> cells_of(distance, np.full((1, 5), 9, np.float32), 0.5, h=0.1, min_area_px=1).max()
    np.uint32(2)
    """
    mask = foreground(logit, threshold, min_area_px)
    return keep_large_objects(split_by_distance(distance, mask, h), min_area_px)


def foreground(logit: NDArray[np.float32], threshold: float, min_area_px: int) -> Mask:
    """Return the mask of a logit, its small holes filled.

    A hole is filled up to a quarter of the typical object: larger ones may be free ground
    amidst cells.
    """
    mask = logit > math.log(threshold / (1 - threshold))
    return fill_holes(mask, typical_area(component_areas(mask), min_area_px) / 4)


def keep_large_objects(labels: NDArray[np.uint32], min_area_px: int) -> NDArray[np.uint32]:
    """Return a label image without its small objects, numbered anew.

    Examples
    --------
    >>> keep_large_objects(np.array([[1, 0, 2, 2]], np.uint32), 2)
    array([[0, 0, 1, 1]], dtype=uint32)
    """
    areas = np.bincount(labels.ravel())
    return in_raster_order(np.where(areas[labels] >= min_area_px, labels, 0))


def value(output: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    """Return what the spread of a network's output is of.

    Returns
    -------
    ndarray of float32
        Values of stains, shape (k, y, x); else the probability of foreground, shape (1, y, x).
    """
    if head == "stain":
        return output
    return np.asarray((1 + np.tanh(output[-1:] / 2)) / 2)
