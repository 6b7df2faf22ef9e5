"""Coarser copies of images and label images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def halve(frames: NDArray[Any]) -> NDArray[Any]:
    """Return frames at half resolution: the mean of every 2 x 2 pixels, rounded half up.

    Parameters
    ----------
    frames : ndarray of any number type, shape (..., y, x)
        An odd last row or column is left out; an axis of length 1 is kept.

    Returns
    -------
    ndarray of the same type, shape (..., y // 2, x // 2)

    Examples
    --------
    >>> halve(np.array([[0, 2, 9], [4, 6, 9]], np.uint8))
    array([[3]], dtype=uint8)
    """
    corners = [
        frames[..., i : _end(frames.shape[-2]) : 2, j : _end(frames.shape[-1]) : 2]
        for i in range(min(2, frames.shape[-2]))
        for j in range(min(2, frames.shape[-1]))
    ]
    if frames.dtype.kind == "f":
        return np.asarray(np.mean(corners, axis=0, dtype=frames.dtype))
    if frames.dtype.kind == "b":
        return np.asarray(2 * np.sum(corners, axis=0) >= len(corners))
    # four values of 8 or 16 bits fit 32 bits; wider integers fit up to 2**61
    wide = np.int32 if frames.dtype.itemsize <= 2 else f"{frames.dtype.kind}8"
    total = np.full(corners[0].shape, len(corners) // 2, wide)
    for corner in corners:
        total += corner
    return (total // len(corners)).astype(frames.dtype)


def _end(length: int) -> int:
    return length - length % 2 if length > 1 else 1


def halved_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of `halve`'s result.

    Examples
    --------
    >>> halved_shape((5, 1))
    (2, 1)
    """
    return max(shape[0] // 2, 1), max(shape[1] // 2, 1)


def shrink(frames: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return frames at a lower resolution, each pixel the mean of those that it stands for.

    Parameters
    ----------
    frames : ndarray of float, shape (..., y, x)
    shape : tuple of int
        Height and width of the result; of half the size it is `halve`'s.

    Examples
    --------
    >>> shrink(np.array([[0, 2, 9]], np.float32), (1, 2))
    array([[0. , 5.5]], dtype=float32)
    """
    if shape == halved_shape((frames.shape[-2], frames.shape[-1])):
        return halve(frames)
    total = frames
    for axis, wanted in zip((-2, -1), shape, strict=True):
        length = frames.shape[axis]
        starts = np.arange(wanted) * length // wanted
        counts = np.diff(starts, append=length).astype(frames.dtype)
        sums = np.add.reduceat(total, starts, axis=axis)
        total = sums / (counts[:, None] if axis == -2 else counts)
    return np.asarray(total)


def shrink_labels(labels: NDArray[np.uint32], shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Return label images at a lower resolution, each pixel that of the nearest original.

    No value comes up that was not there.

    Parameters
    ----------
    labels : ndarray of uint32, shape (..., y, x)
    shape : tuple of int
        Height and width of the result.

    Examples
    --------
    >>> shrink_labels(np.array([[1, 1, 2, 2], [1, 7, 2, 2]], np.uint32), (1, 2))
    array([[7, 2]], dtype=uint32)
    """
    y, x = (_nearest(n, m) for n, m in zip(labels.shape[-2:], shape, strict=True))
    return np.ascontiguousarray(labels[..., y[:, None], x])


def _nearest(length: int, wanted: int) -> NDArray[np.intp]:
    return ((2 * np.arange(wanted) + 1) * length // (2 * wanted)).astype(np.intp)
