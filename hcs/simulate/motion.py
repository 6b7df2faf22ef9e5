"""One frame later: cells crawl, change shape, divide and die."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcs.simulate.cells import (
    DYING,
    RESPREADING,
    ROUNDING,
    SPREAD,
    Population,
    daughters,
    join,
    outline_modes,
    protrusion_lengths,
)
from hcs.simulate.presets import Preset

# frames that a cell takes; at 600 s a mitosis lasts half an hour, a death an hour
_ROUNDING_FRAMES = 3
_RESPREADING_FRAMES = 4
_DYING_FRAMES = 6


@dataclass(frozen=True)
class Treatment:
    """What a well's condition does to its cells: factors, 1 for an untreated well.

    Parameters
    ----------
    motility : float
        On the step per frame.
    growth : float
        On the rate of division, and on the cells that are there at the first frame.
    death : float
        On the rate of death.
    """

    motility: float = 1.0
    growth: float = 1.0
    death: float = 1.0


UNTREATED = Treatment()


@dataclass(frozen=True)
class Step:
    """What one step made of a population.

    Parameters
    ----------
    cells : Population
        After the step; daughters have serials.
    divided, died : ndarray of int64
        Serials of the cells that ended in this step.
    died_at : ndarray of float64, shape (n, 2)
        Where the dead lay, pixels.
    """

    cells: Population
    divided: NDArray[np.int64]
    died: NDArray[np.int64]
    died_at: NDArray[np.float64]


def advance(
    cells: Population,
    frame: int,
    next_serial: int,
    preset: Preset,
    treatment: Treatment,
    rng: np.random.Generator,
) -> Step:
    """Return the population at ``frame``, made from the one before it."""
    active = frame < cells.stops_at
    cells = _reshape(_crawl(cells, active, preset, treatment, rng), active, preset, rng)
    cells = _age(cells, preset, treatment, rng)
    dies = (cells.stage == DYING) & (cells.age > _DYING_FRAMES)
    divides = (cells.stage == ROUNDING) & (cells.age > _ROUNDING_FRAMES)
    born = daughters(cells.take(divides), preset, rng)
    born = replace(born, serial=next_serial + np.arange(len(born)))
    return Step(
        cells=join([cells.take(~(dies | divides)), born]),
        divided=cells.serial[divides],
        died=cells.serial[dies],
        died_at=cells.position[dies],
    )


def _crawl(
    cells: Population,
    active: NDArray[np.bool_],
    preset: Preset,
    treatment: Treatment,
    rng: np.random.Generator,
) -> Population:
    """Move along the heading, which turns slowly: a persistent random walk."""
    heading = cells.heading + active * rng.normal(0, preset.turn_rad, len(cells))
    pace = active * treatment.motility * cells.speed * (1 - cells.roundness)
    step = pace[:, None] * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    moving = (active & (cells.stage == SPREAD))[:, None] * treatment.motility
    push = moving * repulsion(cells.position, cells.radius)
    return replace(cells, heading=heading, position=cells.position + step + push)


def repulsion(position: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the push in pixels that keeps cells from lying on each other.

    Examples
    --------
    >>> import numpy as np
    >>> repulsion(np.array([[0.0, 0.0], [0.0, 6.0]]), np.array([5.0, 5.0])).round(2)
    array([[ 0. , -0.5],
           [ 0. ,  0.5]])
    """
    away = position[:, None] - position[None]
    distance = np.hypot(away[..., 0], away[..., 1])
    np.fill_diagonal(distance, np.inf)
    # contact begins at the sum of the radii; touching cells stay in touch
    overlap = np.clip(0.8 * (radius[:, None] + radius[None]) - distance, 0, None)
    direction = away / np.maximum(distance, 1e-6)[..., None]
    return np.asarray(0.25 * (overlap[..., None] * direction).sum(axis=1))


def _reshape(
    cells: Population, active: NDArray[np.bool_], preset: Preset, rng: np.random.Generator
) -> Population:
    """Let the outline and the granules wander; those of a standing cell stay as they are."""
    keep = np.where(active, 1 - preset.reshaping, 1.0)
    fresh = outline_modes(len(cells), preset.irregularity, rng)
    modes = keep[:, None] * cells.modes + np.sqrt(1 - keep**2)[:, None] * fresh
    protrusions, granules = cells.protrusions.copy(), cells.granules.copy()
    lengths = protrusion_lengths(len(cells), preset.protrusion, rng)
    renewed = keep[:, None] * (protrusions[..., 1] - 0.4 * preset.protrusion)
    renewed += np.sqrt(1 - keep**2)[:, None] * (lengths - 0.4 * preset.protrusion)
    protrusions[..., 1] = 0.4 * preset.protrusion + renewed
    jitter = active[:, None] * preset.granule_jitter
    granules[..., 0] = np.clip(granules[..., 0] + jitter * _normal(granules, rng), 0, 0.95)
    granules[..., 1] += 1.5 * jitter * _normal(granules, rng)
    return replace(cells, modes=modes, protrusions=protrusions, granules=granules)


def _normal(granules: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal(granules.shape[:2])


def _age(
    cells: Population, preset: Preset, treatment: Treatment, rng: np.random.Generator
) -> Population:
    """Grow, begin to divide or to die, and round up or spread again."""
    draw = rng.uniform(0, 1, len(cells))
    p_death = preset.deaths_per_frame * treatment.death
    p_division = preset.divisions_per_frame * treatment.growth
    spread = cells.stage == SPREAD
    stage = np.where(spread & (draw < p_death), DYING, cells.stage)
    stage = np.where(spread & (draw > 1 - p_division), ROUNDING, stage)
    age = np.where(stage == cells.stage, cells.age + 1, 1)
    back = (stage == RESPREADING) & (age > _RESPREADING_FRAMES)
    stage, age = np.where(back, SPREAD, stage), np.where(back, 0, age)
    shrink = np.where((stage == DYING) & (age > 2), 0.86, 1.0)
    growth = np.where(stage == SPREAD, 1 + 0.004 * treatment.growth, 1.0)
    return replace(
        cells,
        stage=stage,
        age=age,
        roundness=_roundness(stage, age),
        area=cells.area * shrink * growth,
    )


def _roundness(stage: NDArray[np.int64], age: NDArray[np.int64]) -> NDArray[np.float64]:
    rounding = np.minimum(age / 2.0, 1.0)
    spreading = np.clip(1 - age / (_RESPREADING_FRAMES + 1.0), 0, 1)
    return np.select([stage == SPREAD, stage == RESPREADING], [0.0 * age, spreading], rounding)
