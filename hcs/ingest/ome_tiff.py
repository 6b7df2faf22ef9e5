"""What a TIFF file says of itself, and its pages; nothing that it does not say is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray

from hcs.errors import CorruptError, ImportFilesError
from hcs.ingest.tiff_file import check_whole, damage_named, open_tiff

# OME-XML 2016-06 and ImageJ names of units -> micrometers, seconds
_LENGTHS_UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0}
_LENGTHS_UM |= {"mm": 1e3, "cm": 1e4, "m": 1e6, "\\u00b5m": 1.0, "nanometer": 1e-3}
_LENGTHS_UM |= {"micrometer": 1.0, "millimeter": 1e3}
_TIMES_S = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Calibration:
    """Sizes in space and time; None where nothing tells.

    Parameters
    ----------
    pixel_size_um : float or None
        Of y and x.
    interval_s : float or None
        Between frames.
    z_step_um : float or None
        Between planes.
    """

    pixel_size_um: float | None = None
    interval_s: float | None = None
    z_step_um: float | None = None

    def over(self, other: Calibration) -> Calibration:
        """Return these sizes, completed by another's where they are None."""
        return Calibration(
            pixel_size_um=self.pixel_size_um or other.pixel_size_um,
            interval_s=self.interval_s or other.interval_s,
            z_step_um=self.z_step_um or other.z_step_um,
        )


@dataclass(frozen=True)
class TiffFacts:
    """What one file says of itself.

    Parameters
    ----------
    shape : tuple of int
        Of one page, (y, x).
    dtype : str
        As NumPy prints it.
    n_pages : int
    page_axes : dict of str to int or None
        Length of ``t``, ``c``, ``z`` in the order in which the pages run; None where the file does
        not say what its pages are.
    channels : tuple of str
        Names of the channels, where the file gives them.
    calibration : Calibration
    n_bytes : int
        Size of the file.
    """

    shape: tuple[int, int]
    dtype: str
    n_pages: int
    page_axes: dict[str, int] | None
    channels: tuple[str, ...]
    calibration: Calibration
    n_bytes: int


def read_tiff_facts(path: Path) -> TiffFacts:
    """Return what a TIFF file says of itself, reading its metadata only.

    Raises
    ------
    ImportFilesError
        If it is not there, is no TIFF, ends too early, or holds anything but grey planes of one
        shape.
    """
    with open_tiff(path) as tiff, damage_named(path):
        return _facts(path, tiff)


def _facts(path: Path, tiff: tifffile.TiffFile) -> TiffFacts:
    check_whole(path, tiff)
    series = tiff.series[0]
    page = series.keyframe
    if page.samplesperpixel > 1 or page.ndim != 2:
        raise ImportFilesError(
            f"{path}: its pages have shape {page.shape}, not (y, x)", hint="colour is not supported"
        )
    if page.dtype is None or page.dtype.kind not in "uif":
        raise ImportFilesError(f"{path}: cannot use pixel type {page.dtype}")
    described = bool(tiff.is_ome or tiff.is_imagej)
    axes = _described_axes(path, series, len(tiff.pages)) if described else None
    shapes = {p.shape for p in tiff.pages} if axes is None else {page.shape}
    if len(shapes) > 1:
        raise ImportFilesError(f"{path}: its pages have different shapes {sorted(shapes)}")
    ome = _ome_pixels(tiff.ome_metadata) if tiff.ome_metadata else None
    return TiffFacts(
        shape=(int(page.shape[0]), int(page.shape[1])),
        dtype=str(page.dtype),
        n_pages=len(tiff.pages) if axes is None else math.prod(axes.values()),
        page_axes=axes,
        channels=() if ome is None else _ome_channels(ome),
        calibration=_calibration(tiff, ome),
        n_bytes=int(tiff.filehandle.size),
    )


