"""Frames drawn with a known truth: cells that crawl, ground that does not."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GROUND = 100


@dataclass(frozen=True)
class Drawn:
    """Frames of uint8, shape (t, y, x), and where the cells are in them."""

    frames: NDArray[np.uint8]
    cells: NDArray[np.bool_]


def crawling_cells(
    seed: int, shape: tuple[int, int] = (192, 224), n_frames: int = 4, radius_px: int = 13
) -> Drawn:
    """Grainy discs on a grid, each walking its own way, on slightly shaded and noisy ground."""
    rng = np.random.default_rng(seed)
    pitch = 4 * radius_px
    rows, columns = (np.arange(pitch // 2, side, pitch) for side in shape)
    start = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2).astype(float)
    angle = rng.uniform(0, 2 * np.pi, len(start))
    step = rng.uniform(1.5, 2.5, len(start))[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    side = 2 * radius_px + 1
    grains = [_grain(rng, (side, side), 1.0) * 25 for _ in start]
    frames, cells = [], []
    for t in range(n_frames):
        frame = _shaded(shape)
        inside = np.zeros(shape, bool)
        for position, grain in zip(start + step * t, grains, strict=True):
            _stamp(frame, inside, position, grain)
        frames.append(_exposed(frame, rng))
        cells.append(inside)
    return Drawn(np.stack(frames), np.stack(cells))


def still_ground(
    seed: int, shape: tuple[int, int] = (192, 224), n_frames: int = 6, jitter_px: float = 0.0
) -> Drawn:
    """Patches of static texture under a stage that jitters; no cell anywhere."""
    rng = np.random.default_rng(seed)
    margin = 8
    large = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    patches = _grain(rng, large, 20.0) > 0
    texture = np.where(patches, _grain(rng, large, 1.2) * 12, 0).astype(np.float32)
    shifts = np.cumsum(rng.normal(0, jitter_px, (n_frames, 2)), axis=0)
    frames = []
    for dy, dx in np.clip(shifts, -margin + 2, margin - 2):
        matrix = np.array([[1, 0, dx], [0, 1, dy]])
        moved = cv2.warpAffine(texture, matrix, large[::-1], flags=cv2.INTER_CUBIC)
        frames.append(_exposed(_shaded(shape) + moved[margin:-margin, margin:-margin], rng))
    return Drawn(np.stack(frames), np.zeros((n_frames, *shape), bool))


def _shaded(shape: tuple[int, int]) -> NDArray[np.float32]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (GROUND - 8 * (y / shape[0] - 0.5) ** 2 - 6 * x / shape[1]).astype(np.float32)


def _grain(
    rng: np.random.Generator, shape: tuple[int, int], sigma_px: float
) -> NDArray[np.float32]:
    grain = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), sigma_px)
    return np.asarray(grain / grain.std(), np.float32)


def _stamp(
    frame: NDArray[np.float32],
    inside: NDArray[np.bool_],
    position: NDArray[np.float64],
    grain: NDArray[np.float32],
) -> None:
    radius = grain.shape[0] // 2
    cy, cx = np.rint(position).astype(int)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.argwhere(y * y + x * x <= radius * radius)
    to = disc + np.array([cy - radius, cx - radius])
    seen = ((to >= 0) & (to < frame.shape)).all(axis=1)
    disc, to = disc[seen], to[seen]
    frame[to[:, 0], to[:, 1]] += 12 + grain[disc[:, 0], disc[:, 1]]
    inside[to[:, 0], to[:, 1]] = True


def _exposed(frame: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(np.rint(frame + rng.normal(0, 1.5, frame.shape)), 0, 255).astype(np.uint8)
