"""The outline of a cell: its radius in every direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcs.simulate.cells import N_MODES, Population

N_ANGLES = 256
# farthest protrusion, of the radius of the disk of the same area
_LONGEST = 3.2
# of a protrusion: where it has fallen to 1/e, and the blunt part of its tip
_WIDTH_RAD = 0.24
_TIP_RAD = 0.05


def radii(cells: Population) -> NDArray[np.float64]:
    """Return the outlines of all cells in the frame of the field.

    The log radius is an ellipse's plus a Fourier series, and protrusions are added; a cell that
    rounds up loses all three. The result is scaled to the cell's area.

    Returns
    -------
    ndarray of float64, shape (n, N_ANGLES)
        Radius in pixels at the angles ``2 pi i / N_ANGLES`` from x towards y.

    Examples
    --------
    >>> import numpy as np
    >>> from hcs.simulate.presets import PRESETS
    >>> from hcs.simulate.cells import new_cells
    >>> rng = np.random.default_rng(0)
    >>> cell = new_cells(np.zeros((1, 2)), np.array([400.0]), PRESETS["easy"], rng)
    >>> round(float(np.pi * np.mean(radii(cell) ** 2)), 3)
    400.0
    """
    angles = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    local = angles[None, :] - cells.heading[:, None]
    spread = (1 - cells.roundness)[:, None]
    ellipse = -0.5 * np.log(
        np.cos(local) ** 2 / cells.elongation[:, None]
        + np.sin(local) ** 2 * cells.elongation[:, None]
    )
    waves = np.exp(1j * local[:, None, :] * np.arange(2, 2 + N_MODES)[None, :, None])
    series = np.einsum("nk,nka->na", cells.modes, waves).real
    body = np.exp(spread * np.clip(ellipse + series, -0.7, 0.7))
    shape = np.minimum(body + spread * _spikes(cells, local), _LONGEST)
    scale = cells.radius / np.sqrt(np.mean(shape**2, axis=1))
    return np.asarray(shape * scale[:, None])


def _spikes(cells: Population, local: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what protrusions add to the radius: cusps, so that they taper."""
    angle, length = cells.protrusions[..., 0], np.maximum(cells.protrusions[..., 1], 0)
    off = np.abs((local[:, None, :] - angle[:, :, None] + np.pi) % (2 * np.pi) - np.pi)
    cusp = np.exp(-(np.sqrt(off**2 + _TIP_RAD**2) - _TIP_RAD) / _WIDTH_RAD)
    return np.asarray((length[:, :, None] * cusp).sum(axis=1))
