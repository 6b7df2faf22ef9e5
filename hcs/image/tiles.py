"""Tiles with a halo, and how their results become one field again.

Starts and lengths are multiples of a unit, the coarsest pixel of a network, so that a tile's
pooling sees the same groups of pixels as the whole field's would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

# five halvings, the most that our networks do
UNIT_PX = 32


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one shape that cover a field.

    Attributes
    ----------
    shape, tile : tuple of int
        Height and width of the field and of every tile, pixels.
    starts : tuple of tuple of int
        First row of each row of tiles, first column of each column of tiles.
    halo_px : int
        Overlap of neighbours, at least; part of it is blended, see :func:`taper`.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    starts: tuple[tuple[int, ...], tuple[int, ...]]
    halo_px: int

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.starts[0]) * len(self.starts[1])

    def slices(self) -> list[tuple[slice, slice]]:
        """Return where each tile is in the field, in raster order."""
        height, width = self.tile
        return [(slice(y, y + height), slice(x, x + width)) for y, x in product(*self.starts)]

    def windows(self) -> list[NDArray[np.float32]]:
        """Return the weight of each tile's pixels, in raster order; they sum to 1 everywhere."""
        rows, columns = (
            _weights(*axis, self.halo_px)
            for axis in zip(self.shape, self.tile, self.starts, strict=True)
        )
        return [np.outer(y, x).astype(np.float32) for y, x in product(rows, columns)]


def tile_grid(shape: tuple[int, int], tile_px: int, halo_px: int) -> TileGrid:
    """Return the fewest tiles that cover a field, and of these the smallest.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the field, multiples of 32 pixels.
    tile_px : int
        Longest side of a tile, a multiple of 32.
    halo_px : int
        Overlap of neighbours, at least; not more than half a tile.

    Examples
    --------
    >>> grid = tile_grid((96, 320), tile_px=192, halo_px=64)
    >>> grid.tile, grid.starts
    ((96, 192), ((0,), (0, 128)))
    """
    overlap = min(-(-halo_px // UNIT_PX), tile_px // UNIT_PX // 2)
    axes = [_cut(side // UNIT_PX, tile_px // UNIT_PX, overlap) for side in shape]
    (height, rows), (width, columns) = axes
    return TileGrid(shape, (height, width), (rows, columns), overlap * UNIT_PX)


def _cut(side: int, longest: int, overlap: int) -> tuple[int, tuple[int, ...]]:
    """Return length and starts in pixels, from units."""
    if side <= longest:
        return side * UNIT_PX, (0,)
    count = -(-(side - overlap) // (longest - overlap))
    length = -(-(side + (count - 1) * overlap) // count)
    starts = (i * (side - length) // (count - 1) for i in range(count))
    return length * UNIT_PX, tuple(start * UNIT_PX for start in starts)


def taper(length: int, halo_px: int) -> NDArray[np.float64]:
    """Return how far the pixels of a tile are to be trusted, by their distance from its sides.

    A tile does not see beyond its sides. So the outer three eighths of its halo count for
    nothing; from there a half cosine rises to 1 within a quarter of the halo (ours).

    Examples
    --------
    >>> taper(20, halo_px=8).round(2).tolist()[:8]
    [0.0, 0.0, 0.0, 0.15, 0.85, 1.0, 1.0, 1.0]
    """
    if halo_px == 0:
        return np.ones(length)
    pixel = np.arange(length) + 0.5
    depth = np.minimum(pixel, pixel[::-1])
    risen = np.clip((depth - 3 * halo_px / 8) / (halo_px / 4), 0, 1)
    return np.asarray((1 - np.cos(np.pi * risen)) / 2)


def _weights(side: int, length: int, starts: tuple[int, ...], halo_px: int) -> list[Any]:
    """Return the taper of each tile along an axis, over their sum; a field's rim is no side."""
    tapers = []
    for start in starts:
        one = taper(length, halo_px)
        if start == 0:
            one[: length // 2] = 1
        if start + length == side:
            one[length - length // 2 :] = 1
        tapers.append(one)
    total = np.zeros(side)
    for start, one in zip(starts, tapers, strict=True):
        total[start : start + length] += one
    return [one / total[s : s + length] for s, one in zip(starts, tapers, strict=True)]


def blend(outputs: Iterable[NDArray[np.float32]], grid: TileGrid) -> NDArray[np.float32]:
    """Return a field from what was computed of its tiles.

    Parameters
    ----------
    outputs : iterable of ndarray of float32, shape (k, y, x)
        Of each tile in raster order. Continuous values, never masks or labels.
    grid : TileGrid

    Returns
    -------
    ndarray of float32, shape (k, y, x)
        Of the field's height and width.
    """
    field: NDArray[np.float32] | None = None
    for output, place, window in zip(outputs, grid.slices(), grid.windows(), strict=True):
        if field is None:
            field = np.zeros((len(output), *grid.shape), np.float32)
        field[:, *place] += output * window
    if field is None:
        raise ValueError("a grid has at least one tile, got none")
    return field


def pad(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image with height and width a multiple of 32: mirrored beyond its last pixels.

    Parameters
    ----------
    image : ndarray, shape (..., y, x)
        Of any height and width; also smaller than what is added.

    Examples
    --------
    >>> pad(np.arange(3)[None])[:1, :7].tolist()
    [[0, 1, 2, 1, 0, 1, 2]]
    """
    missing = [(0, -side % UNIT_PX) for side in image.shape[-2:]]
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + missing, mode="reflect")
