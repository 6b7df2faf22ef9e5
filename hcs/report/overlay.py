"""Outlines of a label image over the frame it was found in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

# neighbouring ids get hues far apart: steps of the golden ratio around the colour circle
_GOLDEN = 0.618033988749895


def to_display(frame: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Stretch a frame to the range of a screen.

    Parameters
    ----------
    frame : ndarray of any number, shape (y, x)

    Returns
    -------
    ndarray of uint8, shape (y, x)
        The 0.5 % and 99.5 % quantiles at 0 and 255. For looking at, never for measuring.

    Examples
    --------
    >>> to_display(np.array([[100, 200], [300, 400]], dtype=np.uint16)).tolist()
    [[0, 85], [170, 255]]
    """
    grey = frame.astype(np.float64)
    low, high = np.quantile(grey, [0.005, 0.995])
    span = max(high - low, np.finfo(np.float32).tiny)
    stretched: NDArray[np.float64] = np.clip((grey - low) / span, 0, 1) * 255
    return stretched.round().astype(np.uint8)


def label_color(label: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return one bright colour per label id, the same in every frame.

    Parameters
    ----------
    label : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of uint8, shape (n, 3)
        RGB.
    """
    hue = ((label * _GOLDEN) % 1 * 255).round().astype(np.uint8)
    steps = np.arange(256, dtype=np.uint8)[:, np.newaxis]
    wheel = cv2.applyColorMap(steps, cv2.COLORMAP_HSV).astype(np.uint8)[:, 0, ::-1]
    return wheel[hue]


def draw_outlines(
    frame: NDArray[np.generic],
    labels: NDArray[np.uint32],
    truth: NDArray[np.uint32] | None = None,
) -> NDArray[np.uint8]:
    """Draw every object's outline in its own colour, the truth's in white dots.

    Parameters
    ----------
    frame : ndarray of any number, shape (y, x)
    labels : ndarray of uint32, shape (y, x)
        0 is background.
    truth : ndarray of uint32, shape (y, x), optional

    Returns
    -------
    ndarray of uint8, shape (y, x, 3)
        RGB.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> frame = np.arange(16, dtype=np.uint8).reshape(4, 4)
    >>> draw_outlines(frame, np.zeros((4, 4), np.uint32)).shape
    (4, 4, 3)
    """
    for image in (labels, truth):
        if image is not None and image.shape != frame.shape:
            raise ValueError(f"label image of shape {image.shape} on a frame of {frame.shape}")
    picture = np.repeat(to_display(frame)[..., np.newaxis], 3, axis=-1)
    if truth is not None:
        dotted = find_boundaries(truth, mode="inner")
        dotted[::3] = False
        picture[dotted] = 255
    edge = find_boundaries(labels, mode="inner")
    picture[edge] = label_color(labels[edge].astype(np.int64))
    return picture


def montage(pictures: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Lay pictures of one size side by side, row by row, with a white line between.

    Parameters
    ----------
    pictures : list of ndarray of uint8, shape (y, x, 3)
    columns : int

    Returns
    -------
    ndarray of uint8, shape (rows of pictures, columns of pictures, 3)
        Places without a picture stay white.

    Examples
    --------
    >>> black = np.zeros((2, 3, 3), np.uint8)
    >>> montage([black, black, black], columns=2).shape
    (6, 8, 3)
    """
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    gap = 2
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    page = np.full(shape, 255, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        page[y : y + height, x : x + width] = picture
    return page


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture as the bytes of a PNG file.

    Examples
    --------
    >>> encode_png(np.zeros((2, 2, 3), np.uint8))[1:4]
    b'PNG'
    """
    encoded: NDArray[np.uint8] = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    return encoded.tobytes()
