"""The recipe: frames in, masks out; the front door of the room.

Three passes, so that a result never depends on how the work was cut up. Statistics of each pair
(:func:`pair_statistics`), decisions once per field (:func:`~hcs.ssl.decide.decide`), then a mask
per frame (:func:`segment_frame`) from nothing but the frame, its reference and its decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError
from hcs.ssl import naive_bayes
from hcs.ssl.change import log_change, temporal_change
from hcs.ssl.decide import FrameDecision, PairStatistics, decide, needs_pool, pool
from hcs.ssl.displacement import displacement, drift, moved_by
from hcs.ssl.features import features
from hcs.ssl.grey import GreyRange, grey_range, histogram, to_grey
from hcs.ssl.mask import clear_border, component_areas, fill_holes, keep_large, typical_area
from hcs.ssl.naive_bayes import Model
from hcs.ssl.noise import blur, blur_sigma, noise_level
from hcs.ssl.refine import refine
from hcs.ssl.self_label import Labels, self_label
from hcs.ssl.separability import roc_area, separability
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
    "segment_frame",
]


@dataclass(frozen=True)
class PairImages:
    """What both passes compute from a pair; who runs both may hand it on.

    Attributes
    ----------
    frame, reference : ndarray of uint8, shape (y, x)
        On the field's grey scale, blurred as their noise asks.
    noise, blur_px : float
    moved : ndarray of float32, shape (2, y, x)
        Displacement since the reference, drift included, in pixels.
    features : ndarray of float32, shape (3, y, x)
    """

    frame: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    noise: float
    blur_px: float
    moved: NDArray[np.float32]
    features: NDArray[np.float32]


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


def pair_images(
    frame: NDArray[Any], reference: NDArray[Any], grey: GreyRange, settings: SslSettings
) -> PairImages:
    """Compute what both passes need of a pair: grey scale, noise, displacement, features.

    Parameters
    ----------
    frame, reference : ndarray, shape (y, x)
        Raw frames of one field.

    Raises
    ------
    FramesError
        If the two differ in shape.
    """
    if frame.shape != reference.shape:
        raise FramesError(f"frame of shape {frame.shape} against reference of {reference.shape}")
    here, there = to_grey(frame, grey), to_grey(reference, grey)
    noise = noise_level(here, there)
    sigma = blur_sigma(noise, settings.noise_for_unit_blur, settings.max_blur_px)
    here, there = blur(here, sigma), blur(there, sigma)
    return PairImages(here, there, noise, sigma, displacement(here, there), features(here))


def pair_statistics(
    frame: NDArray[Any],
    reference: NDArray[Any],
    grey: GreyRange,
    settings: SslSettings,
    images: PairImages | None = None,
) -> PairStatistics:
    """Pass a: label the pair's pixels, learn from them, and tell whether that can be believed.

    Parameters
    ----------
    frame, reference : ndarray, shape (y, x)
        Frame k and k - 1; of the first frame, the second.
    grey : GreyRange
        Of the whole field.
    images : PairImages or None
        :func:`pair_images` of the same pair, if at hand.
    """
    images = images or pair_images(frame, reference, grey, settings)
    shift = drift(images.frame, images.reference, images.moved)
    change = temporal_change(images.frame, moved_by(images.reference, shift))
    moved = images.moved - np.array(shift, np.float32)[:, None, None]
    labels = self_label(change, moved, images.features[0])
    fitted = _fit(images.features, labels, settings)
    model, changed = _after_em(images.features, fitted, change, settings)
    separated = tuple(
        separability(feature[labels.cell], feature[labels.background])
        for feature in images.features
    )
    blank = bool(images.frame.min() == images.frame.max())
    believed = min(float(np.mean(separated)), changed) >= settings.min_separability
    return PairStatistics(
        blank=blank,
        noise=images.noise,
        blur_px=images.blur_px,
        change_threshold=labels.change_threshold,
        displacement_threshold=labels.displacement_threshold,
        n_cell=int(np.count_nonzero(labels.cell)),
        n_background=int(np.count_nonzero(labels.background)),
        fitted=fitted,
        model=model,
        separability=separated,
        change_separability=changed,
        drift_px=shift,
        accepted=believed and model is not None and not blank,
    )


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
    images : PairImages or None
        :func:`pair_images` of the same pair, if at hand.
    """
    images = images or pair_images(frame, reference, grey, settings)
    forward = 1 if decision.reference == "previous" else -1
    drift_px = np.array(decision.drift_px, np.float32)[:, None, None]
    moved = (images.moved - drift_px) * np.float32(forward)
    if decision.model is None:
        nothing = np.zeros(images.frame.shape, bool)
        return FrameMask(nothing, nothing.astype(np.float32), moved)
    odds = naive_bayes.log_odds(images.features, decision.model)
    smallest = decision.min_area_px
    mask = fill_holes(keep_large(odds > 0, smallest), max_area_px=smallest)
    mask = refine(mask, images.frame, max_hole_px=smallest)
    if settings.clear_border == "clear":
        mask = clear_border(mask)
    return FrameMask(mask, naive_bayes.posterior(odds), moved)


def _fit(features: NDArray[np.float32], labels: Labels, settings: SslSettings) -> Model | None:
    n_cell = int(np.count_nonzero(labels.cell))
    n_background = int(np.count_nonzero(labels.background))
    if min(n_cell, n_background) < settings.min_labelled_pixels:
        return None
    prior = 0.5 if settings.prior == "equal" else n_cell / (n_cell + n_background)
    return naive_bayes.fit(features, labels.cell, labels.background, prior)


def _after_em(
    features: NDArray[np.float32],
    fitted: Model | None,
    change: NDArray[np.uint16],
    settings: SslSettings,
) -> tuple[Model | None, float]:
    if fitted is None:
        return None, 0.5
    model = naive_bayes.expectation_maximisation(features, fitted, settings.em_rounds)
    mask = naive_bayes.log_odds(features, model) > 0
    n = log_change().size
    inside = np.bincount(change[mask], minlength=n)
    outside = np.bincount(change[~mask], minlength=n)
    area = typical_area(component_areas(mask), settings.min_area_px)
    return replace(model, typical_area_px=area), roc_area(inside, outside)
