"""The groups ``labels`` and ``tables``, which list what they hold: checked, and written anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from hcs.errors import PlateError
from hcs.plate.describe import labels_attributes
from hcs.plate.group import document_key, ome_part, read_attributes, read_document, write_group
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.problems import some

Kind = Literal["labels", "tables"]
# in Zarr v2 and v3: what says that there is a group
_DOCUMENTS = (".zgroup", ".zattrs", "zarr.json")


def listing_path(where: FieldPath | None, kind: Kind) -> str:
    """Return where a field's or the plate's listing lies.

    Examples
    --------
    >>> listing_path(FieldPath.parse("B/03/0"), "labels"), listing_path(None, "tables")
    ('B/03/0/labels', 'tables')
    """
    return f"{where}/{kind}" if where else kind


def find_unlisted(
    plate: Plate, where: FieldPath | None, kind: Kind, names: Iterable[str]
) -> str | None:
    """Say what is wrong with a listing that must hold these names; None where it is sound."""
    path = listing_path(where, kind)
    version = plate.layout.version
    try:
        attributes = read_attributes(plate.storage, version, path)
        head = read_document(plate.storage, document_key(path, _head(plate)))
    except PlateError as error:
        return error.message
    if head is None or attributes is None:
        return f"{path} is no group: its metadata are missing"
    if head.get("zarr_format") != (2 if version == "0.4" else 3):
        return f"{document_key(path, _head(plate))} is damaged: no group of this plate's kind"
    missing = [name for name in names if name not in _listed(plate, attributes, kind)]
    return f"{path} does not list {some(missing)}" if missing else None


def relist(plate: Plate, where: FieldPath | None, kind: Kind) -> tuple[str, ...]:
    """Write a listing anew, of what there is; remove the group where there is nothing.

    Names keep their order; what was listed by others and is there stays listed.

    Returns
    -------
    tuple of str
        The names.
    """
    path = listing_path(where, kind)
    there = _groups_in(plate, path)
    if not there:
        plate.storage.delete(path)
        return ()
    try:
        attributes = read_attributes(plate.storage, plate.layout.version, path) or {}
        read_document(plate.storage, document_key(path, _head(plate)))
    except PlateError:
        attributes = {}
        for name in _DOCUMENTS:
            plate.storage.delete(document_key(path, name))
    before = [name for name in _listed(plate, attributes, kind) if name in there]
    names = (*before, *sorted(there.difference(before)))
    listed = (
        labels_attributes(plate.layout.version, names)
        if kind == "labels"
        else {"tables": list(names)}
    )
    write_group(plate.storage, plate.layout.version, path, attributes | listed)
    return names


def _head(plate: Plate) -> str:
    return ".zgroup" if plate.layout.version == "0.4" else "zarr.json"


def _listed(plate: Plate, attributes: dict[str, object], kind: Kind) -> list[str]:
    # tables stand at the top level in every version
    part = ome_part(plate.layout.version, attributes) if kind == "labels" else attributes
    listed = part.get(kind)
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _groups_in(plate: Plate, path: str) -> set[str]:
    """Return the names of the groups below a path that have metadata."""
    parts = (key.removeprefix(f"{path}/").split("/") for key in plate.storage.sizes(path))
    return {name for name, *rest in parts if rest in ([".zattrs"], [".zgroup"], ["zarr.json"])}
