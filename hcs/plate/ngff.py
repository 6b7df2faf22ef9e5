"""Read OME-Zarr 0.4 and 0.5 metadata into our model: liberal, all problems in one message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hcs.errors import PlateError
from hcs.plate.group import ome_part, read_document
from hcs.plate.metadata import Acquisition, PlateLayout, Version, Well
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.problems import Problems
from hcs.plate.storage import Storage

# 9216 spots fit a glass slide, and a plate has a few thousand wells at most
MOST_WELLS = 100_000
_MOST_LINES = 10_000


class Liberal(BaseModel):
    """A part of the metadata: what we need of it, whatever else it holds."""

    # some writers give names as numbers
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, frozen=True)


class _Named(Liberal):
    name: str


class _Acquisition(Liberal):
    id: int
    name: str | None = None


class _PlateWell(Liberal):
    path: str
    rowIndex: int | None = None
    columnIndex: int | None = None


class _Plate(Liberal):
    rows: tuple[_Named, ...] = Field(max_length=_MOST_LINES)
    columns: tuple[_Named, ...] = Field(max_length=_MOST_LINES)
    wells: tuple[_PlateWell, ...] = Field(max_length=MOST_WELLS)
    acquisitions: tuple[_Acquisition, ...] = Field((), max_length=_MOST_LINES)


class _WellImage(Liberal):
    path: str
    acquisition: int | None = None


class _Well(Liberal):
    images: tuple[_WellImage, ...] = Field(min_length=1, max_length=_MOST_LINES)


def read_root(storage: Storage) -> tuple[Version, dict[str, Any], tuple[str, ...]]:
    """Return a plate's OME-Zarr version, its root attributes and warnings.

    Raises
    ------
    PlateError
        There is nothing, no OME-Zarr, no plate, or a version that we do not read.
    """
    warnings = list[str]()
    document = read_document(storage, "zarr.json")
    if document is not None:
        attributes = dict(document.get("attributes") or {})
        found = ome_part("0.5", attributes).get("version")
        expected: Version = "0.5"
        if "ome" not in attributes:
            raise PlateError(
                f"{storage.url} is no OME-Zarr plate: its Zarr v3 attributes hold no 'ome'"
            )
    else:
        v2_attributes = read_document(storage, ".zattrs")
        if v2_attributes is None:
            raise _no_root(storage)
        attributes, expected = v2_attributes, "0.4"
        plate = attributes.get("plate")
        found = plate.get("version") if isinstance(plate, Mapping) else None
    if found is None:
        warnings.append(f"the plate does not say its OME-Zarr version; read as {expected}")
    elif str(found) != expected:
        raise PlateError(
            f"{storage.url} is OME-Zarr {found} in Zarr {'v3' if expected == '0.5' else 'v2'}: "
            "0.4 (Zarr v2) and 0.5 (Zarr v3) can be read",
            hint="convert it to OME-Zarr 0.5",
        )
    part = ome_part(expected, attributes)
    if "plate" not in part:
        what = "one image" if "multiscales" in part else "no plate"
        raise PlateError(
            f"{storage.url} holds {what}: its metadata have no 'plate'",
            hint="give the folder above the rows",
        )
    return expected, attributes, tuple(warnings)


def _no_root(storage: Storage) -> PlateError:
    if storage.is_there():
        text = f"{storage.url} is no OME-Zarr plate: there is neither zarr.json nor .zattrs"
    else:
        text = f"there is nothing at {storage.url}"
    return PlateError(text, hint="give the folder that ends in .zarr and holds the rows")


def parse_plate(
    name: str, version: Version, attributes: Mapping[str, Any]
) -> tuple[PlateLayout, tuple[str, ...]]:
    """Return the layout that a plate's attributes describe, and warnings.

    Raises
    ------
    PlateError
        With every problem there is.
    """
    found = Problems()
    section = ome_part(version, attributes).get("plate")
    plate = found.parse(_Plate, section, "plate", f"plate {name}")
    rows, columns = (
        _unique(kind, [item.name for item in items], found)
        for kind, items in (("row", plate.rows), ("column", plate.columns))
    )
    wells = _wells(plate, rows, columns, found)
    if not wells and not found.problems:
        found.warn("the plate lists no well")
    found.check(f"plate {name}")
    acquisitions = tuple(Acquisition(a.id, a.name or "") for a in plate.acquisitions)
    layout = PlateLayout(name, version, rows, columns, wells, acquisitions)
    return layout, tuple(found.warnings)


def _unique(kind: str, names: list[str], found: Problems) -> tuple[str, ...]:
    for name, count in Counter(names).items():
        if count > 1:
            found.problem(f"{kind} {name!r} is listed {count} times")
    return tuple(names)


def _wells(
    plate: _Plate, rows: tuple[str, ...], columns: tuple[str, ...], found: Problems
) -> tuple[WellPath, ...]:
    wells = list[WellPath]()
    of_rows, of_columns = _places(rows), _places(columns)
    for text, count in Counter(item.path for item in plate.wells).items():
        if count > 1:
            found.problem(f"well {text} is listed {count} times")
        try:
            well = WellPath.parse(text)
        except PlateError as error:
            found.problem(error.message)
            continue
        if well.row in of_rows and well.column in of_columns:
            wells.append(well)
        else:
            found.problem(f"well {text} is not in the plate's rows and columns")
    if not found.problems:
        _check_indices(plate, of_rows, of_columns, found)
    return tuple(sorted(wells, key=lambda w: (of_rows[w.row], of_columns[w.column])))


def _places(names: tuple[str, ...]) -> dict[str, int]:
    # the first one, where a name is there twice
    return {name: place for place, name in reversed(list(enumerate(names)))}


def _check_indices(
    plate: _Plate, of_rows: Mapping[str, int], of_columns: Mapping[str, int], found: Problems
) -> None:
    for item in plate.wells:
        well = WellPath.parse(item.path)
        expected = of_rows[well.row], of_columns[well.column]
        said = item.rowIndex, item.columnIndex
        if said != expected:
            found.warn(f"well {well} is at {expected} of the grid, but says {said}")


def parse_well(
    path: WellPath, version: Version, attributes: Mapping[str, Any]
) -> tuple[Well, tuple[str, ...]]:
    """Return the well that a well group's attributes describe, and warnings.

    Raises
    ------
    PlateError
        With every problem there is.
    """
    found = Problems()
    part = ome_part(version, attributes)
    check_version(version, part.get("well"), part, f"well {path}", found)
    images = found.parse(_Well, part.get("well", {}), "well", f"well {path}").images
    fields = list[FieldPath]()
    for text, count in Counter(image.path for image in images).items():
        if count > 1:
            found.problem(f"field {text} is listed {count} times")
        try:
            fields.append(FieldPath(path, text))
        except PlateError as error:
            found.problem(error.message)
    found.check(f"well {path}")
    acquisitions = tuple(image.acquisition for image in images)
    return Well(path, tuple(fields), acquisitions), tuple(found.warnings)


def check_version(
    version: Version,
    section: object,
    part: Mapping[str, Any],
    subject: str,
    found: Problems,
) -> None:
    """Note where a group's version is missing or not the plate's."""
    holder = section if version == "0.4" else part
    said = holder.get("version") if isinstance(holder, Mapping) else None
    if said is None:
        found.warn(f"{subject} does not say its OME-Zarr version")
    elif str(said) != version:
        found.warn(f"{subject} says OME-Zarr {said}, its plate {version}")
