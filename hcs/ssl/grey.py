"""Grey range of a field (pass 0) and its frames on a common 8-bit scale.

Entropy and Farneback flow are not scale free: they need 0..255, stretched once per sequence and
never per frame, or a dim frame would look as busy as a bright one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError
from hcs.ssl.settings import SslSettings

N_KEYS = 65536
_SIGN = np.uint32(0x80000000)


@dataclass(frozen=True)
class GreyRange:
    """Grey values of a field that become 0 and 255, in units of the frames."""

    low: float
    high: float


EIGHT_BIT = GreyRange(0.0, 255.0)


def histogram(frame: NDArray[Any]) -> NDArray[np.int64]:
    """Count the pixels of one frame by a 16-bit key that keeps the order of grey values.

    Integers are their own key. Floats are cut to the upper 16 bits of their 32-bit pattern, so a
    key is exact to one part in 128 of the value.

    Parameters
    ----------
    frame : ndarray, shape (y, x)
        Grey values: any integer within 0..65535, or finite floats.

    Returns
    -------
    ndarray of int64, shape (65536,)
        Counts; histograms of frames may be added up.

    Raises
    ------
    FramesError
        If the frame is not 2-D, or holds NaN, infinities or values that do not fit.

    Examples
    --------
    >>> histogram(np.array([[3, 3, 7]], np.uint8))[[3, 7]].tolist()
    [2, 1]
    """
    if frame.ndim != 2 or frame.size == 0:
        raise FramesError(f"a frame has two axes (y, x) and pixels, got shape {frame.shape}")
    if frame.dtype.kind == "f":
        return _counts(_float_keys(frame))
    if frame.dtype.kind not in "ui":
        raise FramesError(f"cannot use pixel type {frame.dtype}", hint="integers or floats")
    if frame.dtype not in (np.uint8, np.uint16):
        low, high = int(frame.min()), int(frame.max())
        if low < 0 or high >= N_KEYS:
            raise FramesError(
                f"grey values {low} to {high} of type {frame.dtype} do not fit 0 to 65535"
            )
    return _counts(frame.astype(np.uint16, copy=False))


def grey_range(
    counts: NDArray[np.int64], dtype: np.dtype[Any] | type, settings: SslSettings
) -> GreyRange:
    """Return the grey values that become 0 and 255 in every frame of a field.

    Parameters
    ----------
    counts : ndarray of int64, shape (65536,)
        Sum of :func:`histogram` over the field's frames.
    dtype : numpy dtype
        Pixel type of the frames.

    Raises
    ------
    FramesError
        If all pixels of all frames have one grey value.

    Examples
    --------
    >>> frame = np.arange(100, dtype=np.uint8).reshape(10, 10)
    >>> grey_range(histogram(frame), frame.dtype, SslSettings())
    GreyRange(low=0.0, high=99.0)
    """
    kind = np.dtype(dtype)
    used = np.flatnonzero(counts)
    if used.size < 2:
        value = _key_to_value(int(used[0]), kind) if used.size else float("nan")
        raise FramesError(
            f"all {int(counts.sum())} pixels of the field have the grey value {value:g}",
            hint="constant frames cannot be segmented: is the channel right, was the lamp on?",
        )
    if settings.thresholds == "paper":
        return _full_range(kind)
    cumulated = np.cumsum(counts)
    total = int(cumulated[-1])
    low = int(np.searchsorted(cumulated, settings.low_percentile / 100 * total, side="right"))
    high = int(np.searchsorted(cumulated, settings.high_percentile / 100 * total, side="left"))
    if high <= low:  # nearly all pixels are equal: the few others are all there is to see
        low, high = int(used[0]), int(used[-1])
    if kind.kind == "f":
        return GreyRange(_key_to_value(low, kind), _key_to_value(high + 1, kind))
    return GreyRange(float(low), float(high))


def to_grey(frame: NDArray[Any], grey: GreyRange) -> NDArray[np.uint8]:
    """Stretch a frame to 0..255 by the range of its field; what lies outside is clipped.

    Examples
    --------
    >>> to_grey(np.array([[5, 10, 15, 99]], np.uint16), GreyRange(5, 15)).tolist()
    [[0, 128, 255, 255]]
    """
    if frame.dtype.kind == "f":
        return _stretch(frame.astype(np.float64), grey)
    top = 256 if frame.dtype == np.uint8 else N_KEYS
    table = _stretch(np.arange(top, dtype=np.float64), grey)
    if frame.dtype == np.uint8:
        return np.asarray(cv2.LUT(frame, table), np.uint8)
    return np.asarray(table[frame], np.uint8)


def _stretch(values: NDArray[np.float64], grey: GreyRange) -> NDArray[np.uint8]:
    scaled = (values - grey.low) * (255.0 / (grey.high - grey.low))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def _counts(keys: NDArray[np.uint16]) -> NDArray[np.int64]:
    return np.bincount(keys.ravel(), minlength=N_KEYS).astype(np.int64, copy=False)


def _float_keys(frame: NDArray[Any]) -> NDArray[np.uint16]:
    values = np.ascontiguousarray(frame, dtype=np.float32)
    n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if n_bad:
        raise FramesError(
            f"{n_bad} of {values.size} pixels are NaN or infinite",
            hint="replace them before the analysis",
        )
    # adding 0 turns -0.0 into 0.0, which has another bit pattern
    bits = (values + np.float32(0)).view(np.uint32)
    # IEEE 754: flip all bits of negatives, the sign of the others, and unsigned order is order
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (ordered >> np.uint32(16)).astype(np.uint16)


def _key_to_value(key: int, kind: np.dtype[Any]) -> float:
    if kind.kind != "f":
        return float(key)
    ordered = np.uint32(min(key, N_KEYS - 1)) << np.uint32(16)
    bits = ordered ^ _SIGN if ordered & _SIGN else ~ordered
    return float(np.array([bits], np.uint32).view(np.float32)[0])


def _full_range(kind: np.dtype[Any]) -> GreyRange:
    # Matlab's im2uint8: integers by the range of their type, floats are taken as 0 to 1 (A1)
    return GreyRange(0.0, 1.0 if kind.kind == "f" else float(np.iinfo(kind).max))
