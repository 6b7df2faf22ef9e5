"""Overnight analysis of live-cell high-content screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hcs.plate.open import Plate

__version__ = "0.1.0.dev0"


def open_plate(
    url: str | Path, *, pixel_size_um: float | None = None, interval_s: float | None = None
) -> Plate:
    """Open an OME-Zarr plate; only its own metadata are read, nothing is written.

    Parameters
    ----------
    url : str or Path
        A folder, or ``s3://bucket/key/plate.zarr``.
    pixel_size_um, interval_s : float or None
        Take the place of what the plate says, micrometers and seconds.

    Raises
    ------
    PlateError
        It is no plate that we can read; names every problem.
    """
    # the store's libraries take half a second to import
    from hcs.plate.open import open_plate

    return open_plate(url, pixel_size_um=pixel_size_um, interval_s=interval_s)
