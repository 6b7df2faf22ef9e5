"""A user's view of a field: lazy arrays with names and sizes, tables as pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hcs.errors import MissingError
from hcs.plate.metadata import AXES, FieldImage, Level
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.pixels import Pixels, frames_name
from hcs.plate.problems import some

if TYPE_CHECKING:
    import pandas as pd

_UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


class LabelView:
    """A label image of a field.

    Parameters
    ----------
    plate : Plate
    path : FieldPath
    name : str
    """

    def __init__(self, plate: Plate, path: FieldPath, name: str) -> None:
        self.image = plate.label_image(path, name)
        self.name = name
        self._plate = plate
        self._key = label_key(path, name)

    def to_xarray(self, level: int = 0) -> xr.DataArray:
        """Return the label image, dims t z y x, nothing read yet; see `Field.to_xarray`."""
        what = f"label image {self.name!r} of field {self.image.path}"
        array = _to_xarray(self._plate, self._key, self.image, level, what)
        return array.isel(c=0, drop=True).rename(self.name)


class Labels(Mapping[str, LabelView]):
    """The label images of a field, by name.

    Parameters
    ----------
    plate : Plate
    path : FieldPath
    """

    def __init__(self, plate: Plate, path: FieldPath) -> None:
        self._plate = plate
        self._path = path

    def __getitem__(self, name: str) -> LabelView:
        """Return a label image; MissingError names those there are."""
        return LabelView(self._plate, self._path, name)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a label image of this name."""
        return name in self._plate.label_names(self._path)

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._plate.label_names(self._path))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._plate.label_names(self._path))


class Field:
    """What ``hcs.open_plate(url)["B/03/0"]`` gives.

    Parameters
    ----------
    plate : Plate
    path : FieldPath
    """

    def __init__(self, plate: Plate, path: FieldPath) -> None:
        self.path = path
        self.image = plate.field_image(path)
        self._plate = plate

    def __repr__(self) -> str:
        """Return path, shape, channels and label images."""
        shape = " ".join(f"{axis}={self.image.length(axis)}" for axis in AXES)
        channels = ", ".join(channel.label for channel in self.image.channels)
        labels = ", ".join(self.labels) or "none"
        return f"<Field {self.path}: {shape}; channels: {channels}; labels: {labels}>"

    @property
    def labels(self) -> Labels:
        """The label images, by name: ``field.labels["ssl_cells"].to_xarray()``."""
        return Labels(self._plate, self.path)

    def to_xarray(self, level: int = 0) -> xr.DataArray:
        """Return the pixels, nothing read yet.

        Parameters
        ----------
        level : int
            0 is full resolution.

        Returns
        -------
        xarray.DataArray, dims t c z y x
            All five, of length 1 where the image lacks them. Coordinates are channel names,
            seconds and micrometers of pixel centres as the plate places them; where it gives no
            size, the index.

        Raises
        ------
        MissingError
            There is no such level; names those there are.
        CorruptError
            Later, when the pixels are computed: a chunk is damaged, or missing where we wrote one;
            names field, channel and frame.
        """
        key = str(self.path)
        return _to_xarray(self._plate, key, self.image, level, f"field {key}").rename(key)

    def stains(self, step: str) -> Field:
        """Return the same field in the plate of an image product, such as predicted stains.

        Raises
        ------
        PlateError
            There is no plate ``<plate>_<step>.zarr``.
        """
        return Field(self._plate.sister(step), self.path)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of this field.

        Raises
        ------
        MissingError
            There is none of this name.
        """
        from hcs.plate.table import read_table

        return read_table(self._plate, self.path, name)


class _Lazy:
    """What dask takes parts of: an array that is judged as it is read.

    Parameters
    ----------
    pixels : Pixels
    image : FieldImage
    what : str
        For messages.
    """

    def __init__(self, pixels: Pixels, image: FieldImage, what: str) -> None:
        self._pixels = pixels
        self._image = image
        self._what = what
        self.shape = pixels.array.shape
        self.ndim = len(self.shape)
        self.dtype = np.dtype(image.dtype)

    def __getitem__(self, selection: tuple[int | slice, ...]) -> NDArray[np.generic]:
        """Return a part; CorruptError names field, channels and frames of what is damaged."""
        name = ", ".join([self._what, *self._places(selection)])
        return self._pixels.take(selection, name)

    def _places(self, selection: tuple[int | slice, ...]) -> Iterator[str]:
        chosen = {
            axis: np.atleast_1d(np.arange(n)[part])
            for axis, n, part in zip(self._image.axes, self.shape, selection, strict=True)
        }
        if "c" in chosen:
            yield "channel " + ", ".join(repr(self._image.channels[c].label) for c in chosen["c"])
        frames = chosen.get("t", np.zeros(1, dtype=int))
        yield frames_name(range(int(frames.min()), int(frames.max()) + 1))


def _to_xarray(plate: Plate, key: str, image: FieldImage, number: int, what: str) -> xr.DataArray:
    numbers = range(len(image.levels))
    if number not in numbers:
        raise MissingError(
            f"{what} has no level {number!r}", hint=f"it has {some(numbers)}; 0 is full resolution"
        )
    level = image.levels[number]
    pixels = Pixels(plate, key, image, number)
    stored = pixels.array
    lazy = da.from_array(
        _Lazy(pixels, image, what),
        chunks=stored.chunks,
        # tells dask equal arrays apart from different ones; hashing would read pixels
        name=f"{plate.storage.url}/{stored.path}",
        fancy=False,
        meta=np.empty((0,) * stored.ndim, image.dtype),
    )
    absent = tuple(i for i, axis in enumerate(AXES) if axis not in image.axes)
    coordinates = {
        axis: (axis, _coordinates(image, level, axis), _attributes(image, axis)) for axis in AXES
    }
    return xr.DataArray(da.expand_dims(lazy, absent), dims=AXES, coords=coordinates)


def _coordinates(image: FieldImage, level: Level, axis: str) -> NDArray[np.generic]:
    if axis == "c":
        return np.array([channel.label for channel in image.channels])
    if axis not in image.axes:
        return np.zeros(1)
    index = image.axes.index(axis)
    step = _step(image, axis)
    scale, first = level.scale[index], level.translation[index]
    # in steps of full resolution, whatever unit the plate writes
    steps = (first + scale * np.arange(level.shape[index])) / image.levels[0].scale[index]
    return steps * (step or 1.0)


def _step(image: FieldImage, axis: str) -> float | None:
    steps = {"t": image.interval_s, "z": image.z_step_um}
    return steps.get(axis, image.pixel_size_um)


def _attributes(image: FieldImage, axis: str) -> dict[str, str]:
    if axis == "c":
        return {}
    return {"units": _UNITS[axis] if _step(image, axis) else "1"}
