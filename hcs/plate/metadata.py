"""A plate as it is described, one model whatever the OME-Zarr version on disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, Self

from hcs.errors import MissingError, PlateError
from hcs.plate.path import FieldPath, WellPath

Version = Literal["0.4", "0.5"]
AXES = ("t", "c", "z", "y", "x")


@dataclass(frozen=True)
class Channel:
    """One channel of an image.

    Parameters
    ----------
    label : str
        Its name; unique within the image.
    color : str
        Six hexadecimal digits, RGB.
    window : tuple of float or None
        ``(min, max, start, end)`` of the display, in grey levels.
    """

    label: str
    color: str = "FFFFFF"
    window: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Level:
    """One resolution level: an array and how its pixels lie in space and time.

    Parameters
    ----------
    path : str
        Of the array, relative to the image group.
    shape, chunks : tuple of int
        Along the image's axes.
    shards : tuple of int or None
        The write unit where the array is sharded (Zarr v3).
    scale, translation : tuple of float
        Along the image's axes, in the axes' units.
    """

    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class FieldImage:
    """What one field of view is, before any pixel is read.

    Parameters
    ----------
    path : FieldPath
    axes : tuple of str
        A subset of t c z y x, in that order; y and x always.
    dtype : str
        As NumPy prints it, ``"uint16"``.
    levels : tuple of Level
        Finest first.
    channels : tuple of Channel
        One without a ``c`` axis.
    pixel_size_um : float or None
        Of y and x; None where neither the plate nor the settings tell.
    interval_s : float or None
        Between frames; None where neither the plate nor the settings tell.
    z_step_um : float or None
    """

    path: FieldPath
    axes: tuple[str, ...]
    dtype: str
    levels: tuple[Level, ...]
    channels: tuple[Channel, ...]
    pixel_size_um: float | None = None
    interval_s: float | None = None
    z_step_um: float | None = None

    def length(self, axis: str) -> int:
        """Return the length of an axis at full resolution, 1 where the image lacks it."""
        return self.levels[0].shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def n_frames(self) -> int:
        """Number of time points."""
        return self.length("t")

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width at full resolution, pixels."""
        return self.length("y"), self.length("x")

    def channel_index(self, label: str) -> int:
        """Return the index of a channel by its name.

        Raises
        ------
        MissingError
            Naming the field and the channels there are.
        """
        labels = [channel.label for channel in self.channels]
        if label not in labels:
            raise MissingError(
                f"field {self.path} has no channel {label!r}",
                hint=f"it has {', '.join(map(repr, labels))}",
            )
        return labels.index(label)

    def with_calibration(self, pixel_size_um: float | None, interval_s: float | None) -> Self:
        """Return the same image with the sizes that the settings give; None keeps its own."""
        return replace(
            self,
            pixel_size_um=pixel_size_um or self.pixel_size_um,
            interval_s=interval_s or self.interval_s,
        )


@dataclass(frozen=True)
class Acquisition:
    """One imaging run of the plate."""

    id: int
    name: str = ""


@dataclass(frozen=True)
class Well:
    """A well and its fields of view, in the order of the plate.

    Parameters
    ----------
    path : WellPath
    fields : tuple of FieldPath
    acquisitions : tuple of int or None
        The acquisition of each field, where the plate tells.
    """

    path: WellPath
    fields: tuple[FieldPath, ...]
    acquisitions: tuple[int | None, ...]


@dataclass(frozen=True)
class PlateLayout:
    """The plate itself: its grid and which wells hold images.

    Parameters
    ----------
    name : str
    version : {"0.4", "0.5"}
        OME-Zarr version of the whole hierarchy.
    rows, columns : tuple of str
        Every physical row and column, even empty.
    wells : tuple of WellPath
        Wells with images, in the order of the plate (by row, then by column).
    acquisitions : tuple of Acquisition
    """

    name: str
    version: Version
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[WellPath, ...]
    acquisitions: tuple[Acquisition, ...] = ()

    def __post_init__(self) -> None:
        """Check that every well lies on the grid, once."""
        rows, columns = {*self.rows}, {*self.columns}
        off = [str(w) for w in self.wells if w.row not in rows or w.column not in columns]
        twice = sorted(str(w) for w, count in Counter(self.wells).items() if count > 1)
        problems = [f"well {w} is not in the plate's rows and columns" for w in off]
        problems += [f"well {w} is listed twice" for w in twice]
        if problems:
            raise PlateError(f"plate {self.name!r}: " + "; ".join(problems))
