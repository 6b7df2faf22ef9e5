"""An open plate: what there is, read when it is asked for."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import zarr

from hcs.errors import MissingError
from hcs.plate.array import open_array, stored_array
from hcs.plate.fence import Fence
from hcs.plate.group import OWN, ome_part, read_attributes
from hcs.plate.metadata import FieldImage, PlateLayout, Well
from hcs.plate.multiscale import level_paths, parse_image
from hcs.plate.ngff import parse_plate, parse_well, read_root
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.problems import some
from hcs.plate.storage import Storage, check_key

if TYPE_CHECKING:
    import pandas as pd

    from hcs.plate.view import Field

logger = logging.getLogger(__name__)

# in the root's attributes of a plate that holds results only: the URL of the input
IMAGES_OF = "images_of"
# the hint where results are asked for and there are none
RUN_FIRST = "run an analysis first: hcs run"


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
    storage = Storage.open(url)
    version, attributes, root_warnings = read_root(storage)
    layout, warnings = parse_plate(storage.name, version, attributes)
    plate = Plate(storage, layout, (*root_warnings, *warnings), (pixel_size_um, interval_s))
    own = attributes.get(OWN)
    if isinstance(own, dict) and IMAGES_OF in own:
        plate.images = Storage.open(str(own[IMAGES_OF]))
        text = f"its images are read from {plate.images.url}, which its root names"
        plate.remember("", (*plate.warnings, text))
    return plate


class Plate:
    """An open plate. Wells and fields are read when they are first asked for, then remembered.

    Parameters
    ----------
    storage : Storage
    layout : PlateLayout
    warnings : tuple of str
        Found while opening.
    calibration : tuple of float or None
        Pixel size in micrometers and interval in seconds that take the place of the plate's own.

    Attributes
    ----------
    images : Storage
        Where wells, field images and their pixels lie: the storage itself, or that of the input of
        a plate that holds results only (`hcs.plate.output`).
    """

    def __init__(
        self,
        storage: Storage,
        layout: PlateLayout,
        warnings: tuple[str, ...] = (),
        calibration: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self.storage = storage
        self.images = storage
        self.layout = layout
        self._warnings = {"": warnings}
        self._calibration = calibration
        self._wells = dict[WellPath, Well]()
        self._images = dict[str, FieldImage]()

    def __repr__(self) -> str:
        """Return the plate's URL, version and number of wells."""
        n = len(self.layout.wells)
        return f"Plate({self.storage.url!r}, OME-Zarr {self.layout.version}, {n} wells)"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd in the metadata read so far, in order, whichever thread came to it first."""
        told = (self._warnings[path] for path in sorted(self._warnings))
        return tuple(dict.fromkeys(chain.from_iterable(told)))

    @property
    def companion(self) -> Storage:
        """Markers, lock and logs beside the plate."""
        return self.storage.sibling(".hcs")

    def sister(self, step: str) -> Self:
        """Return the plate of an image product of one step, ``<plate>_<step>.zarr``.

        Raises
        ------
        PlateError
            There is none.
        """
        sister = self.storage.sibling(f"_{step}.zarr")
        plate = open_plate(sister.url)
        return type(self)(sister, plate.layout, plate.warnings, self._calibration)

    def well(self, path: WellPath) -> Well:
        """Return a well and its fields.

        Raises
        ------
        MissingError
            The plate has no such well.
        PlateError
            The well's metadata cannot be read; names every problem.
        """
        if path not in self._wells:
            if path not in self.layout.wells:
                raise MissingError(
                    f"plate {self.layout.name} has no well {path}",
                    hint=f"it has {some(self.layout.wells)}",
                )
            attributes = self._attributes(str(path), f"well {path}")
            well, warnings = parse_well(path, self.layout.version, attributes)
            self.remember(str(path), warnings)
            self._wells[path] = well
        return self._wells[path]

    def field_image(self, path: FieldPath) -> FieldImage:
        """Return what a field is; calibration from the settings is applied.

        Raises
        ------
        MissingError
            There is no such well, field or level.
        PlateError
            The image's metadata cannot be read; names every problem.
        """
        if str(path) not in self._images:
            fields = self.well(path.well).fields
            if path not in fields:
                raise MissingError(
                    f"well {path.well} has no field {path.name}", hint=f"it has {some(fields)}"
                )
            self._images[str(path)] = self._image(path, str(path), f"field {path}")
        return self._images[str(path)]

    def label_names(self, path: FieldPath) -> tuple[str, ...]:
        """Return the names of a field's label images, as its ``labels`` group lists them."""
        key = f"{path}/labels"
        version = self.layout.version
        listed = ome_part(version, read_attributes(self.storage, version, key) or {}).get("labels")
        return tuple(map(str, listed)) if isinstance(listed, list) else ()

    def label_image(self, path: FieldPath, name: str) -> FieldImage:
        """Return what a label image is: axes without ``c``, levels, sizes.

        Raises
        ------
        MissingError
            There is none of this name.
        PlateError
            Its metadata cannot be read; names every problem.
        """
        key = label_key(path, name)
        if key not in self._images:
            names = self.label_names(path)
            if name not in names:
                raise MissingError(
                    f"field {path} has no label image {name!r}",
                    hint=f"it has {some(names)}" if names else RUN_FIRST,
                )
            self._images[key] = self._image(path, key, f"label image {name!r} of field {path}")
        return self._images[key]

    def attributes(self, key: str) -> dict[str, Any]:
        """Return the attributes of the group at a path in the plate, as they are written now.

        Raises
        ------
        MissingError
            There is no group.
        """
        return self._attributes(key, f"group {key}")

    def array(self, key: str) -> zarr.Array[Any]:
        """Return the array at a path in the plate, to read from."""
        storage = self.storage_of(key)
        store = storage.zarr_store(read_only=True)
        return open_array(storage, store, self.layout.version, check_key(key))

    def storage_of(self, key: str) -> Storage:
        """Return where a path in the plate is read: labels and tables here, all else at the images.

        Examples
        --------
        >>> plate = Plate(Storage.open("/out.zarr"), PlateLayout("out", "0.4", (), (), ()))
        >>> plate.images = Storage.open("/in.zarr")
        >>> plate.storage_of("B/03/0/0").url, plate.storage_of("B/03/0/labels/ssl_cells").url
        ('/in.zarr', '/out.zarr')
        """
        return self.storage if is_result(key) else self.images

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of the plate.

        Raises
        ------
        MissingError
            There is none of this name.
        """
        # pandas, pyarrow and anndata are slow to import
        from hcs.plate.table import read_table

        return read_table(self, None, name)

    def __getitem__(self, path: str) -> Field:
        """Return a user's view of a field, ``plate["B/03/0"]``."""
        # xarray and dask are slow to import
        from hcs.plate.view import Field

        field = FieldPath.parse(path)
        self.field_image(field)
        return Field(self, field)

    def hold(self, token: int) -> None:
        """Change nothing any more, from now on, once the lock's token is out."""
        self.storage = self.storage.fenced(Fence(self.companion, token).check)

    def forget(self, path: FieldPath) -> None:
        """Read a field anew when it is next asked for, because it was written to."""
        self._wells.pop(path.well, None)
        for key in [key for key in self._images if f"{key}/".startswith(f"{path}/")]:
            del self._images[key]

    def _image(self, path: FieldPath, key: str, subject: str) -> FieldImage:
        attributes = self._attributes(key, subject)
        version = self.layout.version
        levels = level_paths(version, attributes, subject)
        arrays, missing = [], []
        for level in levels:
            try:
                arrays.append(stored_array(self.array(f"{key}/{level}")))
            except MissingError:
                missing.append(level)
        if missing:
            raise MissingError(
                f"{subject} has no level {some(missing)}",
                hint=f"its metadata list {some(levels)}; copy the plate anew",
            )
        image, warnings = parse_image(path, version, attributes, arrays, subject)
        self.remember(key, warnings)
        return image.with_calibration(*self._calibration)

    def _attributes(self, key: str, subject: str) -> dict[str, Any]:
        storage = self.storage_of(check_key(key))
        attributes = read_attributes(storage, self.layout.version, key)
        if attributes is None:
            raise MissingError(
                f"{subject} is listed, but there is nothing at {storage.url}/{key}",
                hint="copy the plate anew, or import it again",
            )
        return attributes

    def remember(self, key: str, warnings: tuple[str, ...]) -> None:
        """Keep what is odd about the group at a path."""
        for warning in warnings:
            logger.debug("%s", warning)
        self._warnings[key] = warnings


def is_result(key: str) -> bool:
    """Tell whether a path in a plate is that of a label image or table, or of their listing.

    Examples
    --------
    >>> [is_result(key) for key in ("tables/wells", "B/03/0/labels", "B/03/0/0", "B/03/labels")]
    [True, True, False, False]
    """
    parts = key.split("/")
    return parts[0] == "tables" or parts[3:4] in (["labels"], ["tables"])


def label_key(path: FieldPath, name: str) -> str:
    """Return where a label image is; PlateError where the name would lead elsewhere.

    Examples
    --------
    >>> label_key(FieldPath.parse("B/03/0"), "ssl_cells")
    'B/03/0/labels/ssl_cells'
    """
    return check_key(f"{path}/labels/{name}")
