"""What a pixel looks like: entropy, gradient and contrast to the background, of one frame.

All three depend on the frame alone, so a model learned elsewhere in the field can be applied.
"""

from __future__ import annotations

from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

FEATURES = ("entropy", "gradient", "contrast")
WINDOW_PX = 7
_RADIUS = WINDOW_PX // 2
_N_WINDOW = WINDOW_PX * WINDOW_PX
_UNIT = 1 << 20  # fixed point: a sliding sum of integers stays exact; 49 log2 49 units fit int32
_CONTRAST_SIGMA_PX = 1.5
_BACKGROUND_SCALE = 8
_BACKGROUND_WINDOW = 41  # at that scale: a background may vary over some 300 px


def features(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the three features of every pixel, in the order of :data:`FEATURES`.

    Parameters
    ----------
    frame : ndarray of uint8, shape (y, x)
        Grey levels on the field's scale.

    Returns
    -------
    ndarray of float32, shape (3, y, x)
    """
    out = np.empty((len(FEATURES), *frame.shape), np.float32)
    out[0] = entropy(frame)
    out[1] = gradient(frame)
    out[2] = contrast(frame)
    return out


def entropy(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the Shannon entropy of the 7x7 pixels around each one, in bits.

    256 grey levels; the border is mirrored with its edge pixel repeated, as Matlab's
    ``entropyfilt`` does (A1.6). It equals ``skimage.filters.rank.entropy`` on the frame so padded.

    Parameters
    ----------
    frame : ndarray of uint8, shape (y, x)

    Returns
    -------
    ndarray of float32, shape (y, x)
        0 (flat) to log2(49) = 5.61.

    Examples
    --------
    >>> float(entropy(np.zeros((8, 8), np.uint8)).max())
    0.0
    """
    counts = np.arange(_N_WINDOW + 1, dtype=np.float64)
    terms = np.rint(counts * np.log2(np.maximum(counts, 1)) * _UNIT).astype(np.int32)
    padded = np.pad(frame, _RADIUS, mode="symmetric")
    out = np.empty(frame.shape, np.float32)
    _slide_entropy(padded, np.diff(terms), out)
    return out


def gradient(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ln(1 + mean gradient magnitude of the 7x7 pixels around each one).

    The logarithm and the mean because the raw magnitude is too skewed for a Gaussian class (A3.4).

    Examples
    --------
    >>> ramp = np.tile(np.arange(0, 90, 3, dtype=np.uint8), (30, 1))
    >>> round(float(gradient(ramp)[15, 15]), 3)
    1.386
    """
    mean = cv2.boxFilter(forward_differences(frame), cv2.CV_32F, (WINDOW_PX, WINDOW_PX))
    return np.asarray(cv2.log(mean + 1), np.float32)


def forward_differences(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the gradient magnitude by forward differences, in grey levels per pixel (A1.6).

    The last row and column have one neighbour only, the last pixel none.

    Examples
    --------
    >>> forward_differences(np.array([[0, 4], [3, 9]], np.uint8)).tolist()
    [[5.0, 5.0], [6.0, 0.0]]
    """
    out = np.empty(frame.shape, np.float32)
    _forward_differences(np.pad(frame, ((0, 1), (0, 1)), mode="edge"), out)
    return out


def contrast(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ln(1 + |grey - background|) of the slightly blurred frame (A5.5).

    The background is the median over some 300 pixels around, found at an eighth of the scale.

    Examples
    --------
    >>> round(float(contrast(np.full((64, 64), 9, np.uint8)).max()), 3)
    0.0
    """
    height, width = frame.shape
    small = (max(1, width // _BACKGROUND_SCALE), max(1, height // _BACKGROUND_SCALE))
    coarse: NDArray[Any] = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    coarse = cv2.medianBlur(coarse, _BACKGROUND_WINDOW)
    background = cv2.resize(
        coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _CONTRAST_SIGMA_PX)
    return np.asarray(cv2.log(cv2.absdiff(smooth, background) + 1))


@numba.njit(cache=True)
def _slide_entropy(
    padded: NDArray[np.uint8], steps: NDArray[np.int32], out: NDArray[np.float32]
) -> None:
    height, width = out.shape
    scale = 1.0 / (_N_WINDOW * _UNIT)
    top = steps.sum()  # 49 log2 49
    counts = np.zeros(256, np.int32)
    for y in range(height):
        counts[:] = 0
        total = 0  # sum of n log2 n over the grey levels in the window
        for dy in range(WINDOW_PX):
            for x in range(WINDOW_PX):
                grey = padded[y + dy, x]
                total += steps[counts[grey]]
                counts[grey] += 1
        out[y, 0] = (top - total) * scale
        for x in range(1, width):
            for dy in range(WINDOW_PX):
                gone = padded[y + dy, x - 1]
                counts[gone] -= 1
                total -= steps[counts[gone]]
                come = padded[y + dy, x + WINDOW_PX - 1]
                total += steps[counts[come]]
                counts[come] += 1
            out[y, x] = (top - total) * scale


@numba.njit(cache=True)
def _forward_differences(padded: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            here = np.float32(padded[y, x])
            right = np.float32(padded[y, x + 1]) - here
            down = np.float32(padded[y + 1, x]) - here
            out[y, x] = np.sqrt(right * right + down * down)
