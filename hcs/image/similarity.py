"""How alike two images of one scene are: a predicted stain and the measured one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

# Wang et al. 2004: Gaussian window of sigma 1.5 px, cut at 3.5 sigma
_SIGMA_PX = 1.5
_WINDOW_PX = 11
# the range of grey levels, in per cent: a hot pixel is no part of it
_RANGE = (0.1, 99.9)


def pearson(image: NDArray[np.number], truth: NDArray[np.number]) -> float:
    """Return Pearson's correlation of the pixels of two images (PCC, METHODS eq. 3).

    Parameters
    ----------
    image, truth : ndarray of any real type, of one shape

    Returns
    -------
    float
        In [-1, 1]; gain and offset of either do not matter. NaN where one of them is constant:
        what does not vary goes neither with the other nor against it.

    Raises
    ------
    ValueError
        If their shapes differ.

    Examples
    --------
    >>> round(pearson(np.array([[1, 2, 3]]), np.array([[10, 30, 50]])), 6)
    1.0
    >>> pearson(np.array([[1, 2, 3]]), np.array([[7, 7, 7]]))
    nan
    """
    _check_shapes(image, truth)
    a, b = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (image, truth))
    a, b = a.ravel(), b.ravel()
    spread = float(np.sqrt(a @ a) * np.sqrt(b @ b))
    # the mean of a constant may differ from it in the last digit
    if np.ptp(image) == 0 or np.ptp(truth) == 0 or spread == 0:
        return float("nan")
    return float(np.clip(a @ b / spread, -1, 1))


def ssim(image: NDArray[np.number], truth: NDArray[np.number]) -> float:
    """Return the mean structural similarity of an image to its truth (Wang et al. 2004).

    Parameters
    ----------
    image, truth : ndarray of any real type, shape (y, x)
        Grey levels of one scale. The dynamic range is the truth's, from its 0.1 to its 99.9 per
        cent quantile.

    Returns
    -------
    float
        At most 1, which only equal images reach. NaN where the truth is constant: it has no range
        against which a difference is large or small.

    Raises
    ------
    ValueError
        If their shapes differ, or a side is shorter than the window of 11 pixels.

    Examples
    --------
    >>> truth = np.add.outer(np.arange(16), np.arange(16)) % 5
    >>> ssim(truth, truth), ssim(truth, np.zeros((16, 16)))
    (1.0, nan)
    """
    _check_shapes(image, truth)
    if min(truth.shape) < _WINDOW_PX:
        raise ValueError(f"SSIM needs sides of {_WINDOW_PX} pixels, the images are {truth.shape}")
    low, high = np.percentile(truth, _RANGE)
    # where less than 0.1 per cent is stained
    span = float(high - low) or float(np.ptp(truth))
    if span == 0:
        return float("nan")
    return float(
        structural_similarity(
            image.astype(np.float64),
            truth.astype(np.float64),
            gaussian_weights=True,
            sigma=_SIGMA_PX,
            use_sample_covariance=False,
            data_range=span,
        )
    )


def rmse(image: NDArray[np.number], truth: NDArray[np.number]) -> float:
    """Return the root of the mean squared difference of two images, in their grey levels.

    Raises
    ------
    ValueError
        If their shapes differ.

    Examples
    --------
    >>> rmse(np.array([[1, 2]]), np.array([[4, 2]])) == 4.5**0.5
    True
    """
    _check_shapes(image, truth)
    difference = image.astype(np.float64) - truth.astype(np.float64)
    return float(np.sqrt(np.mean(difference**2)))


def _check_shapes(image: NDArray[np.number], truth: NDArray[np.number]) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"the image is {image.shape} pixels, its truth is {truth.shape}")
