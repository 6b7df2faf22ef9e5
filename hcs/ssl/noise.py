"""Noise of a pair of frames, and the blur that answers it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.ssl.change import MAX_CHANGE, box_sum
from hcs.ssl.counting import count_values, quantile_bin

# median absolute value of a Gaussian in units of its standard deviation
_MEDIAN_TO_SD = 0.6745
_STILL_FRACTION = 0.3  # the part of the frame that changed least shows noise alone (A5.1)
_LAPLACIAN = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
_LAPLACIAN_NOISE = 6  # its response to unit noise, standard deviation
_MAX_RESPONSE = 8 * 255
_SMALLEST_BLUR_PX = 0.5  # below it a blur changes nothing but time (A5.1)


def noise_level(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise of a pair, in grey levels.

    The smaller of two estimates, for each is misled upwards by something else: the temporal one
    by motion, the spatial one by fine texture (A5.1).

    Parameters
    ----------
    frame, reference : ndarray of uint8, shape (y, x)

    Examples
    --------
    >>> still = np.full((32, 32), 7, np.uint8)
    >>> noise_level(still, still)
    0.0
    """
    difference = np.asarray(cv2.absdiff(frame, reference), np.uint8)
    around = box_sum(difference)
    everywhere = np.ones(frame.shape, bool)
    still = quantile_bin(count_values(around, everywhere, MAX_CHANGE + 1), _STILL_FRACTION)
    temporal = quantile_bin(count_values(difference, around <= still, 256), 0.5)
    response = np.abs(np.asarray(cv2.filter2D(frame, cv2.CV_16S, _LAPLACIAN), np.int16))
    spatial = quantile_bin(count_values(response, everywhere, _MAX_RESPONSE + 1), 0.5)
    return float(min(temporal / np.sqrt(2), spatial / _LAPLACIAN_NOISE) / _MEDIAN_TO_SD)


def blur_sigma(noise: float, noise_for_unit_blur: float, max_blur_px: float) -> float:
    """Return the Gaussian sigma that answers a noise level, in pixels; 0 for none.

    Examples
    --------
    >>> blur_sigma(21.2, 10.6, 4.0), blur_sigma(1.0, 10.6, 4.0), blur_sigma(99.0, 10.6, 4.0)
    (2.0, 0.0, 4.0)
    """
    sigma = noise / noise_for_unit_blur
    return 0.0 if sigma < _SMALLEST_BLUR_PX else min(sigma, max_blur_px)


def blur(frame: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Blur a frame with a Gaussian; sigma 0 returns it as it is."""
    if sigma_px == 0:
        return frame
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma_px), np.uint8)
