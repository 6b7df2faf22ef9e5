"""Zarr groups as the documents they are: attributes by path, in Zarr v2 and v3.

Read and written byte by byte rather than through zarr, which would look for consolidated metadata
first and rewrite what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hcs.plate.documents import LARGEST_DOCUMENT, parse_document
from hcs.plate.metadata import Version
from hcs.plate.storage import PARTIAL, Storage

if TYPE_CHECKING:
    from hcs.plate.commit import JSON

# where attributes of ours stand in the group of an image or a label image that we made
OWN = "hcs"


def document_key(path: str, name: str) -> str:
    """Return the key of a metadata document of a node; the root's path is empty.

    Examples
    --------
    >>> document_key("B/03", ".zattrs"), document_key("", "zarr.json")
    ('B/03/.zattrs', 'zarr.json')
    """
    return f"{path}/{name}" if path else name


def read_document(storage: Storage, key: str) -> dict[str, Any] | None:
    """Return a JSON document, None where there is none.

    Raises
    ------
    PlateError
        The file is no JSON object, or too large or too deep for one.
    """
    try:
        content = storage.read(key, LARGEST_DOCUMENT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse_document(content, f"{storage.url}/{key}")


def write_document(storage: Storage, key: str, document: Mapping[str, JSON]) -> None:
    """Write a JSON document, whole or not at all."""
    storage.write(key, json.dumps(document, indent=2, allow_nan=False).encode())


def read_attributes(storage: Storage, version: Version, path: str) -> dict[str, Any] | None:
    """Return the attributes of a group, None where there is no group."""
    if version == "0.4":
        attributes = read_document(storage, document_key(path, ".zattrs"))
        if attributes is None and storage.exists(document_key(path, ".zgroup")):
            return {}
        return attributes
    document = read_document(storage, document_key(path, "zarr.json"))
    return None if document is None else dict(document.get("attributes") or {})


def write_group(
    storage: Storage, version: Version, path: str, attributes: Mapping[str, JSON]
) -> None:
    """Write a group, or replace the attributes of one and nothing else of it."""
    if version == "0.4":
        group_key = document_key(path, ".zgroup")
        if not storage.exists(group_key):
            write_document(storage, group_key, {"zarr_format": 2})
        write_document(storage, document_key(path, ".zattrs"), attributes)
        return
    key = document_key(path, "zarr.json")
    document = read_document(storage, key) or {"zarr_format": 3, "node_type": "group"}
    write_document(storage, key, document | {"attributes": dict(attributes)})


def is_begun(storage: Storage, version: Version, members: Iterable[str]) -> bool:
    """Tell whether a root is half written, as one that died while it made a plate leaves it.

    A group of Zarr v2 is two documents. There is the first, and nothing beside but these members.
    """
    if version != "0.4" or storage.exists(".zattrs"):
        return False
    inside = {key.partition("/")[0] for key in storage.sizes() if not key.endswith(PARTIAL)}
    return ".zgroup" in inside and inside <= {".zgroup", *members}


def group_files(version: Version, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the metadata files of a Zarr group, by key below it.

    Examples
    --------
    >>> sorted(group_files("0.4", {})), sorted(group_files("0.5", {}))
    (['.zattrs', '.zgroup'], ['zarr.json'])
    """
    documents: dict[str, Mapping[str, Any]]
    if version == "0.4":
        documents = {".zgroup": {"zarr_format": 2}, ".zattrs": attributes}
    else:
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        documents = {"zarr.json": document}
    return {
        key: json.dumps(document, indent=2, allow_nan=False).encode()
        for key, document in documents.items()
    }


def ome_part(version: Version, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a group's attributes that OME-Zarr describes.

    Examples
    --------
    >>> ome_part("0.5", {"ome": {"version": "0.5"}, "tables": []})
    {'version': '0.5'}
    """
    part = attributes if version == "0.4" else attributes.get("ome")
    return dict(part) if isinstance(part, Mapping) else {}
