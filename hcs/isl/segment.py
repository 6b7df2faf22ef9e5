"""The recipe: planes of a field in, stains or objects out; around :mod:`hcs.isl.predict`.

No torch here: the plan asks for pixel sizes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.errors import WeightsError
from hcs.isl.card import ModelCard
from hcs.isl.heads import Prediction, cells_of, nuclei_of
from hcs.isl.normalise import standardise, to_grey
from hcs.isl.settings import IslSettings

# larger differences are a wrong unit rather than another objective (ours)
_LARGEST_SCALE = 8

Image = NDArray[np.float32]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Objects:
    """Objects of a frame.

    Attributes
    ----------
    labels : ndarray of uint32, shape (y, x)
    spread : ndarray of float32, shape (y, x), or None
        Standard deviation of the probability of foreground, in [0, 0.5].
    """

    labels: NDArray[np.uint32]
    spread: Image | None


def prepare(
    planes: NDArray[Any], card: ModelCard, pixel_size_um: float | None, settings: IslSettings
) -> Image:
    """Return the network's input: resampled to its pixel size if need be, then normalised.

    In this order, since the network saw a standard deviation of 1, and resampling takes noise.

    Parameters
    ----------
    planes : ndarray of any number type, shape (c, y, x)
        Whole planes of one frame, in the order of the card.
    card : ModelCard
    pixel_size_um : float or None
        Of the planes; unknown on either side counts as equal.
    settings : IslSettings

    Returns
    -------
    ndarray of float32, shape (c, y, x)

    Raises
    ------
    WeightsError
        If the pixel size differs and may not be rescaled.
    FramesError
        If a plane is constant or not finite.
    """
    scale = pixel_scale(card, pixel_size_um, settings)
    if scale == 1:
        return standardise(planes)
    height, width = (max(round(side * scale), 1) for side in planes.shape[-2:])
    return standardise(resampled(planes.astype(np.float32), (height, width)))


def pixel_scale(card: ModelCard, pixel_size_um: float | None, settings: IslSettings) -> float:
    """Return the factor on a plate's sides for the network to see its own pixel size.

    Returns
    -------
    float
        1.0 where the sizes differ within the tolerance, or one is unknown.

    Raises
    ------
    WeightsError
        If the pixel size differs and may not be rescaled, or differs by a factor over 8.
    """
    if pixel_size_um is None or card.pixel_size_um is None:
        return 1.0
    scale = pixel_size_um / card.pixel_size_um
    if abs(scale - 1) <= settings.pixel_size_tolerance:
        return 1.0
    sizes = (
        f"network {card.name} was trained at {card.pixel_size_um:g} um per pixel, the plate has "
        f"{pixel_size_um:g}"
    )
    if settings.pixel_size == "refuse":
        raise WeightsError(
            sizes, hint="set isl.pixel_size: rescale, or use a network of this pixel size"
        )
    if not 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE:
        raise WeightsError(
            f"{sizes}: {max(scale, 1 / scale):.0f} times as much or as little",
            hint="look whether the plate's pixel size is in micrometres",
        )
    return scale


def resampled(image: Image, shape: Shape) -> Image:
    """Return an image of another height and width; means of pixels where it shrinks.

    Parameters
    ----------
    image : ndarray of float32, shape (c, y, x)
    shape : tuple of int
        Height and width wanted.
    """
    if image.shape[-2:] == shape:
        return image
    smaller = shape[0] < image.shape[-2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([cv2.resize(plane, shape[::-1], interpolation=how) for plane in image])


def stains_of(
    prediction: Prediction, card: ModelCard, frame_shape: Shape
) -> tuple[Image, Image | None]:
    """Return predicted stains in grey levels, and their spread.

    Returns
    -------
    stains : ndarray of float32, shape (k, y, x)
        On the grey scale of the training plate.
    spread : ndarray of float32, shape (k, y, x), or None
        Standard deviation over flips and rotations, grey levels.
    """
    values = resampled(prediction.output, frame_shape)
    stains = np.stack([to_grey(v, t) for v, t in zip(values, card.targets, strict=True)])
    if prediction.spread is None:
        return stains, None
    scales = np.array([target.scale for target in card.targets], np.float32)
    return stains, resampled(prediction.spread, frame_shape) * scales[:, None, None]


def objects_of(
    prediction: Prediction, card: ModelCard, frame_shape: Shape, settings: IslSettings
) -> Objects:
    """Return the nuclei or cells of a frame, on the frame's own pixels."""
    output = resampled(prediction.output, frame_shape)
    smallest = settings.min_area_px
    if card.head == "nuclei":
        labels = nuclei_of(output[0], settings.threshold, smallest)
    else:
        distance, logit = output
        labels = cells_of(distance, logit, settings.threshold, settings.h, smallest)
    if prediction.spread is None:
        return Objects(labels, None)
    return Objects(labels, resampled(prediction.spread, frame_shape)[0])
