"""Temporal change of a pair of frames, in exact integers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BOX_PX = 7
MAX_CHANGE = 255 * BOX_PX * BOX_PX


def box_sum(values: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Sum of the 7x7 pixels around each one, mirrored at the border.

    Examples
    --------
    >>> int(box_sum(np.ones((9, 9), np.uint8))[0, 0])
    49
    """
    return np.asarray(
        cv2.boxFilter(values, cv2.CV_16U, (BOX_PX, BOX_PX), normalize=False), np.uint16
    )


def temporal_change(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Sum of |frame - reference| over the 7x7 pixels around each one.

    Parameters
    ----------
    frame, reference : ndarray of uint8, shape (y, x)

    Returns
    -------
    ndarray of uint16, shape (y, x)
        0..12495; an integer, so that its thresholds and quantiles come from a histogram.
    """
    return box_sum(np.asarray(cv2.absdiff(frame, reference), np.uint8))


def log_change() -> NDArray[np.float64]:
    """ln(1 + mean change) for every value that :func:`temporal_change` can take."""
    return np.log1p(np.arange(MAX_CHANGE + 1) / BOX_PX**2)
