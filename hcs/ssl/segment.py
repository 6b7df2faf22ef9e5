"""The recipe: frames in, masks out; the front door of the room.

Three passes, so that a result never depends on how the work was cut up. Statistics of each pair
(:func:`~hcs.ssl.pair.pair_statistics`), decisions once per field
(:func:`~hcs.ssl.decide.decide`), then a mask per frame (:func:`segment_frame`) from nothing but
the frame, its reference and its decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.image.mask import Mask, clear_border, fill_holes, keep_large
from hcs.ssl import naive_bayes, paper
from hcs.ssl.decide import FrameDecision, PairStatistics, decide, needs_pool, pool
from hcs.ssl.features import entropy
from hcs.ssl.grey import GreyRange, grey_range, histogram
from hcs.ssl.naive_bayes import Model
from hcs.ssl.pair import PairImages, pair_images, pair_statistics, paper_flow, reference_index
from hcs.ssl.refine import refine
from hcs.ssl.settings import SslSettings

__all__ = [
    "FrameDecision",
    "FrameMask",
    "GreyRange",
    "Model",
    "PairImages",
    "PairStatistics",
    "SslSettings",
    "decide",
    "grey_range",
    "histogram",
    "needs_pool",
    "pair_images",
    "pair_statistics",
    "pool",
    "reference_index",
    "segment_frame",
]


@dataclass(frozen=True)
class FrameMask:
    """A segmented frame.

    Attributes
    ----------
    mask : ndarray of bool, shape (y, x)
    posterior : ndarray of float32, shape (y, x)
        P(cell) in [0, 1] as the classifier sees it, before size filter and boundary.
    displacement : ndarray of float32, shape (2, y, x)
        Along y and x, in pixels per frame, relative to the sample: the drift is taken off. Since
        the previous frame; of the first frame, until the next.
    """

    mask: NDArray[np.bool_]
    posterior: NDArray[np.float32]
    displacement: NDArray[np.float32]


def segment_frame(
    frame: NDArray[Any],
    reference: NDArray[Any],
    grey: GreyRange,
    decision: FrameDecision,
    settings: SslSettings,
    images: PairImages | None = None,
) -> FrameMask:
    """Pass c: mask, posterior and displacement of one frame.

    Depends on its arguments alone, so any cut into spans gives the same bits.

    Parameters
    ----------
    frame, reference : ndarray, shape (y, x)
        As in :func:`pair_statistics`.
    grey : GreyRange
        Of the whole field; a model of other fields brings its own, and every model its blur.
    images : PairImages or None
        :func:`pair_images` of the same pair, if at hand.
    """
    scale, blur_px = grey, None
    if decision.model:
        scale, blur_px = decision.model.grey, decision.model.blur_px
    if images is None or images.grey != scale or blur_px not in (None, images.blur_px):
        images = pair_images(frame, reference, scale, settings, blur_px)
    forward = 1 if decision.reference == "previous" else -1
    drift_px = np.array(decision.drift_px, np.float32)[:, None, None]
    moved = (images.moved - drift_px) * np.float32(forward)
    if settings.thresholds == "paper":
        mask, odds = _paper_mask(images, decision, settings)
    else:
        mask, odds = _mask(images, decision, settings)
    return FrameMask(mask, naive_bayes.posterior(odds), moved)


def _mask(
    images: PairImages, decision: FrameDecision, settings: SslSettings
) -> tuple[Mask, NDArray[np.float64]]:
    if decision.model is None:
        return _nothing(images)
    reached = naive_bayes.within_reach(images.features, decision.model)
    odds = naive_bayes.log_odds(reached, decision.model)
    smallest = decision.min_area_px
    mask = fill_holes(keep_large(odds > 0, smallest), max_area_px=smallest)
    mask = refine(mask, images.frame, max_hole_px=smallest)
    return (clear_border(mask) if settings.border == "clear" else mask), odds


def _paper_mask(
    images: PairImages, decision: FrameDecision, settings: SslSettings
) -> tuple[Mask, NDArray[np.float64]]:
    if decision.source == "none":
        return _nothing(images)
    labels = paper.paper_labels(
        paper_flow(images, settings),
        entropy(images.reference),
        decision.min_area_px,
        settings.paper_extra_entropy,
    )
    prior = 0.5 if settings.prior == "equal" else None
    model = paper.paper_model(images.features, labels, prior)
    if model is None:
        return _nothing(images)
    odds = naive_bayes.log_odds(images.features, model)
    mask = paper.paper_mask(odds, decision.min_area_px)
    return (mask if settings.border == "keep" else clear_border(mask)), odds


def _nothing(images: PairImages) -> tuple[Mask, NDArray[np.float64]]:
    # no model, no cells: log-odds of minus infinity are a posterior of 0
    shape = images.frame.shape
    return np.zeros(shape, bool), np.full(shape, -np.inf)
