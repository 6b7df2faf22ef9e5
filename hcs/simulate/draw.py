"""Cells on the pixel grid: who owns a pixel, how thick it is there, where the nuclei lie."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.simulate.cells import Population
from hcs.simulate.outline import N_ANGLES, radii

Image = NDArray[np.float32]

# a ball is this much thicker than a typical cell: bright, not dark, in phase contrast
_BALL = 9.0


@dataclass(frozen=True)
class Drawing:
    """One frame before optics; every image has the shape of the field.

    Parameters
    ----------
    owner : ndarray of uint32
        Serial of the cell at each pixel, 0 for none.
    nucleus : ndarray of uint32
        Serial of the cell whose nucleus lies there.
    level : ndarray of float32
        0 at the outline and at contacts, 1 at the centre.
    depth : ndarray of float32
        Optical path of the cells without granules, of a typical cell's.
    relief : ndarray of float32
        Optical path of the nuclei against their surroundings, signed.
    nuclear_stain, cell_stain : ndarray of float32
        Brightness of the stains before their patterns and the microscope.
    """

    owner: NDArray[np.uint32]
    nucleus: NDArray[np.uint32]
    level: Image
    depth: Image
    relief: Image
    nuclear_stain: Image
    cell_stain: Image


def draw(cells: Population, shape: tuple[int, int]) -> Drawing:
    """Draw all cells of a frame.

    A pixel that two cells could claim belongs to the one whose centre is nearer, measured in its
    own radii: cells touch but never overlap.
    """
    outlines = radii(cells)
    patches = [
        _patch(centre, outline, shape)
        for centre, outline in zip(cells.position, outlines, strict=True)
    ]
    owner, level = _settle(patches, shape)
    images = [np.zeros(shape, np.float32) for _ in range(4)]
    nucleus = np.zeros(shape, np.uint32)
    for i, patch in enumerate(patches):
        if patch is not None:
            mine = owner[patch.where] == i + 1
            _add_cell(images, nucleus, cells.take(np.array([i])), patch, level, mine)
    serials = np.concatenate([[0], cells.serial]).astype(np.uint32)
    return Drawing(serials[owner], nucleus, level, *images)


@dataclass(frozen=True)
class _Patch:
    where: tuple[slice, slice]
    dy: Image
    dx: Image
    closeness: Image
    narrowest: float


def _patch(
    centre: NDArray[np.float64], outline: NDArray[np.float64], shape: tuple[int, int]
) -> _Patch | None:
    """Return the pixels around a cell, or None where it lies outside the field."""
    reach = float(outline.max()) + 2
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    dy = (np.arange(low[0], high[0]) - centre[0]).astype(np.float32)[:, None]
    dx = (np.arange(low[1], high[1]) - centre[1]).astype(np.float32)[None, :]
    dy, dx = (np.ascontiguousarray(a) for a in np.broadcast_arrays(dy, dx))
    distance, angle = cv2.cartToPolar(dx, dy)
    index = (angle * (N_ANGLES / (2 * np.pi))).astype(np.int32) % N_ANGLES
    closeness = 1 - distance / outline.astype(np.float32)[index]
    where = slice(low[0], high[0]), slice(low[1], high[1])
    return _Patch(where, dy, dx, closeness, float(np.percentile(outline, 10)))


def _settle(
    patches: list[_Patch | None], shape: tuple[int, int]
) -> tuple[NDArray[np.int32], Image]:
    """Return whose each pixel is (index + 1) and how far within, contacts counted as outline."""
    owner = np.zeros(shape, np.int32)
    best, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, patch in enumerate(patches):
        if patch is None:
            continue
        b, s = best[patch.where], second[patch.where]
        wins = patch.closeness > b
        np.maximum(s, np.where(wins, b, patch.closeness), out=s)
        np.maximum(b, patch.closeness, out=b)
        owner[patch.where][wins] = i + 1
    return owner, best - second


def _add_cell(
    images: list[Image],
    nucleus: NDArray[np.uint32],
    cell: Population,
    patch: _Patch,
    level: Image,
    mine: NDArray[np.bool_],
) -> None:
    """Add one cell to the images; they are this module's own, not yet anyone's arguments."""
    depth, relief, nuclear_stain, cell_stain = (image[patch.where] for image in images)
    within = level[patch.where]
    rounded = float(cell.roundness[0])
    lamella = 1 - np.exp(-within / 0.07)
    dome = within * within * (3 - 2 * within)
    thick = float(cell.depth[0]) * (1 - rounded) + _BALL * rounded**3
    depth += mine * np.float32(thick) * (0.5 * lamella + 0.5 * dome)
    inner = _nucleus_level(cell, patch)
    core = mine & (inner > 0) & (within > 0.02)
    nucleus[patch.where][core] = cell.serial[0]
    plateau = np.clip(inner / 0.3, 0, 1)
    rim = np.exp(-((inner / 0.09) ** 2))
    relief += mine * float(cell.relief[0] * (1 - rounded)) * (plateau * (inner > 0))
    relief += core * np.float32(1.3 * (1 - rounded)) * rim
    condensed = float(cell.expression[0, 0] * (1 + rounded))
    nuclear_stain += core * np.float32(condensed) * (0.35 + 0.65 * np.sqrt(plateau))
    cell_stain += (
        mine
        * float(cell.expression[0, 1] * (1 + rounded))
        * (0.45 * lamella + 0.55 * dome).astype(np.float32)
    )


def _nucleus_level(cell: Population, patch: _Patch) -> Image:
    """Return 1 at the centre of the nucleus, 0 at its rim, less outside."""
    (y, x), along, across, angle = nucleus_frame(cell, np.array([patch.narrowest]))
    cos, sin = np.float32(np.cos(angle[0])), np.float32(np.sin(angle[0]))
    dy = patch.dy - np.float32(y[0] - cell.position[0, 0])
    dx = patch.dx - np.float32(x[0] - cell.position[0, 1])
    u = (dx * cos + dy * sin) / np.float32(along[0])
    v = (dy * cos - dx * sin) / np.float32(across[0])
    return np.asarray(1 - cv2.magnitude(u, v), np.float32)


def nucleus_frame(
    cells: Population, narrowest: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return centre (2, n), half axes and angle of every nucleus, pixels in the field.

    Parameters
    ----------
    cells : Population
    narrowest : ndarray of float64, shape (n,)
        Radius of the cell where it is thin; a nucleus fits in.
    """
    along, across, size, ratio, tilt = cells.nucleus.T
    spread = 1 - cells.roundness
    room = np.minimum(size * cells.radius, 0.85 * narrowest)
    cos, sin = np.cos(cells.heading), np.sin(cells.heading)
    offset = room * spread * np.stack([along * sin + across * cos, along * cos - across * sin])
    # a dividing or dying nucleus condenses
    long = room * np.sqrt(ratio) * (1 - 0.15 * cells.roundness)
    short = room / np.sqrt(ratio) * (1 - 0.4 * cells.roundness)
    return cells.position.T + offset, long, short, cells.heading + tilt
