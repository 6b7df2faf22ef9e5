"""What lies under and around the cells and never moves: coating, debris, remains of the dead."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.simulate.draw import Image
from hcs.simulate.grains import splat, spread
from hcs.simulate.presets import REFERENCE_AREA_PX, Preset

# the plate is drawn wider than the field, since the stage drifts
PLATE_MARGIN_PX = 24


def substrate(preset: Preset, shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return the optical path of the empty plate, rad, wider than the field by a margin."""
    height, width = (length + 2 * PLATE_MARGIN_PX for length in shape)
    wide = (height, width)
    coating = preset.texture_rad * _patches(wide, preset.texture_share, rng) * _rough(wide, rng)
    n = round(preset.debris_per_field * height * width / REFERENCE_AREA_PX)
    where = rng.uniform(0, 1, (n, 2)) * wide
    kind = rng.integers(0, 3, n)
    image = coating + remains(where[kind == 0], wide, rng)
    image += _clumps(where[kind == 1], wide, rng) + _balls(where[kind == 2], wide, rng)
    return image


def shift(image: Image, drift: tuple[float, float]) -> Image:
    """Return the part of the plate that the camera sees after the stage has drifted."""
    height, width = (length - 2 * PLATE_MARGIN_PX for length in image.shape)
    matrix = np.array(
        [[1, 0, PLATE_MARGIN_PX - drift[1]], [0, 1, PLATE_MARGIN_PX - drift[0]]], np.float64
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=flags))


def remains(where: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return what is left of dead cells: a few bright fragments each."""
    return _fragments(where, shape, count=9, reach_px=6.0, strength=0.6, rng=rng)


def _clumps(where: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator) -> Image:
    return _fragments(where, shape, count=45, reach_px=13.0, strength=0.3, rng=rng)


def _fragments(
    where: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    count: int,
    reach_px: float,
    strength: float,
    rng: np.random.Generator,
) -> Image:
    n = len(where)
    scatter = reach_px * rng.normal(0, 0.5, (n, count, 2)) * rng.uniform(0.5, 1.3, (n, 1, 2))
    points = (where[:, None] + scatter).reshape(-1, 2)
    size = strength * rng.normal(0.4, 0.8, len(points))
    half = len(points) // 2
    fine = splat(points[:half, 0], points[:half, 1], size[:half], shape)
    coarse = splat(points[half:, 0], points[half:, 1], size[half:], shape)
    return spread(fine, 0.9) + spread(coarse, 1.6)


def _balls(where: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return floating or stuck round things, thick enough to look bright in phase contrast."""
    image = np.zeros(shape, np.float32)
    for sigma in (2.5, 3.5, 4.5):
        mine = rng.integers(0, 3, len(where)) == 0
        strength = rng.uniform(0.5, 2.0, len(where)) * mine
        image += spread(splat(where[:, 0], where[:, 1], strength, shape), sigma)
    return image


def _patches(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Image:
    """Return soft-edged regions that cover a share of the frame, 0..1."""
    if share == 0:
        return np.zeros(shape, np.float32)
    field = _smooth_noise(shape, 22.0, rng)
    edge = np.quantile(field, 1 - share)
    return np.asarray(np.clip((field - edge) / 0.8 + 0.5, 0, 1), np.float32)


def _rough(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return fine relief of unit variance."""
    noise = rng.standard_normal(shape, np.float32)
    relief = cv2.GaussianBlur(noise, (0, 0), 0.8) - cv2.GaussianBlur(noise, (0, 0), 1.6)
    return np.asarray(relief / relief.std())


def _smooth_noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> Image:
    """Return smooth noise of unit variance, made on a coarse grid."""
    step = 8
    coarse = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2), np.float32)
    smooth = cv2.GaussianBlur(coarse, (0, 0), sigma_px / step)
    field = cv2.resize(smooth, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std())
