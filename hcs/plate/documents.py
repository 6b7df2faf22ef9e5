"""Metadata documents of plates that may come from anyone: JSON within limits."""

from __future__ import annotations

import json
from typing import Any

from hcs.errors import PlateError

# of nodes in Zarr v2 and v3; consolidated metadata are not read
DOCUMENTS = (".zarray", ".zattrs", ".zgroup", "zarr.json")
# 64 MiB; consolidated metadata of 384 wells with 9 fields, in one document, take some 10 MB, and
# the worst text of this size some 1.5 GB as Python objects
LARGEST_DOCUMENT = 2**26
_HINT = "copy it anew from where the plate came from; `hcs verify --repair` mends what hcs made"


def parse_document(content: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a document holds.

    Raises
    ------
    PlateError
        It is no JSON object, or nested deeper than Python goes.

    Examples
    --------
    >>> parse_document(b'{"zarr_format": 2}', "demo.zarr/.zgroup")
    {'zarr_format': 2}
    """
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise PlateError(f"{where} is damaged: it is nested too deeply", hint=_HINT) from error
    except ValueError as error:
        raise PlateError(f"{where} is damaged: no JSON ({error})", hint=_HINT) from error
    if not isinstance(document, dict):
        raise PlateError(f"{where} is damaged: no JSON object", hint=_HINT)
    return document
