"""The released algorithm with its constants as stated (A1), for comparison; ``thresholds: paper``.

Thresholds on the flow climb or fall along fixed ladders until the labels hold enough entropy.
There is no separability test and no memory: every pair is trained from scratch. What the released
code most likely compares a frame with is a black one (A2), hence ``flow_reference: black``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.image.mask import Mask, close, component_areas, fill_holes, keep_large
from hcs.ssl import naive_bayes
from hcs.ssl.displacement import farneback
from hcs.ssl.features import entropy, forward_differences
from hcs.ssl.self_label import Labels

_WINDOW_PX = 15  # A1.1
_CLOSE_PX = 5  # A1.2
_SIZE_THRESHOLD_PX = 0.04  # A1.3, as all the lengths below a displacement in px per frame
_SIZE_MIN_PX = 600
_NO_OBJECT_MIN_PX = 550
_BACKGROUND_STEP_PX = 1e-4  # A1.4
_BACKGROUND_LAST_PX = 2e-3
_BACKGROUND_ENTROPY = 1e5
_CELL_FIRST_PX = 0.04  # A1.5
_CELL_STEP_PX = 2e-3
_CELL_LAST_PX = 2e-5


def paper_features(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return entropy and raw gradient magnitude (A1.6).

    Returns
    -------
    ndarray of float32, shape (2, y, x)
    """
    return np.stack([entropy(frame), forward_differences(frame)])


def flow_magnitude(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the length of the flow from `reference` to `frame`, in pixels (A1.1)."""
    flow = farneback(reference, frame, _WINDOW_PX)
    return np.asarray(cv2.magnitude(flow[..., 0], flow[..., 1]), np.float32)


def moving_area(magnitude: NDArray[np.float32]) -> float:
    """Return the mean area of the objects that move, in pixels; 0 without any (A1.3)."""
    areas = component_areas(_flow_mask(magnitude, _SIZE_THRESHOLD_PX, _SIZE_MIN_PX))
    return float(areas.mean()) if areas.size else 0.0


def smallest_object(moving_area_px: float) -> int:
    """Return the smallest area that is kept, from the first pair's :func:`moving_area` (A1.3).

    Examples
    --------
    >>> smallest_object(1300.0), smallest_object(0.0)
    (650, 550)
    """
    return round(moving_area_px / 2) if moving_area_px else _NO_OBJECT_MIN_PX


def paper_labels(
    magnitude: NDArray[np.float32],
    reference_entropy: NDArray[np.float32],
    min_area_px: int,
    extra_entropy: float,
) -> Labels:
    """Label pixels by the two ladders of the flow threshold (A1.4, A1.5).

    Parameters
    ----------
    magnitude : ndarray of float32, shape (y, x)
        :func:`flow_magnitude`.
    reference_entropy : ndarray of float32, shape (y, x)
        Entropy of frame k - 1: a slip of the released code, kept.
    min_area_px : int
    extra_entropy : float
        By how much the cell labels are grown, in bits.
    """
    moving = (magnitude > 0) & (reference_entropy != 0)
    cell_from, cell = _cell_ladder(magnitude, moving, reference_entropy, min_area_px, extra_entropy)
    background = _background_ladder(magnitude, moving, reference_entropy, min_area_px)
    return Labels(cell, background, 0.0, cell_from)


def paper_mask(odds: NDArray[np.float64], min_area_px: int) -> Mask:
    """Return the mask of positive log-odds, cleaned as released but for the border (A1.8)."""
    return fill_holes(close(keep_large(odds > 0, min_area_px), _CLOSE_PX))


def paper_model(
    features: NDArray[np.float32], labels: Labels, prior: float | None
) -> naive_bayes.Model | None:
    """Fit the classifier of one pair; None without pixels of both classes.

    Parameters
    ----------
    prior : float or None
        P(cell); None takes the label counts, as ``fitcnb`` does (A1.7).
    """
    n_cell = int(np.count_nonzero(labels.cell))
    n_background = int(np.count_nonzero(labels.background))
    if not n_cell or not n_background:
        return None
    empirical = n_cell / (n_cell + n_background)
    return naive_bayes.fit(
        features, labels.cell, labels.background, empirical if prior is None else prior
    )


def _cell_ladder(
    magnitude: NDArray[np.float32],
    moving: Mask,
    entropy_px: NDArray[np.float32],
    min_area_px: int,
    extra_entropy: float,
) -> tuple[float, Mask]:
    threshold = _CELL_FIRST_PX
    cell = _flow_mask(magnitude, threshold, min_area_px) & moving
    target = _total(entropy_px, cell) + extra_entropy
    while _total(entropy_px, cell) <= target and threshold > _CELL_LAST_PX:
        # beyond the last whole step lies the smallest threshold, and then the end
        lower = threshold - _CELL_STEP_PX
        threshold = lower if lower > _CELL_STEP_PX / 2 else _CELL_LAST_PX
        cell = _flow_mask(magnitude, threshold, min_area_px) & moving
    return threshold, cell


def _background_ladder(
    magnitude: NDArray[np.float32],
    moving: Mask,
    entropy_px: NDArray[np.float32],
    min_area_px: int,
) -> Mask:
    steps = round(_BACKGROUND_LAST_PX / _BACKGROUND_STEP_PX)
    background = np.zeros_like(moving)
    for step in range(1, steps + 1):
        still = ~_flow_mask(magnitude, step * _BACKGROUND_STEP_PX, min_area_px)
        background = still & moving
        if _total(entropy_px, background) > _BACKGROUND_ENTROPY:
            break
    return background


def _total(entropy_px: NDArray[np.float32], chosen: Mask) -> float:
    return float(entropy_px[chosen].sum(dtype=np.float64))


def _flow_mask(magnitude: NDArray[np.float32], threshold_px: float, min_area_px: int) -> Mask:
    return fill_holes(close(keep_large(magnitude > threshold_px, min_area_px), _CLOSE_PX))
