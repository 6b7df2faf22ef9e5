"""The real pairs and masks under HCS_DATA, as METHODS B7 cuts them; each README was read.

A pair is one field: its left part trains, its right part tests, and a gap lies between. So no
figure from it speaks for another well, day or microscope.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from hcs.isl.normalise import standardise

Image = NDArray[np.float32]
Side = Literal["left", "right"]

# shares of the columns (METHODS B7): train, gap, test
_TRAIN, _TEST = 0.65, 0.30
# illumination and fat dirt; the cells are finer (METHODS B7)
_FLATTEN_SIGMA_PX = 60.0
_DLBF_SCALE = 0.8
# the images stand on black, and their scale bar in the lower left corner is no cell
_DLBF_RIM_PX = 70
_DLBF_BAR_PX = 60


@dataclass(frozen=True)
class Pair:
    """One field, label-free and stained.

    Parameters
    ----------
    name : str
    inputs : ndarray of float32, shape (c, y, x)
        Normalised over the whole image.
    stains : mapping of str to ndarray of float32, shape (y, x)
        Grey levels.
    """

    name: str
    inputs: Image
    stains: Mapping[str, Image]


@dataclass(frozen=True)
class Masked:
    """One field with a mask drawn by hand, and its normalised image (1, y, x)."""

    name: str
    inputs: Image
    mask: NDArray[np.bool_]


def data_folder() -> Path | None:
    """Return the folder of the real sets, if one is named."""
    named = os.environ.get("HCS_DATA")
    return Path(named) if named else None


def columns(width: int, train: Side) -> tuple[slice, slice]:
    """Return the columns to train on and those to test on; a gap of 5 % lies between.

    Examples
    --------
    >>> columns(100, "left"), columns(100, "right")
    ((slice(0, 65, None), slice(70, 100, None)), (slice(35, 100, None), slice(0, 30, None)))
    """
    n_train, n_test = round(_TRAIN * width), round(_TEST * width)
    if train == "left":
        return slice(0, n_train), slice(width - n_test, width)
    return slice(width - n_train, width), slice(0, n_test)


def load_pair(folder: Path, name: str) -> Pair:
    """Read one of the pairs in `PAIRS`."""
    inputs, stains, scale = PAIRS[name]
    planes = [_read(path, scale) for pattern in inputs for path in sorted(folder.glob(pattern))]
    grey = {stain: _read(folder / path, scale) for stain, path in stains.items()}
    return Pair(name, standardise(np.stack(planes)), grey)


PAIRS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str], float]] = {
    "cohen": (
        ("cohenlab_phase_dapi/images/phase.tif",),
        {"DAPI": "cohenlab_phase_dapi/images/fluo_dapi.tif"},
        1.0,
    ),
    "finkbeiner": (
        ("isl_finkbeiner_neurons/images/phase_z*.tif",),
        {
            stain.upper(): f"isl_finkbeiner_neurons/images/fluo_{stain}_confocal.tif"
            for stain in ("dapi", "map2", "nfh")
        },
        1.0,
    ),
    "sephace": (
        (
            "sephace_bf_dapi/set1/images/fine_bf_*.tif",
            "sephace_bf_dapi/set1/images/init_bf_*.tif",
        ),
        {"DAPI": "sephace_bf_dapi/set1/images/fluo_dapi.tif"},
        0.25,
    ),
}


def load_usiigaci(folder: Path) -> dict[str, Masked]:
    """Read the six annotated frames of Usiigaci."""
    at = folder / "usiigaci_t98g_phase" / "annotated_single_frames"
    return {
        path.stem: Masked(
            path.stem,
            flattened(_read(path)),
            tifffile.imread(at / "masks" / "manual" / path.name) > 0,
        )
        for path in sorted((at / "images").glob("*.tif"))
    }


def load_dlbf(folder: Path) -> dict[str, Masked]:
    """Read the four bright-field frames, at .8 um per pixel and without their black rim."""
    at = folder / "dlbf_brightfield"
    return {path.stem: _dlbf(path, at) for path in sorted((at / "images").glob("*.jpg"))}


def _dlbf(path: Path, at: Path) -> Masked:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask = tifffile.imread(at / "masks" / f"{path.stem}.tif") > 0
    inside = (slice(_DLBF_RIM_PX, -_DLBF_RIM_PX - _DLBF_BAR_PX), slice(_DLBF_RIM_PX, -_DLBF_RIM_PX))
    small = _resized(grey[inside].astype(np.float32), _DLBF_SCALE)
    covered = _resized(mask[inside].astype(np.float32), _DLBF_SCALE) > 0.5
    return Masked(path.stem, flattened(small), covered)


def flattened(grey: Image) -> Image:
    """Return an image (1, y, x) without its illumination, in units of its spread."""
    wide = cv2.GaussianBlur(grey, (0, 0), _FLATTEN_SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    return standardise((grey - wide)[None])


def _read(path: Path, scale: float = 1.0) -> Image:
    return _resized(tifffile.imread(path).astype(np.float32), scale)


def _resized(image: Image, scale: float) -> Image:
    if scale == 1.0:
        return image
    return np.asarray(
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32
    )
