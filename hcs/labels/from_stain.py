"""Objects from a stain: nuclei and cells as a fluorescence channel shows them, to be corrected.

A threshold that dim and bright objects pass alike, each object's edge where its own stain has
fallen by half, and a watershed. Constants marked "tried" were compared on 18 simulated frames
(``moderate``) and on the five fully annotated frames of two real sets of nuclei (Fluo-N2DH-GOWT1,
Fluo-N2DL-HeLa), so they are a fair start there and no more than that elsewhere.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from hcs.image.foreground import Grey, foreground, local_background, smooth
from hcs.labels.settings import SplitSettings
from hcs.labels.split import (
    distance_map,
    in_raster_order,
    split,
    split_by_distance,
    typical_radius,
)

# where objects are is asked of a smoother image than where their edges are (tried)
_EDGE_SIGMA_PX, _FIND_SIGMA_PX = 1.0, 2.0
# of an object's own median above the background; a nucleus is flat, so its edge is at about half of
# it; a cell is thin at its rim (tried)
_NUCLEUS_EDGE, _CELL_EDGE = 0.45, 0.3
# the edge is set twice: in the first round an object's haze still lowers its median
_EDGE_ROUNDS = 2
# width of the local background in typical object radii (tried: 2 to 8 differ little)
_GROUND_RADII = 4.0
# what two objects differ by, in halves of outline and stain: the stain's own texture must not do
# (tried); smoothing in typical radii; stain in parts of the object's median, bright spots cut
_OUTLINE_H = SplitSettings().h
_SPLIT_H, _DEPTH_SIGMA, _STAIN_SIGMA = 0.08, 0.15, 0.2
_BRIGHTEST = 1.5
# objects smaller than this, or than this part of the objects that hold half of all area, are specks
_MIN_AREA_PX, _MIN_AREA_SHARE = 16, 0.15


def nuclei_from_stain(image: NDArray[Any], min_contrast: float = 0.0) -> NDArray[np.uint32]:
    """Return the nuclei that a nuclear stain shows.

    Parameters
    ----------
    image : ndarray of any real type, shape (y, x)
        Measured or predicted, grey levels; objects are brighter than the background.
    min_contrast : float
        Grey levels above the background that an object has at least; noise alone never passes.

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order; none in an image without objects.

    Raises
    ------
    FramesError
        If a pixel is not finite.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :60]
    >>> image = np.where(np.hypot(y - 20, x - 15) < 9, 900, 100)
    >>> image[np.hypot(y - 20, x - 40) < 9] = 300  # a dim one
    >>> labels = nuclei_from_stain(image)
    >>> int(labels.max()), int(labels[20, 15]), int(labels[20, 40])
    (2, 1, 2)
    """
    coarse, fine = smooth(image, _FIND_SIGMA_PX), smooth(image, _EDGE_SIGMA_PX)
    found = foreground(coarse, min_contrast)
    if not found.any():
        return np.zeros(image.shape, dtype=np.uint32)
    around_px = _GROUND_RADII * typical_radius(found, distance_map(found))
    ground = local_background(coarse, found, around_px)
    found = foreground(coarse - ground, min_contrast)
    contrast = fine - ground
    mask = _above_share(contrast, found, split(found), _NUCLEUS_EDGE)
    return in_raster_order(_without_specks(_split_stained(contrast, mask)))


def cells_from_stain(
    image: NDArray[Any], nuclei: NDArray[np.integer] | None = None, min_contrast: float = 0.0
) -> NDArray[np.uint32]:
    """Return the cells that a stain of whole cells shows, one per nucleus where these are known.

    Neighbours meet where the stain is dimmest between them. Stain without a nucleus is a cell of
    its own.

    Parameters
    ----------
    image : ndarray of any real type, shape (y, x)
        Grey levels; cells are brighter than the background.
    nuclei : ndarray of integer, shape (y, x), optional
        Label image of the nuclei; a nucleus is part of its cell. Without it cells are told apart by
        outline and stain alone.
    min_contrast : float
        As for `nuclei_from_stain`.

    Returns
    -------
    ndarray of uint32, shape (y, x)
        Labels 1..n in raster order, not the nuclei's.

    Raises
    ------
    FramesError
        If a pixel is not finite.
    ValueError
        If the nuclei have another shape than the image.

    Examples
    --------
    Two cells that touch, and their nuclei:

    >>> image = np.full((30, 60), 10)
    >>> image[9:21, 14:46] = 200
    >>> nuclei = np.zeros((30, 60), np.uint32)
    >>> nuclei[13:17, 18:22], nuclei[13:17, 38:42] = 5, 7
    >>> int(cells_from_stain(image).max()), int(cells_from_stain(image, nuclei).max())
    (1, 2)
    """
    seeds = np.zeros(image.shape, np.uint32) if nuclei is None else in_raster_order(nuclei)
    if seeds.shape != image.shape:
        raise ValueError(f"the nuclei are {seeds.shape} pixels, the stain is {image.shape}")
    grey = smooth(image, _EDGE_SIGMA_PX)
    found = foreground(grey, min_contrast)
    if not found.any():
        return in_raster_order(seeds)
    contrast = grey - float(np.median(grey[~found]))
    cells = _grow(contrast, seeds, found | (seeds > 0))
    mask = _above_share(contrast, cells > 0, cells, _CELL_EDGE) | (seeds > 0)
    return in_raster_order(_without_specks(_grow(contrast, seeds, mask), int(seeds.max())))


def _above_share(
    contrast: Grey, mask: NDArray[np.bool_], labels: NDArray[np.uint32], share: float
) -> NDArray[np.bool_]:
    """Return the pixels of a mask that have a share of the median of the object they are in."""
    kept = mask
    for _ in range(_EDGE_ROUNDS):
        levels = _medians(contrast[kept], labels[kept], int(labels.max()))
        kept = mask & (contrast > share * levels[labels])
    return np.asarray(ndi.binary_fill_holes(kept))


def _medians(values: Grey, labels: NDArray[np.uint32], n: int) -> Grey:
    """Return the median of each label's values at its index, infinity where it has none."""
    order = np.lexsort((values, labels))
    ids, first, count = np.unique(labels[order], return_index=True, return_counts=True)
    medians = np.full(n + 1, np.inf, dtype=np.float32)
    medians[ids] = values[order][first + count // 2]
    return medians


def _split_stained(contrast: Grey, mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return the objects of a mask: outline and stain tell together which are two."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.uint32)
    distance = distance_map(mask)
    radius = typical_radius(mask, distance)
    blurred = cv2.GaussianBlur(distance, (0, 0), max(_DEPTH_SIGMA * radius, 0.3))
    depth = np.asarray(blurred / radius, dtype=np.float32)
    outlined = split_by_distance(depth, mask, _OUTLINE_H)
    levels = _medians(contrast[mask], outlined[mask], int(outlined.max()))
    stain = np.zeros_like(contrast)
    usual = np.maximum(levels, np.finfo(np.float32).tiny)[outlined[mask]]
    stain[mask] = np.clip(contrast[mask] / usual, 0, _BRIGHTEST)
    bright = cv2.GaussianBlur(stain, (0, 0), max(_STAIN_SIGMA * radius, 0.5))
    return split_by_distance(((depth + bright) / 2).astype(np.float32), mask, _SPLIT_H)


def _grow(contrast: Grey, seeds: NDArray[np.uint32], mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return a mask divided among its seeds along dim lines, ids kept; the rest by itself."""
    grown = np.asarray(watershed(-contrast, seeds, mask=mask), dtype=np.uint32)
    rest = _split_stained(contrast, mask & (grown == 0))
    return np.asarray(np.where(rest > 0, rest + seeds.max(), grown), dtype=np.uint32)


def _without_specks(labels: NDArray[np.uint32], n_spared: int = 0) -> NDArray[np.uint32]:
    """Return the objects without those that are small beside the others; the first are spared."""
    area = np.bincount(labels.ravel())
    ordered = np.sort(area[1:])
    if not ordered.size:
        return labels
    typical = ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)]
    kept = area >= max(_MIN_AREA_PX, _MIN_AREA_SHARE * typical)
    kept[: n_spared + 1] = True
    return np.where(kept[labels], labels, 0).astype(np.uint32)
