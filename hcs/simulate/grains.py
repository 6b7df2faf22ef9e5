"""Small things by the hundred: granules, nucleoli, chromatin, as blurred points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.simulate.cells import Population
from hcs.simulate.draw import Image, nucleus_frame
from hcs.simulate.outline import N_ANGLES, radii


def splat(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    strength: NDArray[np.float64],
    shape: tuple[int, int],
) -> Image:
    """Return points drawn with linear weights on their four neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> splat(np.array([0.5]), np.array([1.0]), np.array([2.0]), (2, 3))
    array([[0., 1., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    height, width = shape
    image = np.zeros((height + 2) * (width + 2))
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x, strength = y[inside] + 1, x[inside] + 1, strength[inside]
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    fy, fx = y - row, x - column
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            at = (row + dy) * (width + 2) + column + dx
            image += np.bincount(at, strength * wy * wx, minlength=image.size)
    return image.reshape(height + 2, width + 2)[1:-1, 1:-1].astype(np.float32)


def spread(points: Image, sigma_px: float) -> Image:
    """Return points blurred to Gaussians of height 1 for strength 1."""
    peak = 2 * np.pi * sigma_px**2
    return np.asarray(cv2.GaussianBlur(points, (0, 0), sigma_px) * np.float32(peak))


def granules(cells: Population, owner: NDArray[np.uint32]) -> Image:
    """Return the optical path of all granules, rad; none lies in a nucleus or another cell."""
    outline = radii(cells)
    radius, angle, strength = np.moveaxis(cells.granules, 2, 0)
    angle = angle + cells.heading[:, None]
    index = np.round(angle * N_ANGLES / (2 * np.pi)).astype(np.int64) % N_ANGLES
    distance = radius * np.take_along_axis(outline, index, axis=1)
    y = cells.position[:, :1] + distance * np.sin(angle)
    x = cells.position[:, 1:] + distance * np.cos(angle)
    free = _at(owner, y, x) == cells.serial[:, None]
    free &= _nucleus_distance(cells, outline, y, x) > 1.05
    weight = strength * free * (1 + cells.roundness[:, None])
    fine = weight.copy()
    fine[:, ::3] = 0
    coarse = splat(y[:, ::3].ravel(), x[:, ::3].ravel(), weight[:, ::3].ravel(), owner.shape)
    return spread(splat(y.ravel(), x.ravel(), fine.ravel(), owner.shape), 0.9) + spread(coarse, 1.5)


def within_nuclei(
    cells: Population, places: NDArray[np.float64], sigma_px: float, shape: tuple[int, int]
) -> Image:
    """Return a pattern that lies in the nuclei and moves with them.

    Parameters
    ----------
    cells : Population
    places : ndarray of float64, shape (n, m, 3)
        Polar place within the nucleus and strength, per cell.
    sigma_px : float
        Of each spot.
    shape : tuple of int
        Of the field.
    """
    narrowest = np.percentile(radii(cells), 10, axis=1)
    (cy, cx), long, short, tilt = nucleus_frame(cells, narrowest)
    radius, angle, strength = np.moveaxis(places, 2, 0)
    u, v = radius * np.cos(angle) * long[:, None], radius * np.sin(angle) * short[:, None]
    cos, sin = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
    y, x = cy[:, None] + u * sin + v * cos, cx[:, None] + u * cos - v * sin
    weight = strength * (1 - cells.roundness)[:, None]
    return spread(splat(y.ravel(), x.ravel(), weight.ravel(), shape), sigma_px)


def _at(
    owner: NDArray[np.uint32], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.uint32]:
    row = np.clip(np.round(y), 0, owner.shape[0] - 1).astype(np.int64)
    column = np.clip(np.round(x), 0, owner.shape[1] - 1).astype(np.int64)
    return np.asarray(owner[row, column])


def _nucleus_distance(
    cells: Population,
    outline: NDArray[np.float64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the distance of points from the nucleus' centre, in its radii."""
    narrowest = np.percentile(outline, 10, axis=1)
    (cy, cx), long, short, angle = nucleus_frame(cells, narrowest)
    dy, dx = y - cy[:, None], x - cx[:, None]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.asarray(
        np.hypot((dx * cos + dy * sin) / long[:, None], (dy * cos - dx * sin) / short[:, None])
    )
