"""Make what holds pixels: plates, wells, field images, label images. No pixel yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hcs.errors import MissingError, WriteError
from hcs.plate.array import create_array
from hcs.plate.describe import (
    image_attributes,
    label_image_attributes,
    labels_attributes,
    plate_attributes,
    well_attributes,
)
from hcs.plate.group import OWN, read_attributes, write_group
from hcs.plate.levels import ImageSpec, image_levels, label_levels
from hcs.plate.metadata import AXES, Level, PlateLayout
from hcs.plate.multiscale import axis_units
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.problems import Problems
from hcs.plate.storage import Storage

if TYPE_CHECKING:
    from hcs.plate.commit import JSON


def create_plate(url: str | Path, layout: PlateLayout) -> Plate:
    """Make a plate and its rows; wells come with their first field.

    Raises
    ------
    WriteError
        There is already something.
    """
    storage = Storage.open(url)
    if storage.exists("zarr.json") or storage.exists(".zattrs"):
        raise WriteError(
            f"there is already a plate at {storage.url}", hint="give another name, or remove it"
        )
    for row in dict.fromkeys(well.row for well in layout.wells):
        write_group(storage, layout.version, row, {})
    write_group(storage, layout.version, "", plate_attributes(layout))
    return Plate(storage, layout)


def create_wells(
    plate: Plate, fields: Iterable[FieldPath], *, acquisition: int | None = None
) -> None:
    """List the fields of wells, before several processes write them at once.

    Raises
    ------
    MissingError
        The plate has no such well.
    """
    for well, own in groupby(fields, key=lambda field: field.well):
        if well not in plate.layout.wells:
            raise MissingError(f"plate {plate.layout.name} has no well {well}")
        paths = tuple(own)
        attributes = well_attributes(plate.layout.version, paths, [acquisition] * len(paths))
        write_group(plate.storage, plate.layout.version, str(well), attributes)
        for path in paths:
            plate.forget(path)


def create_field_image(plate: Plate, field: FieldPath, spec: ImageSpec) -> None:
    """Make a field's image group with all its levels, and list it in its well.

    The levels go down to 256 pixels; scales only, the coarse pixel's corner is the fine one's.
    The well is rewritten only if it does not list the field yet: then nobody else may be
    writing it (see `create_wells`).

    Raises
    ------
    WriteError
        The field is there already, or the spec contradicts itself or the plate.
    MissingError
        The plate has no such well.
    """
    _check_spec(plate, field, spec)
    _list_in_well(plate, field, spec.acquisition)
    version = plate.layout.version
    levels = image_levels(spec)
    attributes = image_attributes(
        version, str(field), _units(spec), levels, spec.channels, spec.dtype
    )
    write_group(plate.storage, version, str(field), attributes | {OWN: {"chunks": "all"}})
    create_arrays(plate, str(field), levels, spec.axes, "image", spec.dtype)
    plate.forget(field)


def _units(spec: ImageSpec) -> dict[str, str | None]:
    micrometer = "micrometer" if spec.pixel_size_um else None
    units = {
        "t": "second" if spec.interval_s else None,
        "z": "micrometer" if spec.z_step_um else None,
        "y": micrometer,
        "x": micrometer,
    }
    return {axis: units.get(axis) for axis in spec.axes}


def create_label_image(
    plate: Plate, field: FieldPath, name: str, provenance: Mapping[str, JSON]
) -> dict[str, str]:
    """Make a label image without pixels, in place of an older one of the same name.

    It has the levels, scales and translations of the field's image, uint32, no ``c``; along
    ``z`` it has one plane.

    Parameters
    ----------
    plate : Plate
    field : FieldPath
    name : str
    provenance : mapping
        What made it, without times; stands in its attributes.

    Returns
    -------
    dict of str to str
        Digest of each file of its metadata, by key: for the manifest.
    """
    return _create_label_image(plate, field, name, {OWN: {"chunks": "all", **provenance}})


def create_empty_label_image(
    plate: Plate, field: FieldPath, name: str, state: str
) -> dict[str, str]:
    """Make a label image that is empty and stays so; its attribute ``state`` says why."""
    return _create_label_image(plate, field, name, {"state": state, OWN: {"chunks": "none"}})


def _create_label_image(
    plate: Plate, field: FieldPath, name: str, own: Mapping[str, JSON]
) -> dict[str, str]:
    image = plate.field_image(field)
    version = plate.layout.version
    units = axis_units(version, plate.attributes(str(field)))
    axes = {axis: unit for axis, unit in units.items() if axis != "c"}
    key = label_key(field, name)
    levels = label_levels(image)
    plate.storage.delete(key)
    attributes = label_image_attributes(version, name, axes, levels, own)
    create_arrays(plate, key, levels, tuple(axes), "labels", "uint32")
    # last: what says that the label image is empty, or whose it is, stands on all of its levels
    write_group(plate.storage, version, key, attributes)
    names = plate.label_names(field)
    if name not in names:
        listed = labels_attributes(version, (*names, name))
        write_group(plate.storage, version, f"{field}/labels", listed)
    plate.forget(field)
    return {file: plate.storage.digest(file) for file in plate.storage.sizes(key)}


def create_arrays(
    plate: Plate,
    key: str,
    levels: Iterable[Level],
    axes: tuple[str, ...],
    kind: Literal["image", "labels"],
    dtype: str,
) -> None:
    """Make the arrays of an image, one per level, without pixels."""
    store = plate.storage.zarr_store(read_only=False)
    for level in levels:
        path = f"{key}/{level.path}"
        create_array(store, plate.layout.version, path, level, dtype, axes=axes, kind=kind)


def _check_spec(plate: Plate, field: FieldPath, spec: ImageSpec) -> None:
    found = Problems()
    if spec.axes != tuple(axis for axis in AXES if axis in spec.axes) or {"y", "x"} - {*spec.axes}:
        found.problem(f"axes {' '.join(spec.axes)} are no subset of t c z y x with y and x")
    if len(spec.axes) != len(spec.shape):
        found.problem(f"{len(spec.axes)} axes do not have the shape {spec.shape}")
    elif min(spec.shape) < 1:
        found.problem(f"shape {spec.shape} holds no pixel")
    n_channels = dict(zip(spec.axes, spec.shape, strict=False)).get("c", 1)
    if len({channel.label for channel in spec.channels}) != n_channels:
        names = ", ".join(channel.label for channel in spec.channels) or "none"
        found.problem(f"{n_channels} channels need names that differ, there are: {names}")
    for name in ("pixel_size_um", "interval_s", "z_step_um"):
        size = getattr(spec, name)
        if size is not None and not 0 < size < float("inf"):
            found.problem(f"{name} is {size}, not a positive number")
    if np.dtype(spec.dtype).kind not in "uifb":
        found.problem(f"pixels of type {spec.dtype} are not numbers")
    if spec.storage == "sharded" and plate.layout.version == "0.4":
        found.problem("shards need OME-Zarr 0.5")
    if found.problems:
        raise WriteError(f"field {field} cannot be made: {'; '.join(found.problems)}")


def _list_in_well(plate: Plate, field: FieldPath, acquisition: int | None) -> None:
    version, path = plate.layout.version, str(field.well)
    fields, acquisitions = tuple[FieldPath, ...](), tuple[int | None, ...]()
    if read_attributes(plate.storage, version, path) is not None:
        well = plate.well(field.well)
        fields, acquisitions = well.fields, well.acquisitions
    elif field.well not in plate.layout.wells:
        raise MissingError(f"plate {plate.layout.name} has no well {field.well}")
    if field not in fields:
        attributes = well_attributes(version, (*fields, field), (*acquisitions, acquisition))
        write_group(plate.storage, version, path, attributes)
    elif read_attributes(plate.storage, version, str(field)) is not None:
        raise WriteError(f"field {field} is there already", hint="remove it first")
