"""The simulated plate: one frame of 72 wells, each well wholly in one part of the split."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hcs.isl.card import TargetScale
from hcs.isl.normalise import fit_target, standardise
from hcs.plate.path import FieldPath
from hcs.simulate.plate import simulate_well_field
from hcs.simulate.settings import SimulationSettings

SETTINGS = SimulationSettings(preset="moderate", rows=8, columns=9, frames=1, size=512, seed=4)
STAINS = ("nuclei", "cells")
PIXEL_SIZE_UM = SETTINGS.pixel_size_um
# of 72 wells: 52 train, 8 validate, 12 test
_VALIDATE, _TEST = 8, 12
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Frame:
    """One frame of a well and all that is true of it.

    Parameters
    ----------
    name : str
        Its field, as "B/03/0".
    phase : ndarray of float32, shape (1, y, x)
        Normalised over the whole image.
    grey : ndarray of uint16, shape (2, y, x)
        Nuclear and cell stain.
    nuclei, cells : ndarray of uint32, shape (y, x)
        True label images.
    """

    name: str
    phase: NDArray[np.float32]
    grey: NDArray[np.uint16]
    nuclei: NDArray[np.uint32]
    cells: NDArray[np.uint32]

    def labels(self, head: str) -> NDArray[np.uint32]:
        """Return the true label image of a head."""
        return self.nuclei if head == "nuclei" else self.cells


@dataclass(frozen=True)
class Split:
    """Frames to train on, to choose weights by, and to test on; no well is in two of them."""

    train: tuple[Frame, ...]
    validation: tuple[Frame, ...]
    test: tuple[Frame, ...]

    @property
    def scales(self) -> tuple[TargetScale, ...]:
        """Of the stains, over all training wells."""
        return tuple(
            fit_target((frame.grey[k] for frame in self.train), stain)
            for k, stain in enumerate(STAINS)
        )


@lru_cache(maxsize=1)
def simulated(folder: Path) -> Split:
    """Return the plate, simulated once and kept in a folder."""
    frames = [_read(path) for path in _made(folder / "plate")]
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(frames))
    shuffled = [frames[k] for k in order]
    n = len(frames) - _VALIDATE - _TEST
    return Split(
        tuple(shuffled[:n]), tuple(shuffled[n : n + _VALIDATE]), tuple(shuffled[n + _VALIDATE :])
    )


def _made(folder: Path) -> Iterator[Path]:
    fields = [FieldPath(well, "0") for well in SETTINGS.wells]
    paths = [folder / f"{str(field).replace('/', '-')}.npz" for field in fields]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [(f, p) for f, p in zip(fields, paths, strict=True) if not p.exists()]
    if missing:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(_make, *zip(*missing, strict=True)))
    yield from paths


def _make(field: FieldPath, path: Path) -> None:
    cv2.setNumThreads(1)
    made = simulate_well_field(SETTINGS, field)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(
        part, frames=made.frames[0], cells=made.cells[0], nuclei=made.nuclei[0], name=str(field)
    )
    part.replace(path)


def _read(path: Path) -> Frame:
    with np.load(path) as held:
        return Frame(
            name=str(held["name"]),
            phase=standardise(held["frames"][:1]),
            grey=held["frames"][1:],
            nuclei=held["nuclei"],
            cells=held["cells"],
        )
