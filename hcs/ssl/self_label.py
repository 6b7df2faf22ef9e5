"""Pixels that label themselves: what changed and moved is cell, what did neither is background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs.ssl.change import log_change
from hcs.ssl.counting import count_values, quantile_bin
from hcs.ssl.separability import otsu

_STILL_QUANTILE = 0.8  # A5.4
_FLOW_GRID = 4  # the flow is smooth: every fourth pixel tells its histogram
_FLOW_BINS = 256
_SMALLEST_FLOW_PX = 1e-4
MIN_ENTROPY = 1e-3  # flat pixels (saturated, padded) never train: .49 of .73 points of F1 (D3)


@dataclass(frozen=True)
class Labels:
    """Self-labelled pixels of a pair and the thresholds that made them.

    Attributes
    ----------
    cell, background : ndarray of bool, shape (y, x)
    change_threshold : float
        Mean change above which a pixel may be cell, in grey levels.
    displacement_threshold : float
        Displacement above which it may, in pixels per frame.
    """

    cell: NDArray[np.bool_]
    background: NDArray[np.bool_]
    change_threshold: float
    displacement_threshold: float


def self_label(
    change: NDArray[np.uint16], moved: NDArray[np.float32], entropy: NDArray[np.float32]
) -> Labels:
    """Label the pixels of a pair by their temporal change, confirmed by the flow (A5.4).

    Parameters
    ----------
    change : ndarray of uint16, shape (y, x)
        :func:`hcs.ssl.change.temporal_change` of the pair.
    moved : ndarray of float32, shape (2, y, x)
        Displacement without the drift, in pixels.
    entropy : ndarray of float32, shape (y, x)
    """
    textured = entropy > MIN_ENTROPY
    values = log_change()
    counts = count_values(change, textured, values.size)
    split = otsu(counts, values)
    cell_from = quantile_bin(counts[split + 1 :], 0.5) + split + 1
    background_to = quantile_bin(counts[: split + 1], _STILL_QUANTILE)
    squared = moved[0] * moved[0] + moved[1] * moved[1]
    threshold = _flow_threshold(squared[::_FLOW_GRID, ::_FLOW_GRID], textured)
    cell = textured & (change > cell_from) & (squared > threshold * threshold)
    background = textured & (change < background_to)
    return Labels(cell, background, float(np.expm1(values[cell_from])), threshold)


def _flow_threshold(squared: NDArray[np.float32], textured: NDArray[np.bool_]) -> float:
    magnitude = np.sqrt(squared[textured[::_FLOW_GRID, ::_FLOW_GRID]])
    if magnitude.size == 0:
        return 0.0
    logarithm = np.log10(magnitude.astype(np.float64) + _SMALLEST_FLOW_PX)
    counts, edges = np.histogram(logarithm, _FLOW_BINS)
    split = otsu(counts, (edges[1:] + edges[:-1]) / 2)
    return float(max(10 ** edges[split + 1] - _SMALLEST_FLOW_PX, 0.0))
