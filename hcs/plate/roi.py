"""What ngio does for us: ROI tables as AnnData, and tables of other tools in any backend.

ngio writes into memory, and we put the files down: so they are whole or not there, have digests,
are the same on S3, and carry no consolidated metadata that would go stale.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING

import zarr

# anndata has no public name for what it raises on an encoding it does not know
from anndata._io.specs.registry import IORegistryError
from ngio.tables import GenericTable, open_table_as, write_table
from ngio.tables.backends import BackendMeta
from ngio.utils import NgioError
from zarr.storage import MemoryStore

from hcs.errors import CorruptError, PlateError
from hcs.plate.codecs import BoundedPipeline, check_codecs
from hcs.plate.documents import DOCUMENTS, parse_document
from hcs.plate.group import group_files
from hcs.plate.storage import check_key

if TYPE_CHECKING:
    import pandas as pd
    from zarr.core.buffer import Buffer

    from hcs.plate.commit import JSON
    from hcs.plate.metadata import Version
    from hcs.plate.storage import Storage

# the v2 format that 0.4 asks for, and metadata consolidated in memory, which is not copied
_KNOWN_WARNINGS = (
    "Writing zarr v2 data will no longer be the default",
    "Consolidated metadata is currently not part in the Zarr format 3 specification",
)
# filters of warnings and anndata's settings belong to the process, and wells may share one
_one_at_a_time = Lock()
# RuntimeError: what blosc and zstd raise
_UNREADABLE = (
    NgioError, IORegistryError, PlateError, CorruptError, KeyError, ValueError, TypeError, OSError,
    RuntimeError, MemoryError,
)  # fmt: skip
_BOUNDED = f"{BoundedPipeline.__module__}.{BoundedPipeline.__qualname__}"
# 256 MiB
_LARGEST_TABLE = 2**28


def roi_files(
    version: Version, table: pd.DataFrame, attributes: Mapping[str, JSON]
) -> dict[str, bytes]:
    """Return the files of an ROI table's group, by key below it; the group's own metadata last.

    Parameters
    ----------
    version : {"0.4", "0.5"}
    table : DataFrame
        With the columns that `hcs.plate.table.write_table` asks for.
    attributes : mapping of str to JSON
        Of the group, with ``index_key`` and ``index_type``; anndata's own are added.
    """
    buffers: dict[str, Buffer] = {}
    store = MemoryStore(buffers)
    zarr.open_group(store, mode="w", zarr_format=2 if version == "0.4" else 3)
    meta = BackendMeta.model_validate(
        {key: attributes[key] for key in ("backend", "index_key", "index_type")}
    )
    indexed = table.set_index(meta.index_key)
    with _one_at_a_time, warnings.catch_warnings():
        for message in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        write_table(store, GenericTable(indexed, meta=meta), backend="anndata", mode="r+")
    files = {key: buffer.to_bytes() for key, buffer in sorted(buffers.items())}
    document = json.loads(files[".zattrs" if version == "0.4" else "zarr.json"])
    written = document if version == "0.4" else document["attributes"]
    own = group_files(version, {**written, **attributes})
    return {key: content for key, content in files.items() if key not in own} | own


def _copy_checked(storage: Storage, path: str, folder: Path) -> None:
    """Copy a table's files, each looked at, to where ngio may open what it likes."""
    sizes = storage.sizes(path)
    if sum(sizes.values()) > _LARGEST_TABLE:
        raise CorruptError(f"it has {sum(sizes.values())} bytes: no table has")
    for key in sizes:
        content = storage.read(key, _LARGEST_TABLE)
        if key.rpartition("/")[2] in DOCUMENTS:
            check_codecs(parse_document(content, key), key)
        target = folder / check_key(key.removeprefix(f"{path}/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def read_with_ngio(storage: Storage, path: str) -> pd.DataFrame:
    """Return a table in any backend that ngio knows; its index as first column.

    Raises
    ------
    CorruptError
        ngio cannot read it.
    """
    try:
        # ngio and anndata open arrays themselves, and know no bounds
        with (
            TemporaryDirectory() as folder,
            _one_at_a_time,
            zarr.config.set({"codec_pipeline.path": _BOUNDED}),
        ):
            _copy_checked(storage, path, Path(folder))
            group = zarr.open_group(folder, mode="r", use_consolidated=False)
            table = open_table_as(group, GenericTable, mode="r").dataframe
    except _UNREADABLE as error:
        raise CorruptError(
            f"{storage.url}/{path} cannot be read: {error}",
            hint="hcs verify --repair, then hcs run, make it anew, if it is ours",
        ) from error
    return table.reset_index(drop=table.index.name is None)
