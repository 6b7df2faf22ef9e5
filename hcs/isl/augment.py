"""Training crops turned, mirrored and dimmed, so that a network sees more than was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Augment = Literal["none", "flips", "full"]

_GAIN = 1.25  # B7: from 1/1.25 to 1.25
_OFFSET = 0.1  # ours; of the input's standard deviation, which is 1
_NOISE_SD = 0.1  # ours; VisCy takes .3 on a coarser normalisation
_BLUR_PX = (0.25, 0.75)  # METHODS C (Cytoland)
_BLURRED = 0.25  # ours: share of the crops


def augmented(
    inputs: NDArray[np.float32],
    maps: Sequence[NDArray[np.float32]],
    augment: Augment,
    rng: np.random.Generator,
) -> list[NDArray[np.float32]]:
    """Return a batch as another microscope, turned about, could have recorded it.

    Parameters
    ----------
    inputs : ndarray of float32, shape (b, c, p, p)
        Turned with `maps`; its grey levels are changed by "full" only.
    maps : sequence of ndarray of float32, shape (b, k, p, p)
        Targets and weights: turned, never changed in value.
    augment : {"none", "flips", "full"}

    Returns
    -------
    list of ndarray of float32
        The inputs, then the maps; new arrays, except with "none".
    """
    if augment == "none":
        return [inputs, *maps]
    turns = rng.integers(8, size=len(inputs))
    turned = [_turned(array, turns) for array in (inputs, *maps)]
    if augment == "full":
        turned[0] = np.stack([_recorded_anew(crop, rng) for crop in turned[0]])
    return turned


def _turned(array: NDArray[np.float32], turns: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.stack([turned(crop, int(turn)) for crop, turn in zip(array, turns, strict=True)])


def turned(planes: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """Return planes after one of the eight turns and mirrorings of a square.

    Parameters
    ----------
    planes : ndarray of float32, shape (..., p, p)
    turn : int
        Quarter turns, and 4 more to be mirrored after them, 0 to 7.

    Examples
    --------
    >>> turned(np.float32([[1, 2], [3, 4]]), 1).tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    rotated = np.rot90(planes, turn % 4, axes=(-2, -1))
    return np.ascontiguousarray(rotated[..., ::-1] if turn >= 4 else rotated)


def _recorded_anew(planes: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change gain and offset of each plane, sometimes focus, and add noise; shape (c, p, p)."""
    shape = (len(planes), 1, 1)
    gain = np.exp(rng.uniform(-np.log(_GAIN), np.log(_GAIN), shape))
    offset = rng.uniform(-_OFFSET, _OFFSET, shape)
    sharp = (planes * gain + offset).astype(np.float32)
    blurred = _blurred(sharp, rng.uniform(*_BLUR_PX)) if rng.random() < _BLURRED else sharp
    noise = rng.standard_normal(planes.shape, np.float32)
    return np.asarray(blurred + np.float32(rng.uniform(0, _NOISE_SD)) * noise, np.float32)


def _blurred(planes: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma_px) for plane in planes])
