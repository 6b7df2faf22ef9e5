"""Consolidated metadata: renewed where the input has some, written nowhere else.

Readers that trust it do not see groups that were added later (zarr-python issue 2921).
"""

from __future__ import annotations

import warnings
from threading import Lock
from typing import TYPE_CHECKING

import zarr

from hcs.plate.group import document_key, read_document
from hcs.plate.storage import write_errors

if TYPE_CHECKING:
    from hcs.plate.metadata import Version
    from hcs.plate.open import Plate
    from hcs.plate.path import WellPath
    from hcs.plate.storage import Storage

_KNOWN_WARNINGS = (
    # that was the input's choice
    "Consolidated metadata is currently not part",
    # table.parquet
    "Object at .* is not recognized as a component of a Zarr hierarchy",
)
# filters of warnings belong to the process, and wells may share one
_one_at_a_time = Lock()


def renew_consolidated(plate: Plate, well: WellPath | None) -> tuple[str, ...]:
    """Write consolidated metadata anew, if there was some.

    Parameters
    ----------
    plate : Plate
    well : WellPath or None
        The group of a well and those of its fields, before the well's step is marked as done;
        None: the plate's own, which covers all wells, once at the end of a run.

    Returns
    -------
    tuple of str
        The groups whose consolidated metadata were renewed; the plate's own is the empty path.

    Raises
    ------
    WriteError
        The metadata cannot be written.
    """
    paths = [""] if well is None else [*map(str, plate.well(well).fields), str(well)]
    version = plate.layout.version
    renewed = tuple(path for path in paths if has_consolidated(plate.storage, version, path))
    store = plate.storage.zarr_store(read_only=False)
    for path in renewed:
        with _one_at_a_time, warnings.catch_warnings(), write_errors(f"{plate.storage.url}/{path}"):
            for message in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            zarr.consolidate_metadata(store, path=path, zarr_format=2 if version == "0.4" else 3)
    return renewed


def has_consolidated(storage: Storage, version: Version, path: str) -> bool:
    """Tell whether a group has consolidated metadata of its own."""
    if version == "0.4":
        return storage.exists(document_key(path, ".zmetadata"))
    document = read_document(storage, document_key(path, "zarr.json")) or {}
    return bool(document.get("consolidated_metadata"))
