"""Grey levels of a microscope to the numbers that a network learns from, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError, TrainingError
from hcs.isl.card import TargetScale

_BACKGROUND_PERCENTILE = 5.0  # ours: background even where cells cover most of the frame
_BRIGHT_PERCENTILE = 99.9  # METHODS C: the target is clipped there
_MAX_SATURATED = 0.05  # ours: share of pixels at the brightest level
_PIXELS_PER_SAMPLE = 65_536  # of a frame, on a grid: bounds the memory of a plate's statistics
# ours: hot pixels and debris are no part of a stain, yet a squared error would follow them
_LOWEST, _HIGHEST = -1.0, 3.0


def standardise(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Bring each plane of a field to mean 0 and standard deviation 1, over the whole image (B1).

    Parameters
    ----------
    planes : ndarray of any real dtype, shape (c, y, x)
        Grey levels of one field and frame.

    Returns
    -------
    ndarray of float32, shape (c, y, x)

    Raises
    ------
    FramesError
        If a plane is constant or holds values that are not finite.

    Examples
    --------
    >>> standardise(np.array([[[10, 30]]], np.uint16)).tolist()
    [[[-1.0, 1.0]]]
    """
    out = np.empty(planes.shape, np.float32)
    for index, plane in enumerate(planes):
        mean = float(np.mean(plane, dtype=np.float64))
        spread = float(np.std(plane, dtype=np.float64))
        if not (np.isfinite(mean) and np.isfinite(spread)):
            bad = int(np.count_nonzero(~np.isfinite(plane)))
            raise FramesError(f"input plane {index} has {bad} pixels that are not finite")
        if spread == 0:
            raise FramesError(
                f"input plane {index} is constant at {plane.flat[0]}",
                hint="the shutter was closed, or another plane was meant",
            )
        out[index] = (plane - mean) / spread
    return out


def fit_target(samples: Iterable[NDArray[Any]], stain: str) -> TargetScale:
    """Find the scale on which a stain's grey levels lie near [0, 1], over a whole plate.

    Dim wells stay dim: the scale is of the plate, not of the image.

    Parameters
    ----------
    samples : iterable of ndarray of any real dtype, shape (y, x)
        Frames of the stain; 65 536 pixels of each are used, on a grid.
    stain : str
        Its name in the plate.

    Raises
    ------
    TrainingError
        If there is no sample, or the stain is all zero, constant, saturated or not finite.

    Examples
    --------
    >>> frame = np.linspace(100, 1100, 10_001).reshape(73, 137)
    >>> scale = fit_target([frame], "DAPI")
    >>> round(scale.offset), round(scale.scale)
    (150, 949)
    """
    pixels = [_thinned(sample) for sample in samples]
    if not pixels or not sum(part.size for part in pixels):
        raise TrainingError(f"there is no frame of stain {stain} to learn its grey levels from")
    grey = np.concatenate(pixels)
    _check_target(grey, stain)
    low, high = np.percentile(grey, (_BACKGROUND_PERCENTILE, _BRIGHT_PERCENTILE))
    if high <= low:
        raise TrainingError(
            f"stain {stain} is constant at {low:g} in 94.9 % of {grey.size} pixels",
            hint="there is nothing in it to learn: is it the right channel, with cells?",
        )
    return TargetScale(stain=stain, offset=float(low), scale=float(high - low))


def to_target(grey: NDArray[Any], scale: TargetScale) -> NDArray[np.float32]:
    """Return grey levels of a stain as values near [0, 1], clipped to [-1, 3].

    Parameters
    ----------
    grey : ndarray of any real dtype, any shape

    Examples
    --------
    >>> to_target(np.array([100, 350]), TargetScale(stain="DAPI", offset=100, scale=500)).tolist()
    [0.0, 0.5]
    """
    value = (grey.astype(np.float32) - np.float32(scale.offset)) / np.float32(scale.scale)
    return np.clip(value, _LOWEST, _HIGHEST, out=value)


def to_grey(value: NDArray[np.float32], scale: TargetScale) -> NDArray[np.float32]:
    """Return values near [0, 1] as grey levels of the stain.

    Examples
    --------
    >>> to_grey(np.float32([0, 0.5]), TargetScale(stain="DAPI", offset=100, scale=500)).tolist()
    [100.0, 350.0]
    """
    grey = value * np.float32(scale.scale)
    grey += np.float32(scale.offset)
    return grey


def _thinned(sample: NDArray[Any]) -> NDArray[np.float32]:
    stride = max(1, int(np.ceil(np.sqrt(sample.size / _PIXELS_PER_SAMPLE))))
    return sample[::stride, ::stride].astype(np.float32).ravel()


def _check_target(grey: NDArray[np.float32], stain: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(grey)))
    if bad:
        raise TrainingError(f"stain {stain} has {bad} of {grey.size} pixels that are not finite")
    highest = float(grey.max())
    if highest == float(grey.min()):
        what = "all zero" if highest == 0 else f"constant at {highest:g}"
        raise TrainingError(
            f"stain {stain} is {what} in {grey.size} pixels", hint="is it the right channel?"
        )
    saturated = float(np.mean(grey == highest))
    if saturated > _MAX_SATURATED:
        raise TrainingError(
            f"stain {stain} is saturated: {saturated:.0%} of its pixels are at {highest:g}",
            hint="a saturated stain cannot be learnt: leave those wells out, or expose it less",
        )
