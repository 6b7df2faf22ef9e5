"""How far things moved between two frames: Farneback flow, and the drift of the stage."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_FLOW_SCALE = 0.5  # half resolution: five times faster, the same labels (A3.1)
_WINDOW_PX = 9
_LEVELS = 3
_ITERATIONS = 3
_POLY_N = 5
_POLY_SIGMA = 1.1
_PAPER_WINDOW_PX = 15
_DRIFT_SCALE = 0.25
_SMALLEST_DRIFT_PX = 0.5
_DRIFT_AGREEMENT_PX = 1.0


def displacement(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how far what is at each pixel of `frame` moved since `reference`.

    Farneback flow at half resolution, on the grid of `frame`, so that the mean over an object of
    that frame is the object's own.

    Parameters
    ----------
    frame, reference : ndarray of uint8, shape (y, x)

    Returns
    -------
    ndarray of float32, shape (2, y, x)
        Displacement along y and x, in pixels of the frame.
    """
    height, width = frame.shape
    half = (max(1, round(width * _FLOW_SCALE)), max(1, round(height * _FLOW_SCALE)))
    here, there = _shrunk(frame, half), _shrunk(reference, half)
    back = _farneback(here, there, _WINDOW_PX)
    out = np.empty((2, height, width), np.float32)
    for axis, size, size_half in ((0, height, half[1]), (1, width, half[0])):
        component = np.ascontiguousarray(back[..., 1 - axis]) * np.float32(-size / size_half)
        out[axis] = cv2.resize(component, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def paper_displacement(
    frame: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the flow from `reference` to `frame` at full resolution, as released (A1.1).

    Returns
    -------
    ndarray of float32, shape (2, y, x)
        Displacement along y and x, in pixels, on the grid of `reference`.
    """
    flow = _farneback(reference, frame, _PAPER_WINDOW_PX)
    return np.ascontiguousarray(flow[..., ::-1].transpose(2, 0, 1))


def drift(
    frame: NDArray[np.uint8], reference: NDArray[np.uint8], moved: NDArray[np.float32]
) -> tuple[float, float]:
    """Return the shift of the whole frame since `reference`, along y and x in pixels.

    Believed only where two estimates agree, or it is none: the median displacement fails when
    cells cover most of the frame, phase correlation when little stands still (D3).

    Parameters
    ----------
    frame, reference : ndarray of uint8, shape (y, x)
    moved : ndarray of float32, shape (2, y, x)
        Their :func:`displacement`.

    Examples
    --------
    >>> still = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    >>> drift(still, still, np.zeros((2, 64, 64), np.float32))
    (0.0, 0.0)
    """
    median_y, median_x = (float(np.median(component[::4, ::4])) for component in moved)
    if np.hypot(median_y, median_x) <= _SMALLEST_DRIFT_PX:
        return (0.0, 0.0)
    height, width = frame.shape
    small = (max(2, round(width * _DRIFT_SCALE)), max(2, round(height * _DRIFT_SCALE)))
    there, here = (_shrunk(image, small).astype(np.float32) for image in (reference, frame))
    window = cv2.createHanningWindow(small, cv2.CV_32F)
    (shift_x, shift_y), _ = cv2.phaseCorrelate(there, here, window)
    apart_y = abs(shift_y * height / small[1] - median_y)
    apart_x = abs(shift_x * width / small[0] - median_x)
    if max(apart_y, apart_x) > _DRIFT_AGREEMENT_PX:
        return (0.0, 0.0)
    return (median_y, median_x)


def moved_by(frame: NDArray[np.uint8], drift_px: tuple[float, float]) -> NDArray[np.uint8]:
    """Move a frame by whole pixels; what comes in repeats the edge.

    Whole pixels only: interpolation would smooth the noise of one frame of the pair.

    Examples
    --------
    >>> moved_by(np.array([[1, 2, 3]], np.uint8), (0.0, 1.2)).tolist()
    [[1, 1, 2]]
    """
    dy, dx = (round(shift) for shift in drift_px)
    if dy == 0 and dx == 0:
        return frame
    height, width = frame.shape
    rows = np.clip(np.arange(height) - dy, 0, height - 1)
    columns = np.clip(np.arange(width) - dx, 0, width - 1)
    return np.ascontiguousarray(frame[rows[:, None], columns])


def _farneback(
    first: NDArray[np.uint8], second: NDArray[np.uint8], window_px: int
) -> NDArray[np.float32]:
    flow = np.zeros((*first.shape, 2), np.float32)
    cv2.calcOpticalFlowFarneback(
        first, second, flow, 0.5, _LEVELS, window_px, _ITERATIONS, _POLY_N, _POLY_SIGMA, 0
    )
    return flow


def _shrunk(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
