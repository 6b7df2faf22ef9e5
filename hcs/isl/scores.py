"""How good a network's output is, on frames that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hcs.isl.card import Head

Image = NDArray[np.float32]


def fit_scores(head: Head, outputs: Iterable[Image], targets: Iterable[Image]) -> dict[str, float]:
    """Return the mean over frames of what suits the head.

    Parameters
    ----------
    head : {"stain", "nuclei", "cells"}
    outputs : iterable of ndarray of float32, shape (k, y, x)
        Raw outputs of a network.
    targets : iterable of ndarray of float32, shape (k, y, x)

    Returns
    -------
    dict of str to float
        stain: pcc; nuclei: iou; cells: iou of the mask and mse of the distance map (B3).

    Examples
    --------
    >>> truth = np.float32([[[0, 1, 1]]])
    >>> fit_scores("nuclei", [np.float32([[[-2, 3, -1]]])], [truth])
    {'iou': 0.666...}
    """
    frames = [
        frame_scores(head, output, target) for output, target in zip(outputs, targets, strict=True)
    ]
    return mean_scores(frames)


def frame_scores(
    head: Head, output: Image, target: Image, weight: Image | None = None
) -> dict[str, float]:
    """Return the scores of one frame; a score that is not defined is left out.

    Parameters
    ----------
    output, target : ndarray of float32, shape (k, y, x)
    weight : ndarray of float32, shape (y, x), optional
        Pixels of weight 0 are left out.
    """
    known = np.ones(target.shape[1:], bool) if weight is None else weight > 0
    out, true = output[:, known], target[:, known]
    if head == "stain":
        each = [_pearson(a, b) for a, b in zip(out, true, strict=True)]
        defined = [value for value in each if value is not None]
        return {"pcc": float(np.mean(defined))} if defined else {}
    if head == "nuclei":
        return {"iou": _iou(out[0] > 0, true[0] > 0.5)}
    mse = float(np.mean((out[0] - true[0]) ** 2, dtype=np.float64)) if known.any() else 0.0
    return {"iou": _iou(out[1] > 0, true[1] > 0.5), "mse": mse}


def mean_scores(frames: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each score over the frames that have it."""
    names = sorted({name for frame in frames for name in frame})
    return {name: float(np.mean([f[name] for f in frames if name in f])) for name in names}


def _pearson(a: Image, b: Image) -> float | None:
    """Return the correlation; None where one is constant and there is none to speak of."""
    if not a.size or a.min() == a.max() or b.min() == b.max():
        return None
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return (intersection + 1) / (union + 1): 1 when both are empty (B3)."""
    return float((np.count_nonzero(a & b) + 1) / (np.count_nonzero(a | b) + 1))
