"""One field of view over time: cells live, optics look at them, the truth is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hcs.simulate import grains, optics, stains, substrate
from hcs.simulate.accidents import spoil
from hcs.simulate.cells import Population
from hcs.simulate.draw import Drawing, Image, draw
from hcs.simulate.motion import UNTREATED, Step, Treatment, advance
from hcs.simulate.presets import Optics, Preset
from hcs.simulate.seeding import seed_cells
from hcs.simulate.settings import AccidentKind
from hcs.simulate.tracks import Life, clean, tracks

# fields differ in contrast by this many sigma either way
_WORST = 1.5


@dataclass(frozen=True)
class Scene:
    """How a field is looked at and what happens to it.

    Parameters
    ----------
    shape : tuple of int
        Height and width, pixels.
    n_frames : int
    optics : {"phase", "brightfield"}
    treatment : Treatment
    brightness : float
        Of the light, 1 for a well inside the plate.
    accident : AccidentKind or None
    """

    shape: tuple[int, int] = (512, 512)
    n_frames: int = 10
    optics: Optics = "phase"
    treatment: Treatment = UNTREATED
    brightness: float = 1.0
    accident: AccidentKind | None = None


@dataclass(frozen=True)
class SimulatedField:
    """What the microscope saw and what was there.

    Parameters
    ----------
    frames : ndarray of uint16, shape (t, c, y, x)
        Label-free channel, nuclear stain, cell stain.
    noiseless : ndarray of uint16, shape (t, y, x)
        The label-free channel without noise and accidents.
    cells, nuclei : ndarray of uint32, shape (t, y, x)
        Labels, the same id for a cell and its nucleus, unique over time.
    tracks : DataFrame
        One row per label; see ``hcs.simulate.tracks``.
    """

    frames: NDArray[np.uint16]
    noiseless: NDArray[np.uint16]
    cells: NDArray[np.uint32]
    nuclei: NDArray[np.uint32]
    tracks: pd.DataFrame


def simulate_field(preset: Preset, scene: Scene, seed: np.random.SeedSequence) -> SimulatedField:
    """Simulate one field of view.

    Parameters
    ----------
    preset : Preset
    scene : Scene
    seed : numpy.random.SeedSequence
        Of this field alone; the same seed gives the same field.
    """
    # of a copy, since a seed counts its children: the second call would draw another field
    children = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(4)
    life_rng, plate_rng, light_rng, camera_rng = map(np.random.default_rng, children)
    light = optics.light(
        scene.shape, preset.vignetting, preset.blobs_per_field, preset.blob_depth, light_rng
    ) * np.float32(scene.brightness)
    contrast = _fading(preset, light_rng)
    plate = substrate.substrate(preset, scene.shape, plate_rng)
    drift = np.cumsum(plate_rng.normal(0, preset.drift_px, (scene.n_frames, 2)), axis=0)
    drift = np.clip(
        drift - drift[:1], -substrate.PLATE_MARGIN_PX + 2, substrate.PLATE_MARGIN_PX - 2
    )
    cells, lives = _first_cells(preset, scene, life_rng)
    frames, noiseless, owners, nuclei = [], [], [], []
    for t in range(scene.n_frames):
        if t > 0:
            step = advance(cells, t, max(lives, default=0) + 1, preset, scene.treatment, life_rng)
            cells, lives = step.cells, _record(lives, step)
            plate = _bury(plate, step, preset, plate_rng)
        seen = replace(cells, position=cells.position + drift[t])
        drawing = draw(seen, scene.shape)
        under = substrate.shift(plate, (float(drift[t, 0]), float(drift[t, 1])))
        images = _images(seen, drawing, under, preset, scene.optics)
        labelfree = light * (1 + contrast * (images[0] - 1))
        images = (labelfree, *images[1:])
        noiseless.append(optics.quantise(images[0], optics.BACKGROUND_GREY))
        spoiled = spoil(images, scene.accident, t, scene.n_frames)
        frames.append(_expose(spoiled, preset, scene.optics, camera_rng))
        owners.append(clean(drawing.owner))
        nuclei.append(drawing.nucleus)
    labels, table = tracks(np.stack(owners), lives)
    return SimulatedField(
        frames=np.stack(frames),
        noiseless=np.stack(noiseless),
        cells=labels,
        nuclei=np.where(np.stack(nuclei) > 0, labels, 0).astype(np.uint32),
        tracks=table,
    )


def _first_cells(
    preset: Preset, scene: Scene, rng: np.random.Generator
) -> tuple[Population, dict[int, Life]]:
    cells = seed_cells(preset, scene.shape, scene.n_frames, scene.treatment.growth, rng)
    if scene.accident == "empty_well":
        cells = cells.take(np.zeros(len(cells), dtype=bool))
    return cells, _lives(cells)


def _lives(cells: Population) -> dict[int, Life]:
    return {
        int(serial): Life(int(parent), int(stops))
        for serial, parent, stops in zip(cells.serial, cells.parent, cells.stops_at, strict=True)
    }


def _record(lives: dict[int, Life], step: Step) -> dict[int, Life]:
    """Return the lives with this step's births and ends."""
    ended = {int(s): replace(lives[int(s)], end="division") for s in step.divided}
    ended |= {int(s): replace(lives[int(s)], end="death") for s in step.died}
    return _lives(step.cells) | lives | ended