@contextmanager
def open_pages(path: Path) -> Iterator[list[Any]]:
    """Open a file and yield its pages in the order of `TiffFacts`, for `read_page`."""
    with open_tiff(path) as tiff:
        with damage_named(path):
            described = tiff.is_ome or tiff.is_imagej
            axes = _described_axes(path, tiff.series[0], len(tiff.pages)) if described else None
            pages = list(tiff.pages if axes is None else tiff.series[0].pages)
        yield pages


def read_page(path: Path, pages: list[Any], page: int) -> NDArray[Any]:
    """Return one plane, shape (y, x), in the pixel type of the file.

    Raises
    ------
    CorruptError
        If its bytes cannot be decoded.
    """
    try:
        return np.asarray(pages[page].asarray())
    except (tifffile.TiffFileError, ValueError, OSError, RuntimeError, IndexError) as error:
        raise CorruptError(f"{path}: page {page} cannot be read: {error}") from error


def _described_axes(
    path: Path, series: tifffile.TiffPageSeries, n_pages: int
) -> dict[str, int] | None:
    """Return the axes of OME or ImageJ metadata; None for one file of a set of several."""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    axes = {axis.lower(): n for axis, n in lengths.items() if axis not in "YX"}
    if not set(axes) <= {"t", "c", "z"}:
        return None
    declared = math.prod(axes.values())
    if declared == n_pages:
        return axes
    if n_pages == 1:
        return None
    raise ImportFilesError(
        f"{path}: its metadata declare {declared} planes, it holds {n_pages} pages"
    )


def _calibration(tiff: tifffile.TiffFile, ome: ET.Element | None) -> Calibration:
    if ome is not None:
        return _ome_calibration(ome)
    if tiff.is_imagej:
        return _imagej_calibration(tiff)
    # the resolution tags of a plain TIFF are no answer: some microscopes write the pitch of the
    # camera's pixels there (an Operetta: 6.45 um where a pixel shows 1.2), printers theirs
    return Calibration()


def _ome_pixels(xml: str) -> ET.Element | None:
    return ET.fromstring(xml).find("{*}Image/{*}Pixels")


def _ome_channels(pixels: ET.Element) -> tuple[str, ...]:
    return tuple(channel.get("Name", "") for channel in pixels.iterfind("{*}Channel"))


def _ome_calibration(pixels: ET.Element) -> Calibration:
    y, x, z = (
        _quantity(
            pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"), _LENGTHS_UM
        )
        for a in "YXZ"
    )
    interval = _quantity(
        pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), _TIMES_S
    )
    return Calibration(_square(y, x), interval, z)


def _imagej_calibration(tiff: tifffile.TiffFile) -> Calibration:
    facts = tiff.imagej_metadata or {}
    unit = _LENGTHS_UM.get(str(facts.get("unit", "")))
    per_pixel = [_per_pixel(tiff.pages.first, tag) for tag in ("YResolution", "XResolution")]
    y, x = (None if unit is None or size is None else size * unit for size in per_pixel)
    interval = _quantity(facts.get("finterval"), str(facts.get("tunit", "s")), _TIMES_S)
    step = _quantity(facts.get("spacing"), str(facts.get("unit", "")), _LENGTHS_UM)
    return Calibration(_square(y, x), interval, step)


def _per_pixel(page: tifffile.TiffPage, name: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None or 0 in tag.value:
        return None
    return float(tag.value[1] / tag.value[0])


def _quantity(value: object, unit: str, units: dict[str, float]) -> float | None:
    if unit not in units or not re.fullmatch(r"\d+(\.\d*)?([eE][-+]?\d+)?", str(value)):
        return None
    number = float(str(value)) * units[unit]
    return round(number, 9) if number > 0 and math.isfinite(number) else None


def _square(y: float | None, x: float | None) -> float | None:
    """Return the one size of square pixels; None for any other."""
    if y is None or x is None or not math.isclose(y, x, rel_tol=1e-3):
        return None
    return round(x, 9)
