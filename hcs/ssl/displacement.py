"""How far things moved between two frames: Farneback flow."""

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
    back = farneback(here, there, _WINDOW_PX)
    out = np.empty((2, height, width), np.float32)
    for axis, size, size_half in ((0, height, half[1]), (1, width, half[0])):
        component = np.ascontiguousarray(back[..., 1 - axis]) * np.float32(-size / size_half)
        out[axis] = cv2.resize(component, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def farneback(
    first: NDArray[np.uint8], second: NDArray[np.uint8], window_px: int
) -> NDArray[np.float32]:
    """Return the flow from `first` to `second` by polynomial expansion, as A1.1 has it.

    Parameters
    ----------
    first, second : ndarray of uint8, shape (y, x)
        Of 0..255: Farneback flow is not scale free (A2).
    window_px : int
        Side of the window that it averages over.

    Returns
    -------
    ndarray of float32, shape (y, x, 2)
        Displacement along x and y, in pixels, on the grid of `first`.
    """
    flow = np.zeros((*first.shape, 2), np.float32)
    cv2.calcOpticalFlowFarneback(
        first, second, flow, 0.5, _LEVELS, window_px, _ITERATIONS, _POLY_N, _POLY_SIGMA, 0
    )
    return flow


def _shrunk(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