def _bury(plate: Image, step: Step, preset: Preset, rng: np.random.Generator) -> Image:
    """Return the plate with what half of this step's dead leave behind."""
    stays = rng.uniform(0, 1, len(step.died)) < 0.5
    where = step.died_at[stays] + substrate.PLATE_MARGIN_PX
    if not len(where):
        return plate
    return plate + substrate.remains(where, (plate.shape[0], plate.shape[1]), rng)


def _images(
    cells: Population,
    drawing: Drawing,
    under: Image,
    preset: Preset,
    kind: Optics,
) -> tuple[Image, Image, Image]:
    """Return the three channels before the camera."""
    shape = (drawing.owner.shape[0], drawing.owner.shape[1])
    spots = grains.granules(cells, drawing.owner)
    dots = grains.within_nuclei(cells, np.abs(cells.nucleoli) * [1, 1, 1], 1.7, shape)
    chromatin = grains.within_nuclei(cells, cells.chromatin, 2.2, shape)
    path = preset.phase_rad * drawing.depth + preset.relief_rad * drawing.relief + under
    path = path + spots + np.float32(2.0 * preset.relief_rad) * dots * (drawing.nucleus > 0)
    image = optics.phase_contrast if kind == "phase" else optics.bright_field
    return (
        image(path),
        stains.nuclei_stain(drawing, chromatin, dots),
        stains.cells_stain(drawing, spots),
    )


def _expose(
    images: tuple[Image, ...], preset: Preset, kind: Optics, rng: np.random.Generator
) -> NDArray[np.uint16]:
    contrast = preset.phase_contrast if kind == "phase" else preset.bright_field_contrast
    noise = contrast * _median_fading(preset) / preset.contrast_to_noise
    greys = (optics.BACKGROUND_GREY, stains.NUCLEI_GREY, stains.CELLS_GREY)
    noises = (noise, 1 / preset.stain_to_noise, 1 / preset.stain_to_noise)
    return np.stack(
        [
            optics.expose(image, grey, noise, rng)
            for image, grey, noise in zip(images, greys, noises, strict=True)
        ]
    )


def _fading(preset: Preset, rng: np.random.Generator) -> np.float32:
    """Draw the contrast of a field, at most 1: the meniscus spoils the alignment of the optics."""
    spread = np.clip(rng.standard_normal(), -_WORST, _WORST) - _WORST
    return np.float32(np.exp(preset.contrast_spread * spread))


def _median_fading(preset: Preset) -> float:
    """Return the contrast that half of the fields exceed."""
    return float(np.exp(-_WORST * preset.contrast_spread))
