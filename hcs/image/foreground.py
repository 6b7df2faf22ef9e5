"""What stands out of the background of a stain, before there are objects.

The background's level and noise are taken from its lower half alone, since all that is stained is
above it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from hcs.errors import FramesError

Grey = NDArray[np.float32]

# standard deviations of the background: noise alone stays below, so an empty field has no object
_MIN_CONTRAST_SD = 4.5
# the background's own tail belongs to it
_TAIL_SD, _TAIL_ROUNDS = 3.0, 6
# spread of a background without noise, as a predicted stain has, in parts of the grey range
_MIN_SPREAD = 1e-3
_GROUND_STEP = 8
# level and noise of a whole image are those of so many of its pixels
_ENOUGH_PIXELS = 1 << 16


def smooth(image: NDArray[Any], sigma_px: float) -> Grey:
    """Return an image of any real type after a Gaussian, without its hot pixels.

    Raises
    ------
    FramesError
        If a pixel is not finite.
    """
    grey = np.asarray(image, dtype=np.float32)
    n_bad = int(np.count_nonzero(~np.isfinite(grey)))
    if n_bad:
        raise FramesError(f"{n_bad} of {grey.size} pixels of the stain are not finite")
    return _blur(cv2.medianBlur(grey, 3), sigma_px)


def foreground(grey: Grey, min_contrast: float = 0.0) -> NDArray[np.bool_]:
    """Return what stands out of the background, nothing where there is only noise.

    Otsu's threshold of the grey levels in units of the background's spread, where the scale is
    linear within the noise and logarithmic above: one bright object does not hide a dim one.

    Parameters
    ----------
    grey : ndarray of float32, shape (y, x)
        Smoothed, grey levels; what counts is brighter than the background.
    min_contrast : float
        Grey levels above the background that a pixel has at least.

    Returns
    -------
    ndarray of bool, shape (y, x)

    Examples
    --------
    >>> grey = np.array([[10, 11, 9, 10, 1000, 11, 60]], dtype=np.float32)
    >>> foreground(grey).astype(int).tolist()
    [[0, 0, 0, 0, 1, 0, 1]]
    """
    smallest = _MIN_SPREAD * float(np.ptp(grey))
    if smallest == 0:
        return np.zeros(grey.shape, dtype=np.bool_)
    step = max(1, int(np.sqrt(grey.size / _ENOUGH_PIXELS)))
    some = grey[::step, ::step].ravel()
    middle, spread = _middle_and_spread(some)
    spread += smallest
    threshold = middle + spread * np.sinh(_otsu(np.arcsinh((some - middle) / spread)))
    middle, spread = _background(some, threshold)
    contrast = max(_MIN_CONTRAST_SD * (spread + smallest), min_contrast)
    return np.asarray(grey > max(threshold, middle + contrast))


def _otsu(values: Grey) -> float:
    """Return Otsu's threshold, the only value where there is but one."""
    return float(threshold_otsu(values)) if np.ptp(values) else float(values[0])


def _background(grey: Grey, threshold: float) -> tuple[float, float]:
    """Return middle and spread of what is below a threshold, with the tail that it cuts off."""
    highest = threshold
    for _ in range(_TAIL_ROUNDS):
        middle, spread = _middle_and_spread(grey[grey <= highest])
        highest = max(threshold, middle + _TAIL_SD * spread)
    return middle, spread


def _middle_and_spread(values: Grey) -> tuple[float, float]:
    """Return the median, and the standard deviation that the lower half tells."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(middle - values[values <= middle]))


def local_background(grey: Grey, mask: NDArray[np.bool_], sigma_px: float) -> Grey:
    """Return the mean of the background around each pixel.

    Parameters
    ----------
    grey : ndarray of float32, shape (y, x)
    mask : ndarray of bool, shape (y, x)
        What is not background; its rim of 3 pixels is none either.
    sigma_px : float
        Width of the surroundings; where they hold no background, the mean of all of it counts.

    Returns
    -------
    ndarray of float32, shape (y, x)
        0 where there is no background at all.
    """
    outside = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    if not outside.any():
        return np.zeros_like(grey)
    overall = float(grey[outside].mean())
    weight = _blur_coarsely(outside.astype(np.float32), sigma_px)
    total = _blur_coarsely(np.where(outside, grey - overall, 0).astype(np.float32), sigma_px)
    # without the small number a pixel far from all background would be 0 / 0
    ground = overall + total / (weight + 0.02)
    return np.asarray(cv2.resize(ground, grey.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _blur_coarsely(values: Grey, sigma_px: float) -> Grey:
    """Return a wide Gaussian mean on an eighth of the pixels."""
    size = [max(1, side // _GROUND_STEP) for side in values.shape[::-1]]
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return _blur(small, max(sigma_px / _GROUND_STEP, 0.5))


def _blur(values: NDArray[Any], sigma_px: float) -> Grey:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), dtype=np.float32)
