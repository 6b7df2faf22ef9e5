"""The cells of a field at its first frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcs.simulate.cells import NEVER_STOPS, RESPREADING, Population, new_cells
from hcs.simulate.presets import REFERENCE_AREA_PX, Preset

# cells also live around the field, so that some come in
MARGIN_PX = 40
_TRIES = 30


def seed_cells(
    preset: Preset,
    shape: tuple[int, int],
    n_frames: int,
    growth: float,
    rng: np.random.Generator,
) -> Population:
    """Draw the cells of the first frame, in and around a field.

    Parameters
    ----------
    preset : Preset
    shape : tuple of int
        Of the field, pixels.
    n_frames : int
        Frames to come; cells that stop do so among them.
    growth : float
        Of the well; a well whose cells hardly divide began with fewer.
    rng : numpy.random.Generator
    """
    height, width = (length + 2 * MARGIN_PX for length in shape)
    crowd = preset.cells_per_field * (0.6 + 0.4 * growth) * height * width / REFERENCE_AREA_PX
    n = int(rng.poisson(0.25 * crowd) + round(0.75 * crowd))
    area = np.pi / 4 * preset.cell_diameter_px**2 * np.exp(rng.normal(0, preset.area_spread, n))
    position = place(np.sqrt(area / np.pi), (height, width), preset.sociable_share, rng)
    cells = new_cells(position - MARGIN_PX, area, preset, rng)
    young = rng.uniform(0, 1, n) < 4 * preset.divisions_per_frame
    return replace(
        cells,
        serial=np.arange(1, n + 1),
        stops_at=_stops(n, n_frames, preset, rng),
        stage=np.where(young, RESPREADING, cells.stage),
        age=np.where(young, rng.integers(1, 5, n), 0),
    )


def place(
    radius: NDArray[np.float64],
    shape: tuple[int, int],
    sociable_share: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return a place for each disk, a given share of them beside another one.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Centres; disks neither overlap much nor leave the frame.
    """
    placed = np.empty((len(radius), 2))
    for i, r in enumerate(radius):
        sociable = i > 0 and rng.uniform() < sociable_share
        tries = rng.uniform(0, 1, (_TRIES, 2)) * np.asarray(shape)
        if sociable:
            friends = rng.integers(0, i, _TRIES)
            angle = rng.uniform(0, 2 * np.pi, _TRIES)
            reach = 0.9 * (radius[friends] + r)
            tries = placed[friends] + reach[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
            tries = np.clip(tries, 0, np.asarray(shape))
        placed[i] = _roomiest(tries, placed[:i], radius[:i], r)
    return placed


def _roomiest(
    tries: NDArray[np.float64],
    placed: NDArray[np.float64],
    radius: NDArray[np.float64],
    r: float,
) -> NDArray[np.float64]:
    """Return the first try that has room, or else the one with most of it."""
    if not len(placed):
        return np.asarray(tries[0])
    away = tries[:, None] - placed[None]
    room = (np.hypot(away[..., 0], away[..., 1]) / (radius[None] + r)).min(axis=1)
    return np.asarray(tries[np.argmax(np.minimum(room, 0.85))])


def _stops(n: int, n_frames: int, preset: Preset, rng: np.random.Generator) -> NDArray[np.int64]:
    draw = rng.uniform(0, 1, n)
    when = rng.integers(1, max(n_frames, 2), n)
    stops = np.where(draw < preset.resting_share + preset.stopping_share, when, NEVER_STOPS)
    return np.where(draw < preset.resting_share, 0, stops)
