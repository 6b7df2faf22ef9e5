"""What a cell is: where it lies, how it moves and what it looks like, one array per property."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hcs.simulate.presets import Preset

N_MODES = 6
N_PROTRUSIONS = 4
N_GRANULES = 90
N_NUCLEOLI = 3
N_CHROMATIN = 14

# stages of a cell's life
SPREAD, ROUNDING, DYING, RESPREADING = 0, 1, 2, 3

NEVER_STOPS = 1_000_000


@dataclass(frozen=True)
class Population:
    """All cells alive at one frame; the first axis of every array counts cells.

    Parameters
    ----------
    serial, parent : ndarray of int64, shape (n,)
        Number of the cell in its field, from 1, and of its mother (0: none).
    position : ndarray of float64, shape (n, 2)
        Centre, y and x, pixels; may lie outside the field.
    heading : ndarray of float64, shape (n,)
        Direction of crawl and of the long axis, radians from x towards y.
    speed : ndarray of float64, shape (n,)
        Pixels per frame while it moves.
    stops_at : ndarray of int64, shape (n,)
        First frame at which it stands still; 0 for a cell that never moves.
    area : ndarray of float64, shape (n,)
        Spread area, square pixels.
    elongation : ndarray of float64, shape (n,)
        Long over short axis of the smooth outline.
    modes : ndarray of complex128, shape (n, N_MODES)
        Outline: log radius as a Fourier series, from the second harmonic on.
    protrusions : ndarray of float64, shape (n, N_PROTRUSIONS, 2)
        Angle to the heading, and length in radii of the body (none where negative).
    roundness : ndarray of float64, shape (n,)
        0 spread, 1 a ball.
    stage, age : ndarray of int64, shape (n,)
        SPREAD, ROUNDING, DYING or RESPREADING, and the frames spent in it.
    depth : ndarray of float64, shape (n,)
        Optical thickness relative to a typical cell.
    nucleus : ndarray of float64, shape (n, 5)
        Offset along and across the heading (of the mean radius), size (of the mean radius),
        axis ratio, angle to the heading.
    relief : ndarray of float64, shape (n,)
        Optical path of the nucleus against its cytoplasm, signed.
    nucleoli : ndarray of float64, shape (n, N_NUCLEOLI, 3)
        Polar place in the nucleus (radius 0..1, angle) and strength.
    chromatin : ndarray of float64, shape (n, N_CHROMATIN, 3)
        The same for the coarse pattern of the nuclear stain.
    granules : ndarray of float64, shape (n, N_GRANULES, 3)
        Polar place in the cell (radius 0..1, angle to the heading) and strength.
    expression : ndarray of float64, shape (n, 2)
        Brightness in the nuclear and the cell stain relative to a typical cell.
    """

    serial: NDArray[np.int64]
    parent: NDArray[np.int64]
    position: NDArray[np.float64]
    heading: NDArray[np.float64]
    speed: NDArray[np.float64]
    stops_at: NDArray[np.int64]
    area: NDArray[np.float64]
    elongation: NDArray[np.float64]
    modes: NDArray[np.complex128]
    protrusions: NDArray[np.float64]
    roundness: NDArray[np.float64]
    stage: NDArray[np.int64]
    age: NDArray[np.int64]
    depth: NDArray[np.float64]
    nucleus: NDArray[np.float64]
    relief: NDArray[np.float64]
    nucleoli: NDArray[np.float64]
    chromatin: NDArray[np.float64]
    granules: NDArray[np.float64]
    expression: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.serial)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the chosen cells, by mask or by index."""
        return type(self)(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @property
    def radius(self) -> NDArray[np.float64]:
        """Radius of the disk of the same drawn area, pixels."""
        # a cell that rounds up covers about half of its spread area
        return np.sqrt(self.area * (1 - 0.5 * self.roundness) / np.pi)


def join(populations: Sequence[Population]) -> Population:
    """Return one population of the cells of several."""
    return Population(
        **{
            f.name: np.concatenate([getattr(p, f.name) for p in populations])
            for f in fields(Population)
        }
    )


def outline_modes(n: int, irregularity: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Draw the Fourier modes of ``n`` outlines; high harmonics are weaker."""
    harmonics = np.arange(2, 2 + N_MODES)
    spread = irregularity * (harmonics / 2.0) ** -0.9
    noise = rng.standard_normal((n, N_MODES, 2)) * spread[None, :, None] / np.sqrt(2)
    return np.asarray(noise[..., 0] + 1j * noise[..., 1])


def protrusion_lengths(n: int, length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw how far protrusions reach, in radii of the body; about a third are not there."""
    return rng.normal(0.4 * length, length, (n, N_PROTRUSIONS))


def new_cells(
    position: NDArray[np.float64],
    area: NDArray[np.float64],
    preset: Preset,
    rng: np.random.Generator,
) -> Population:
    """Draw cells at given places: one spread cell per row of ``position``."""
    n = len(position)
    step_px = preset.step_diameters * preset.cell_diameter_px
    zeros = np.zeros(n, dtype=np.int64)
    # thick cells are clear, thin ones full of granules: no single measure finds both
    kind = np.clip(rng.standard_normal(n), -2, 2)
    return Population(
        serial=zeros,
        parent=zeros,
        position=np.asarray(position, dtype=np.float64),
        heading=rng.uniform(0, 2 * np.pi, n),
        speed=step_px * _around_one(n, 0.35, rng),
        stops_at=np.full(n, NEVER_STOPS),
        area=np.asarray(area, dtype=np.float64),
        elongation=1 + (preset.elongation - 1) * _around_one(n, 0.4, rng),
        modes=outline_modes(n, preset.irregularity, rng),
        protrusions=_protrusions(n, preset, rng),
        roundness=np.zeros(n),
        stage=zeros,
        age=zeros,
        depth=np.exp(preset.depth_spread * kind),
        nucleus=_nuclei(n, rng),
        relief=rng.choice([-1.0, 1.0], n, p=[0.3, 0.7]) * _around_one(n, 0.15, rng),
        nucleoli=_inside(n, N_NUCLEOLI, 0.6, rng),
        chromatin=_inside(n, N_CHROMATIN, 0.9, rng),
        granules=_granules(kind, preset, rng),
        expression=np.stack(
            [
                _around_one(n, preset.nuclear_stain_spread, rng),
                _around_one(n, preset.cell_stain_spread, rng),
            ],
            axis=1,
        ),
    )


def daughters(mothers: Population, preset: Preset, rng: np.random.Generator) -> Population:
    """Return two round daughters for every mother, side by side, without serials."""
    radius = np.sqrt(mothers.area / (4 * np.pi))
    axis = rng.uniform(0, 2 * np.pi, len(mothers))
    offset = 0.75 * radius[:, None] * np.stack([np.sin(axis), np.cos(axis)], axis=1)
    halves = []
    for sign in (1, -1):
        cells = new_cells(mothers.position + sign * offset, mothers.area / 2, preset, rng)
        halves.append(_resembling(cells, mothers))
    return join(halves)


def _resembling(cells: Population, mothers: Population) -> Population:
    ones = np.ones(len(cells))
    kept = {f.name: getattr(cells, f.name) for f in fields(cells)}
    kept |= {"parent": mothers.serial, "stops_at": mothers.stops_at, "roundness": ones}
    kept |= {"expression": mothers.expression, "depth": mothers.depth}
    kept |= {"stage": np.full(len(cells), RESPREADING), "speed": mothers.speed}
    return Population(**kept)


def _around_one(n: int, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw positive factors with median 1; two spreads at most either way."""
    return np.exp(spread * np.clip(rng.standard_normal(n), -2, 2))


def _protrusions(n: int, preset: Preset, rng: np.random.Generator) -> NDArray[np.float64]:
    # the first two lie ahead and behind, as in a spindle
    angle = rng.uniform(0, 2 * np.pi, (n, N_PROTRUSIONS))
    angle[:, :2] = np.array([0, np.pi]) + rng.normal(0, 0.3, (n, 2))
    return np.stack([angle, protrusion_lengths(n, preset.protrusion, rng)], axis=2)


def _nuclei(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.stack(
        [
            rng.normal(0, 0.12, n),
            rng.normal(0, 0.08, n),
            rng.uniform(0.42, 0.52, n),
            rng.uniform(1.1, 1.5, n),
            rng.normal(0, 0.4, n),
        ],
        axis=1,
    )


def _inside(n: int, count: int, reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    shape = (n, count)
    return np.stack(
        [
            reach * np.sqrt(rng.uniform(0, 1, shape)),
            rng.uniform(0, 2 * np.pi, shape),
            rng.normal(0, 1, shape),
        ],
        axis=2,
    )


def _granules(
    kind: NDArray[np.float64], preset: Preset, rng: np.random.Generator
) -> NDArray[np.float64]:
    granules = _inside(len(kind), N_GRANULES, 0.92, rng)
    strength = preset.granularity * np.exp(-preset.granularity_spread * kind)
    granules[..., 2] *= strength[:, None]
    return granules
