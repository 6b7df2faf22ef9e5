"""What stands beside every network: a filter bank, and ridge or a random forest on it.

METHODS B7 names the bank; the linear one is the bar that a network has to clear by a margin.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Image = NDArray[np.float32]

_BLURS = (1, 2, 4, 8, 16, 32)
_GRADIENTS = (1, 2, 4)
_SPREADS = (2, 4, 8, 16)
_CURVATURES = (2, 4)
FEATURES_PER_PLANE = 22
# pixels drawn for a fit: more changed the third digit of a ridge, and cost a forest minutes
_RIDGE_PIXELS = 100_000
_FOREST_PIXELS = 40_000
# a hundredth of the pixels: with 1 the six planes of sephaCe fall from PCC .76 to .36, and no
# other set cares
_RIDGE_ALPHA = 1000.0


def bank(planes: Image) -> Image:
    """Return the features of every pixel.

    Parameters
    ----------
    planes : ndarray of float32, shape (c, y, x)

    Returns
    -------
    ndarray of float32, shape (22 c, y, x)
        Per plane: six Gaussians, their five differences, three gradient magnitudes, four local
        standard deviations, two eigenvalues of the Hessian at two scales.
    """
    return np.concatenate([_plane_features(plane) for plane in planes])


def _plane_features(plane: Image) -> Image:
    blurred = [_blur(plane, sigma) for sigma in _BLURS]
    differences = [fine - coarse for fine, coarse in pairwise(blurred)]
    gradients = [_gradient(_blur(plane, sigma)) for sigma in _GRADIENTS]
    spreads = [_spread(plane, sigma) for sigma in _SPREADS]
    curvatures = [value for sigma in _CURVATURES for value in _curvatures(_blur(plane, sigma))]
    return np.stack([*blurred, *differences, *gradients, *spreads, *curvatures])


def _blur(plane: Image, sigma: float) -> Image:
    return np.asarray(
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32
    )


def _gradient(plane: Image) -> Image:
    down, right = np.gradient(plane)
    return np.hypot(down, right)


def _spread(plane: Image, sigma: float) -> Image:
    variance = _blur(plane * plane, sigma) - _blur(plane, sigma) ** 2
    return np.sqrt(np.maximum(variance, 0))


def _curvatures(plane: Image) -> tuple[Image, Image]:
    down, right = np.gradient(plane)
    (yy, yx), xx = np.gradient(down), np.gradient(right, axis=1)
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return middle + half, middle - half


class Baseline:
    """A regressor or classifier on the bank, fitted to drawn pixels of some images."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind = kind
        self._rng = np.random.default_rng(seed)
        self._model = _MODELS[kind](seed)

    def fit(self, images: list[Image], targets: list[Image]) -> Baseline:
        """Fit to images (c, y, x) and their targets (k, y, x); a forest of masks takes k = 1."""
        n = _RIDGE_PIXELS if self.kind == "ridge" else _FOREST_PIXELS
        each = -(-n // len(images))
        drawn = [self._draw(i, t, each) for i, t in zip(images, targets, strict=True)]
        features, values = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        # neighbouring scales tell nearly the same: single precision would solve that badly
        features = features.astype(np.float64 if self.kind == "ridge" else np.float32)
        self._model.fit(features, values[:, 0] if values.shape[1] == 1 else values)
        return self

    def _draw(self, image: Image, target: Image, n: int) -> tuple[Image, Image]:
        chosen = self._rng.choice(
            target[0].size, min(n, target[0].size), replace=False, shuffle=False
        )
        features = bank(image).reshape(-1, target[0].size)[:, chosen].T
        return features, target.reshape(len(target), -1)[:, chosen].T

    def predict(self, image: Image) -> Image:
        """Return (k, y, x): values of the target, or the probability of a mask."""
        features = bank(image)
        pixels = features.reshape(len(features), -1).T
        if self.kind == "forest_mask":
            values = self._model.predict_proba(pixels)[:, 1:]
        else:
            values = self._model.predict(pixels).reshape(len(pixels), -1)
        return np.asarray(values.T.reshape(-1, *image.shape[1:]), np.float32)


_FOREST = {"n_estimators": 60, "min_samples_leaf": 5, "max_features": "sqrt", "n_jobs": 1}
_MODELS = {
    "ridge": lambda _: make_pipeline(StandardScaler(), Ridge(alpha=_RIDGE_ALPHA)),
    "forest": lambda seed: RandomForestRegressor(**_FOREST, random_state=seed),
    "forest_mask": lambda seed: RandomForestClassifier(
        **_FOREST, class_weight="balanced", random_state=seed
    ),
}
