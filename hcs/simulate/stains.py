"""The two fluorescence channels."""

from __future__ import annotations

import cv2
import numpy as np

from hcs.simulate.draw import Drawing, Image

# grey levels above the camera's offset of a typical stained pixel
NUCLEI_GREY = 6000.0
CELLS_GREY = 4000.0
_HAZE_SIGMA_PX = 9.0
_HAZE = 0.08
_BACKGROUND = 0.04
_PSF_SIGMA_PX = 1.1


def nuclei_stain(drawing: Drawing, chromatin: Image, nucleoli: Image) -> Image:
    """Return the nuclear stain before the camera: patterned by chromatin, dark at nucleoli."""
    pattern = np.clip(1 + 0.06 * chromatin - 0.25 * nucleoli, 0.3, 1.7)
    return _widefield(drawing.nuclear_stain * pattern)


def cells_stain(drawing: Drawing, granules: Image) -> Image:
    """Return the cell stain before the camera: as bright as the cell is thick, spotted a little."""
    return _widefield(drawing.cell_stain * np.clip(1 + 0.2 * granules, 0.5, 1.5))


def _widefield(stain: Image) -> Image:
    """Blur by the point spread function; add the haze of what is out of focus and a background."""
    sharp = cv2.GaussianBlur(stain, (0, 0), _PSF_SIGMA_PX)
    haze = cv2.GaussianBlur(
        cv2.resize(stain, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
        (0, 0),
        _HAZE_SIGMA_PX / 4,
    )
    haze = cv2.resize(haze, (stain.shape[1], stain.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray((1 - _HAZE) * sharp + _HAZE * haze + _BACKGROUND)
