"""Image products of a step: a plate of its own beside the input, since one array has one type.

Its wells, fields, levels, scales and places are the input's, so that viewers lay it over the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from hcs.errors import HcsError, PlateError, StorageError, WriteError
from hcs.plate.create import create_arrays
from hcs.plate.describe import image_attributes, plate_attributes, well_attributes
from hcs.plate.group import (
    OWN,
    document_key,
    group_files,
    is_begun,
    read_attributes,
    write_group,
)
from hcs.plate.levels import product_levels
from hcs.plate.metadata import AXES, Channel
from hcs.plate.multiscale import axis_units
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath

if TYPE_CHECKING:
    from hcs.plate.commit import JSON

DTYPE = "float32"
# metadata are small files: the wait is for the disk or the network
_THREADS = 8


def make_sister(plate: Plate, step: str) -> Plate:
    """Make the plate of a step's image product, with all wells and no images, or complete it.

    Parameters
    ----------
    plate : Plate
        The input.
    step : str
        The new plate is ``<plate>_<step>.zarr``.

    Raises
    ------
    WriteError
        There is something of this name that no such step made.
    """
    storage = plate.storage.sibling(f"_{step}.zarr")
    version = plate.layout.version
    sister = Plate(storage, replace(plate.layout, name=storage.name))
    own: dict[str, JSON] = {"product_of": plate.storage.name, "step": step}
    rows = tuple(dict.fromkeys(well.row for well in plate.layout.wells))
    there = read_attributes(storage, version, "")
    if there == {} and is_begun(storage, version, rows):
        there = None
    elif there is None and (storage.exists("zarr.json") or storage.exists(".zattrs")):
        there = {}
    if there is not None and there.get(OWN) != own:
        raise WriteError(
            f"{storage.url} is there, and is not what step {step} makes of this plate",
            hint=f"rename or remove it: the results of {step} go there",
        )
    for row in rows:
        _write_if_new(sister, row, {})
    _write_if_new(sister, "", plate_attributes(sister.layout) | {OWN: own})
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda well: _list_fields(plate, sister, well), plate.layout.wells))
    return sister


def find_sister(plate: Plate, step: str) -> Plate | None:
    """Return the plate of a step's image product, None where there is none of this plate and step.

    Unlike `Plate.sister` it does not ask for metadata of its own but whose it is.
    """
    storage = plate.storage.sibling(f"_{step}.zarr")
    sister = Plate(storage, replace(plate.layout, name=storage.name))
    own: dict[str, JSON] = {"product_of": plate.storage.name, "step": step}
    return sister if (_attributes_or_none(sister, "") or {}).get(OWN) == own else None


def remove_sister(sister: Plate) -> None:
    """Remove the plate of an image product; what says whose it is goes last."""
    for row in sorted({key.partition("/")[0] for key in sister.storage.sizes() if "/" in key}):
        sister.storage.delete(row)
    sister.storage.remove()


def find_sister_damage(plate: Plate, step: str) -> dict[str, str]:
    """Return what is wrong with the plate of an image product as such, its images aside.

    Returns
    -------
    dict of str to str
        A sentence for each group that is not what `make_sister` writes, by path.
    """
    storage = plate.storage.sibling(f"_{step}.zarr")
    sister = Plate(storage, replace(plate.layout, name=storage.name))
    own: dict[str, JSON] = {"product_of": plate.storage.name, "step": step}
    expected: dict[str, dict[str, JSON]] = {well.row: {} for well in plate.layout.wells}
    expected[""] = plate_attributes(sister.layout) | {OWN: own}
    for path in plate.layout.wells:
        if attributes := _well_attributes(plate, path):
            expected[str(path)] = attributes
    return {
        path: f"{storage.url}/{path} is not what was written"
        for path, attributes in expected.items()
        if _attributes_or_none(sister, path) != attributes
    }


def mend_sister(plate: Plate, step: str) -> None:
    """Write the groups of `find_sister_damage` anew."""
    storage = plate.storage.sibling(f"_{step}.zarr")
    for path in find_sister_damage(plate, step):
        for name in (".zattrs", ".zgroup", "zarr.json"):
            storage.delete(document_key(path, name))
    make_sister(plate, step)


def create_product(
    plate: Plate,
    sister: Plate,
    field: FieldPath,
    channels: Sequence[Channel],
    provenance: Mapping[str, JSON],
) -> dict[str, str]:
    """Make a field's image of a product without pixels, in place of an older one.

    Parameters
    ----------
    plate : Plate
        The input.
    sister : Plate
        Of `make_sister`.
    field : FieldPath
    channels : sequence of Channel
        With names that differ.
    provenance : mapping
        What made it, without times; stands in its attributes.

    Returns
    -------
    dict of str to str
        Digest of each file of its metadata, by key: for the manifest.
    """
    _create(plate, sister, field, channels, {OWN: {"chunks": "all", **provenance}})
    return {key: sister.storage.digest(key) for key in sister.storage.sizes(str(field))}


def write_empty_product(
    plate: Plate, sister: Plate, field: FieldPath, channels: Sequence[Channel], state: str
) -> None:
    """Make a field's image that is empty and stays so; its attribute ``state`` says why."""
    _create(plate, sister, field, channels, {"state": state, OWN: {"chunks": "none"}})


def product_state(sister: Plate, field: FieldPath) -> str | None:
    """Return why a field's image is empty: "" where it is not, None where there is no image."""
    attributes = read_attributes(sister.storage, sister.layout.version, str(field))
    return None if attributes is None else str(attributes.get("state", ""))


def _create(
    plate: Plate,
    sister: Plate,
    field: FieldPath,
    channels: Sequence[Channel],
    own: Mapping[str, JSON],
) -> None:
    version, key = sister.layout.version, str(field)
    image = plate.field_image(field)
    levels = product_levels(image, len(channels))
    units = axis_units(version, plate.attributes(key))
    axes = tuple(axis for axis in AXES if axis in (*image.axes, "c"))
    named = {axis: units.get(axis) for axis in axes}
    attributes = image_attributes(version, key, named, levels, channels, DTYPE)
    sister.storage.delete(key)
    write_group(sister.storage, version, key, attributes | dict(own))
    create_arrays(sister, key, levels, axes, "image", DTYPE)
    sister.forget(field)


def _list_fields(plate: Plate, sister: Plate, path: WellPath) -> None:
    if attributes := _well_attributes(plate, path):
        _write_if_new(sister, str(path), attributes)


def _well_attributes(plate: Plate, path: WellPath) -> dict[str, JSON]:
    try:
        well = plate.well(path)
    except StorageError:
        raise
    except HcsError:
        # told where the input is looked at; there is nothing to predict for it
        return {}
    return well_attributes(plate.layout.version, well.fields, well.acquisitions)


def _attributes_or_none(sister: Plate, path: str) -> dict[str, JSON] | None:
    try:
        return read_attributes(sister.storage, sister.layout.version, path)
    except PlateError:
        return None


def _write_if_new(sister: Plate, path: str, attributes: Mapping[str, JSON]) -> None:
    storage, version = sister.storage, sister.layout.version
    # one that died between the two documents of a group left the first
    names = (document_key(path, name) for name in group_files(version, attributes))
    if read_attributes(storage, version, path) != attributes or not all(map(storage.exists, names)):
        write_group(storage, version, path, attributes)
