"""Pass a: what one pair of frames tells, and the images that passes a and c share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError
from hcs.image.mask import component_areas, typical_area
from hcs.ssl import naive_bayes, paper
from hcs.ssl.change import MAX_CHANGE, temporal_change
from hcs.ssl.counting import count_values
from hcs.ssl.decide import PairStatistics
from hcs.ssl.displacement import displacement
from hcs.ssl.drift import Shift, drift, moved_by
from hcs.ssl.features import features
from hcs.ssl.grey import GreyRange, to_grey
from hcs.ssl.naive_bayes import Model
from hcs.ssl.noise import blur, blur_sigma, noise_level
from hcs.ssl.self_label import Labels, self_label
from hcs.ssl.separability import roc_area, separability
from hcs.ssl.settings import SslSettings

_SMALLEST_SIDE_PX = 32  # the windows of features and flow must fit in


@dataclass(frozen=True)
class PairImages:
    """What both passes compute from a pair; who runs both may hand it on.

    Attributes
    ----------
    frame, reference : ndarray of uint8, shape (y, x)
        On the grey scale ``grey``, blurred as their noise asks.
    grey : GreyRange
    noise, blur_px : float
    moved : ndarray of float32, shape (2, y, x)
        Displacement since the reference, drift included, in pixels.
    features : ndarray of float32, shape (n, y, x)
    """

    frame: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    grey: GreyRange
    noise: float
    blur_px: float
    moved: NDArray[np.float32]
    features: NDArray[np.float32]


def reference_index(index: int, n_frames: int) -> int:
    """Return the frame that a frame is compared with: the one before, of the first the second.

    Raises
    ------
    FramesError
        If there is no second frame.

    Examples
    --------
    >>> [reference_index(index, 3) for index in range(3)]
    [1, 0, 1]
    """
    if n_frames < 2:
        raise FramesError(f"{n_frames} frame(s) in the series", hint="SSL needs two")
    return index - 1 if index else 1


def pair_images(
    frame: NDArray[Any],
    reference: NDArray[Any],
    grey: GreyRange,
    settings: SslSettings,
    blur_px: float | None = None,
) -> PairImages:
    """Compute what both passes need of a pair: grey scale, noise, displacement, features.

    Parameters
    ----------
    frame, reference : ndarray, shape (y, x)
        Raw frames of one field.
    blur_px : float or None
        None: as much as the pair's noise asks for.

    Raises
    ------
    FramesError
        If the two differ in shape or are smaller than 32 pixels.
    """
    if frame.shape != reference.shape:
        raise FramesError(f"frame of shape {frame.shape} against reference of {reference.shape}")
    if min(frame.shape) < _SMALLEST_SIDE_PX:
        raise FramesError(f"frame of shape {frame.shape}: {_SMALLEST_SIDE_PX} pixels are the least")
    here, there = to_grey(frame, grey), to_grey(reference, grey)
    noise = noise_level(here, there)
    if settings.thresholds == "paper":
        moved = displacement(here, there)
        return PairImages(here, there, grey, noise, 0.0, moved, paper.paper_features(here))
    if blur_px is None:
        blur_px = blur_sigma(noise, settings.noise_for_unit_blur, settings.max_blur_px)
    here, there = blur(here, blur_px), blur(there, blur_px)
    return PairImages(here, there, grey, noise, blur_px, displacement(here, there), features(here))


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
        Frame k and k - 1; of the first frame, the second. See :func:`reference_index`.
    grey : GreyRange
        Of the whole field.
    images : PairImages or None
        :func:`pair_images` of the same pair, if at hand.
    """
    images = images or pair_images(frame, reference, grey, settings)
    shift = drift(images.frame, images.reference, images.moved)
    if settings.thresholds == "paper":
        return _paper_statistics(images, shift, settings)
    change = temporal_change(images.frame, moved_by(images.reference, shift))
    moved = images.moved - np.array(shift, np.float32)[:, None, None]
    labels = self_label(change, moved, images.features[0])
    fitted = _fit(images.features, labels, settings)
    model, changed = _after_em(images, fitted, change, settings)
    separated = tuple(
        separability(feature, labels.cell, labels.background) for feature in images.features
    )
    return PairStatistics(
        blank=_is_blank(images),
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
        moving_area_px=0.0,
        accepted=_is_separable(model, separated, changed, settings) and not _is_blank(images),
    )


def paper_flow(images: PairImages, settings: SslSettings) -> NDArray[np.float32]:
    """Return the flow that ``thresholds: paper`` labels by: from the reference or from black."""
    black = np.zeros_like(images.reference)
    start = black if settings.flow_reference == "black" else images.reference
    return paper.flow_magnitude(images.frame, start)


def _paper_statistics(images: PairImages, shift: Shift, settings: SslSettings) -> PairStatistics:
    # the labels need the first pair's minimum area, so this pair is trained in pass c
    return PairStatistics(
        blank=_is_blank(images),
        noise=images.noise,
        blur_px=0.0,
        change_threshold=0.0,
        displacement_threshold=0.0,
        n_cell=0,
        n_background=0,
        fitted=None,
        model=None,
        separability=(),
        change_separability=0.5,
        drift_px=shift,
        moving_area_px=paper.moving_area(paper_flow(images, settings)),
        accepted=not _is_blank(images),
    )


def _is_blank(images: PairImages) -> bool:
    return bool(images.frame.min() == images.frame.max())


def _is_separable(
    model: Model | None, separated: tuple[float, ...], changed: float, settings: SslSettings
) -> bool:
    if model is None:
        return False
    gap = model.cell_mean[0] - model.background_mean[0]  # of the entropy, the first feature
    least = min(float(np.mean(separated)), changed)
    return least >= settings.min_separability and gap >= settings.min_entropy_gap


def _fit(features: NDArray[np.float32], labels: Labels, settings: SslSettings) -> Model | None:
    n_cell = int(np.count_nonzero(labels.cell))
    n_background = int(np.count_nonzero(labels.background))
    if min(n_cell, n_background) < settings.min_labelled_pixels:
        return None
    prior = 0.5 if settings.prior == "equal" else n_cell / (n_cell + n_background)
    return naive_bayes.fit(features, labels.cell, labels.background, prior)


def _after_em(
    images: PairImages,
    fitted: Model | None,
    change: NDArray[np.uint16],
    settings: SslSettings,
) -> tuple[Model | None, float]:
    """Return the model after EM, and how well the change tells its mask from the rest."""
    if fitted is None:
        return None, 0.5
    model = naive_bayes.expectation_maximisation(images.features, fitted, settings.em_rounds)
    mask = naive_bayes.log_odds(images.features, model) > 0
    inside = count_values(change, mask, MAX_CHANGE + 1)
    outside = count_values(change, ~mask, MAX_CHANGE + 1)
    area = typical_area(component_areas(mask), settings.min_area_px)
    model = replace(model, typical_area_px=area, grey=images.grey, blur_px=images.blur_px)
    return model, roc_area(inside, outside)
