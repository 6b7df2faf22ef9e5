"""Shift of the whole frame since its reference: the stage moved, not the cells.

Static texture that shifts by a tenth of a pixel changes as much as a cell that crawls; so the
reference is put in register before anything is learned from temporal change.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Shift = tuple[float, float]

_COARSE_SCALE = 0.25
_COARSE_SMALLEST_PX = 0.5  # D3
_COARSE_AGREEMENT_PX = 1.0
_FINE_SCALE = 0.5
_FINE_ROUNDS = 2
_BLOCK_PX = 64
_BLOCK_PRECISION_PX = 0.15
_SMOOTHED_PIXELS = 8  # pixels of a block that a blur of 1 px makes one independent sample
_MIN_USABLE = 0.25
_MIN_AGREEING = 0.6


def drift(
    frame: NDArray[np.uint8], reference: NDArray[np.uint8], moved: NDArray[np.float32]
) -> Shift:
    """Return the shift of the whole frame since `reference`, along y and x in pixels.

    Coarsely, the median displacement where phase correlation agrees: the one fails when cells
    cover most of the frame, the other when little stands still (D3). Then to a few hundredths of
    a pixel by least squares in blocks of 64 px, where most blocks say the same: cells move each
    on its own, so blocks of cells never agree (ours).

    Parameters
    ----------
    frame, reference : ndarray of uint8, shape (y, x)
    moved : ndarray of float32, shape (2, y, x)
        Their :func:`hcs.ssl.displacement.displacement`.

    Examples
    --------
    >>> still = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    >>> drift(still, still, np.zeros((2, 64, 64), np.float32))
    (0.0, 0.0)
    """
    total_y, total_x = _coarse(frame, reference, moved)
    for _ in range(_FINE_ROUNDS):
        step = _fine(frame, moved_by(reference, (total_y, total_x)))
        if step is None:
            break
        total_y, total_x = total_y + step[0], total_x + step[1]
    return (total_y, total_x)


def moved_by(frame: NDArray[np.uint8], shift_px: Shift) -> NDArray[np.uint8]:
    """Move a frame along y and x; what comes in repeats the edge.

    Examples
    --------
    >>> moved_by(np.array([[1, 2, 3]], np.uint8), (0.0, 1.0)).tolist()
    [[1, 1, 2]]
    """
    if shift_px == (0.0, 0.0):
        return frame
    matrix = np.array([[1, 0, shift_px[1]], [0, 1, shift_px[0]]], np.float64)
    height, width = frame.shape
    moved = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _coarse(
    frame: NDArray[np.uint8], reference: NDArray[np.uint8], moved: NDArray[np.float32]
) -> Shift:
    median_y, median_x = (float(np.median(component[::4, ::4])) for component in moved)
    if np.hypot(median_y, median_x) <= _COARSE_SMALLEST_PX:
        return (0.0, 0.0)
    here, there = (_shrunk(image, _COARSE_SCALE) for image in (frame, reference))
    small = (here.shape[1], here.shape[0])
    (shift_x, shift_y), _ = cv2.phaseCorrelate(
        there, here, cv2.createHanningWindow(small, cv2.CV_32F)
    )
    apart_y = abs(shift_y * frame.shape[0] / small[1] - median_y)
    apart_x = abs(shift_x * frame.shape[1] / small[0] - median_x)
    agree = max(apart_y, apart_x) <= _COARSE_AGREEMENT_PX
    return (median_y, median_x) if agree else (0.0, 0.0)


def _fine(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Shift | None:
    """Return the shift that most blocks agree upon, None where there is no such thing."""
    shifts, errors = _block_shifts(_smooth(frame), _smooth(reference))
    usable = errors < _BLOCK_PRECISION_PX
    if np.count_nonzero(usable) < _MIN_USABLE * usable.size:
        return None
    centre = np.median(shifts[:, usable], axis=1)
    apart = np.abs(shifts - centre[:, None]).max(axis=0)
    agreeing = usable & (apart < _BLOCK_PRECISION_PX)
    if np.count_nonzero(agreeing) < _MIN_AGREEING * np.count_nonzero(usable):
        return None
    step_y, step_x = np.median(shifts[:, agreeing], axis=1).tolist()
    return (step_y, step_x)


def _block_shifts(
    here: NDArray[np.float32], there: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift of every block by least squares on the grey levels, and its standard error, in px."""
    mean = (here + there) / 2
    across = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 1, 0, ksize=1, scale=0.5), np.float32)
    down = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 0, 1, ksize=1, scale=0.5), np.float32)
    change = np.asarray(here - there, np.float32)
    side = round(_BLOCK_PX * _FINE_SCALE)
    blocks = (max(1, here.shape[1] // side), max(1, here.shape[0] // side))

    def average(product: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        means = cv2.resize(np.asarray(product, np.float32), blocks, interpolation=cv2.INTER_AREA)
        return np.asarray(means, np.float64).ravel()

    xx, xy, yy = average(across * across), average(across * down), average(down * down)
    xt, yt = average(across * change), average(down * change)
    determinant = np.maximum(xx * yy - xy * xy, 1e-9)  # of a flat block: its error is huge
    x = (xy * yt - yy * xt) / determinant
    y = (xy * xt - xx * yt) / determinant
    left_over = np.maximum(average(change * change) + x * xt + y * yt, 1e-6)
    variance = left_over * np.maximum(xx, yy) / determinant / (side * side / _SMOOTHED_PIXELS)
    return np.stack([y, x]) / _FINE_SCALE, np.sqrt(variance) / _FINE_SCALE


def _smooth(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(_shrunk(frame, _FINE_SCALE), (0, 0), 1.0), np.float32)


def _shrunk(frame: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    height, width = (max(2, round(side * scale)) for side in frame.shape)
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
