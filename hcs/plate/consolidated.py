"""Consolidated metadata: renewed where the input has some, written nowhere else.

Readers that trust it do not see groups that were added later (zarr-python issue 2921). Where it
cannot be made anew, since somebody else's metadata is damaged, it stays: results are worth more.
"""

from __future__ import annotations

import logging
import warnings
from threading import Lock
from typing import TYPE_CHECKING

import zarr

from hcs.errors import LockedError, StorageError, WriteError
from hcs.plate.group import document_key, read_document
from hcs.plate.storage import write_errors

if TYPE_CHECKING:
    from hcs.plate.metadata import Version
    from hcs.plate.open import Plate
    from hcs.plate.path import WellPath
    from hcs.plate.storage import Storage

_log = logging.getLogger(__name__)

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
    there = (path for path in paths if has_consolidated(plate.storage, version, path))
    return tuple(path for path in there if _is_renewed(plate.storage, version, path))


def _is_renewed(storage: Storage, version: Version, path: str) -> bool:
    where, store = f"{storage.url}/{path}", storage.zarr_store(read_only=False)
    try:
        with _one_at_a_time, warnings.catch_warnings(), write_errors(where):
            for message in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            zarr.consolidate_metadata(store, path=path, zarr_format=2 if version == "0.4" else 3)
    except (WriteError, StorageError, LockedError):
        raise
    except Exception as error:  # noqa: BLE001 - zarr reads all documents below, and raises anything
        _log.warning(
            "the consolidated metadata of %s stays as it was, and readers that trust it do not see "
            "what is new: %s",
            where,
            error,
        )
        return False
    return True


def has_consolidated(storage: Storage, version: Version, path: str) -> bool:
    """Tell whether a group has consolidated metadata of its own."""
    if version == "0.4":
        return storage.exists(document_key(path, ".zmetadata"))
    document = read_document(storage, document_key(path, "zarr.json")) or {}
    return bool(document.get("consolidated_metadata"))
