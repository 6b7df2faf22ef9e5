"""The groups ``labels`` and ``tables``, which list what they hold: checked, and written anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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


def relist(
    plate: Plate, where: FieldPath | None, kind: Kind, without: Collection[str] = ()
) -> tuple[str, ...]:
    """Write a listing anew, of what there is; remove the group where there is nothing.

    Names keep their order; what was listed by others and is there stays listed.

    Parameters
    ----------
    plate : Plate
    where : FieldPath or None
        None for the plate.
    kind : {"labels", "tables"}
    without : collection of str
        Names that are about to go.

    Returns
    -------
    tuple of str
        The names.
    """
    path = listing_path(where, kind)
    found = groups_in(plate, path)
    there = found.difference(without)
    if not found:
        plate.storage.delete(path)
        return ()
    try:
        attributes = read_attributes(plate.storage, plate.layout.version, path) or {}
        head = read_document(plate.storage, document_key(path, _head(plate)))
    except PlateError:
        attributes, head = {}, None
        for name in _DOCUMENTS:
            plate.storage.delete(document_key(path, name))
    before = [name for name in _listed(plate, attributes, kind) if name in there]
    names = (*before, *sorted(there.difference(before)))
    listed = (
        labels_attributes(plate.layout.version, names)
        if kind == "labels"
        else {"tables": list(names)}
    )
    if head is None or attributes | listed != attributes:
        write_group(plate.storage, plate.layout.version, path, attributes | listed)
    return names


def remove_group(plate: Plate, where: FieldPath | None, kind: Kind, name: str) -> None:
    """Remove a label image or table that is not listed any more; its own metadata last.

    So who is killed here finds next time what it was.
    """
    path = f"{listing_path(where, kind)}/{name}"
    inside = {key.removeprefix(f"{path}/").split("/")[0] for key in plate.storage.sizes(path)}
    for part in sorted(inside.difference(_DOCUMENTS)):
        plate.storage.delete(f"{path}/{part}")
    for document in _DOCUMENTS:
        plate.storage.delete(f"{path}/{document}")
    plate.storage.delete(path)
    if where:
        plate.forget(where)


def groups_in(plate: Plate, path: str) -> set[str]:
    """Return the names of the groups below a path that have metadata."""
    parts = (key.removeprefix(f"{path}/").split("/") for key in plate.storage.sizes(path))
    return {name for name, *rest in parts if rest in ([".zattrs"], [".zgroup"], ["zarr.json"])}


def _head(plate: Plate) -> str:
    return ".zgroup" if plate.layout.version == "0.4" else "zarr.json"


def _listed(plate: Plate, attributes: dict[str, object], kind: Kind) -> list[str]:
    # tables stand at the top level in every version
    part = ome_part(plate.layout.version, attributes) if kind == "labels" else attributes
    listed = part.get(kind)
    return [str(name) for name in listed] if isinstance(listed, list) else []
