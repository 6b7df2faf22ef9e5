"""Tables beside images: the Fractal convention (V1), which ngio, viewers and pandas read.

Tables of objects, wells and the plate are one ``table.parquet`` in a Zarr group, written here,
since equal tables must be equal bytes; ROI tables are AnnData, which older viewers want, and are
made by ngio (`hcs.plate.roi`). A table's index is an ordinary column here, as it is on disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa

from hcs.errors import CorruptError, MissingError, PlateError, WriteError
from hcs.plate.group import group_files, read_attributes, write_group
from hcs.plate.parquet import from_parquet, to_parquet
from hcs.plate.storage import content_digest

if TYPE_CHECKING:
    from hcs.plate.commit import JSON
    from hcs.plate.metadata import Version
    from hcs.plate.open import Plate
    from hcs.plate.path import FieldPath
    from hcs.plate.storage import Storage

TableKind = Literal[
    "roi_table", "masking_roi_table", "feature_table", "generic_table", "condition_table"
]
ROI_KINDS = ("roi_table", "masking_roi_table")
ROI_COLUMNS = (
    "x_micrometer",
    "y_micrometer",
    "z_micrometer",
    "len_x_micrometer",
    "len_y_micrometer",
    "len_z_micrometer",
)
# where the attributes say what made a table or a label image, without times
PROVENANCE_KEY = "hcs"
_OF_A_LABEL_IMAGE = ("masking_roi_table", "feature_table")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PARQUET = "table.parquet"
# bytes; far more than the objects of a field that was filmed for days
_LARGEST_FILE = 2**31
_MAKE_ANEW = "hcs verify --repair, then hcs run, make it anew"
_NOTHING: Mapping[str, JSON] = MappingProxyType({})


def write_table(
    plate: Plate,
    where: FieldPath | None,
    name: str,
    table: pd.DataFrame,
    kind: TableKind,
    *,
    label_image: str | None = None,
    provenance: Mapping[str, JSON] = _NOTHING,
) -> dict[str, str]:
    """Write a table of a field or of the plate, in place of an older one of the same name.

    Files are flushed by the marker that takes their manifest (`hcs.plate.commit.write_marker`);
    a table of the plate is flushed here.

    Parameters
    ----------
    plate : Plate
    where : FieldPath or None
        None for the plate.
    name : str
        Letters, digits and ``_ . -``.
    table : DataFrame
        Column names are text. The index, if it has a name, becomes the first column. Needs
        ``FieldIndex`` (text) in an ROI table and ``label`` (whole numbers) in a masking-ROI and a
        feature table, both unique; ``object_id`` (text, unique) is the index of a generic table
        that has it.
    kind : {"roi_table", "masking_roi_table", "feature_table", "generic_table", "condition_table"}
    label_image : str or None
        Whose objects they are; needed by masking-ROI and feature tables, allowed in others.
    provenance : mapping of str to JSON
        What made the table, without times; kept in its attributes.

    Returns
    -------
    dict of str to str
        Manifest: digest by key below the plate's root, as `content_digest` writes it.

    Raises
    ------
    WriteError
        The table does not fit its kind, all problems in one message; or it cannot be written.
    """
    named = table.reset_index(drop=table.index.name is None)
    index = _index(named, kind)
    _check(named, name, kind, index, label_image)
    attributes: dict[str, JSON] = {"type": kind, "table_version": "1"}
    attributes["backend"] = "anndata" if kind in ROI_KINDS else "parquet"
    # null says "no index" to ngio, which leaves the keys out of its own such tables
    index_key, index_type = index or (None, None)
    attributes |= {"index_key": index_key, "index_type": index_type}
    if label_image:
        attributes |= {"region": {"path": f"../labels/{label_image}"}, "instance_key": "label"}
    if provenance:
        attributes[PROVENANCE_KEY] = dict(provenance)
    files = _files(plate.layout.version, name, named, attributes)
    group = _tables_group(where)
    content = {f"{group}/{name}/{key}": content for key, content in files.items()}
    before = plate.storage.sizes(f"{group}/{name}")
    plate.storage.write_unflushed(content)
    for key in before.keys() - content.keys():
        plate.storage.delete(key)
    _list_table(plate, group, name)
    if where is None:
        plate.storage.flush(content)
    return {key: content_digest(part) for key, part in content.items()}


def read_table(plate: Plate, where: FieldPath | None, name: str) -> pd.DataFrame:
    """Return a table of a field or of the plate, whoever wrote it; its index as first column.

    Raises
    ------
    MissingError
        There is no table of this name; names those that there are.
    CorruptError
        The table is listed, but its file is missing or damaged.
    """
    group = f"{_tables_group(where)}/{name}"
    attributes = read_attributes(plate.storage, plate.layout.version, group)
    if attributes is None:
        names = table_names(plate, where)
        if name in names:
            raise CorruptError(f"{plate.storage.url}/{group} is missing", hint=_MAKE_ANEW)
        raise MissingError(
            f"{where or 'the plate'} has no table {name!r}",
            hint=f"it has {', '.join(names)}" if names else "it has no tables at all",
        )
    if attributes.get("backend") == "parquet":
        return _read_parquet(plate.storage, f"{group}/{_PARQUET}")
    # ngio takes seconds to import, and most runs read no such table
    from hcs.plate.roi import read_with_ngio

    return read_with_ngio(plate.storage, group)


def table_names(plate: Plate, where: FieldPath | None) -> tuple[str, ...]:
    """Return the names of a field's or the plate's tables, as its ``tables`` group lists them."""
    group = _tables_group(where)
    return _listed(read_attributes(plate.storage, plate.layout.version, group) or {})


def _index(table: pd.DataFrame, kind: TableKind) -> tuple[str, str] | None:
    """Return name and type of the index column; None for a table without one."""
    if kind == "roi_table":
        return "FieldIndex", "str"
    if kind in _OF_A_LABEL_IMAGE:
        return "label", "int"
    return ("object_id", "str") if "object_id" in table.columns else None


def _check(
    table: pd.DataFrame,
    name: str,
    kind: TableKind,
    index: tuple[str, str] | None,
    label_image: str | None,
) -> None:
    problems = []
    if not _NAME.fullmatch(name):
        problems.append("a name has letters, digits and _ . - only")
    if kind in _OF_A_LABEL_IMAGE and label_image is None:
        problems.append("it needs the name of its label image")
    twice = table.columns[table.columns.duplicated()].unique()
    problems += [f"column {column} is there twice" for column in twice]
    columns: list[object] = list(table.columns)
    odd = [column for column in columns if not isinstance(column, str)]
    problems += [f"column name {column!r} is not text" for column in odd]
    needed = [*(ROI_COLUMNS if kind in ROI_KINDS else ()), *(index[:1] if index else ())]
    problems += [f"it has no column {column}" for column in needed if column not in columns]
    if index and not problems:
        problems += _index_problems(table[index[0]], index[1])
    if problems:
        raise WriteError(f"table {name!r} is no {kind}: " + "; ".join(problems))


def _index_problems(column: pd.Series[Any], index_type: str) -> list[str]:
    problems = []
    if index_type == "int" and not pd.api.types.is_integer_dtype(column.dtype):
        problems.append(f"its {column.name} holds {column.dtype}, not whole numbers")
    if index_type == "str" and not all(isinstance(value, str) for value in column):
        problems.append(f"its {column.name} holds what is not text")
    twice = column[column.duplicated()].unique()
    if len(twice):
        listed = ", ".join(map(str, twice[:3]))
        problems.append(f"its {column.name} is not unique: {listed} come more than once")
    return problems


def _files(
    version: Version, name: str, table: pd.DataFrame, attributes: Mapping[str, JSON]
) -> dict[str, bytes]:
    """Return the files of a table's group, by key below it; metadata last."""
    if attributes["type"] in ROI_KINDS:
        from hcs.plate.roi import roi_files

        return roi_files(version, table, attributes)
    try:
        files = {_PARQUET: to_parquet(table)}
    except pa.ArrowException as error:
        reasons = "; ".join(map(str, error.args))
        raise WriteError(f"table {name!r} does not fit a Parquet file: {reasons}") from error
    return files | group_files(version, attributes)


def _list_table(plate: Plate, group: str, name: str) -> None:
    attributes = read_attributes(plate.storage, plate.layout.version, group)
    names = _listed(attributes or {})
    if attributes is None or name not in names:
        # sorted: a run that was killed lists the same names in the same order
        listed = {"tables": sorted({*names, name})}
        write_group(plate.storage, plate.layout.version, group, (attributes or {}) | listed)


def _listed(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    names = attributes.get("tables")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _read_parquet(storage: Storage, key: str) -> pd.DataFrame:
    try:
        return from_parquet(storage.read(key, _LARGEST_FILE))
    except FileNotFoundError as error:
        raise CorruptError(f"{storage.url}/{key} is missing", hint=_MAKE_ANEW) from error
    except PlateError as error:
        raise CorruptError(error.message, hint=_MAKE_ANEW) from error
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        # pandas' own metadata in it may be damaged, too
        raise CorruptError(f"{storage.url}/{key} is damaged: {error}", hint=_MAKE_ANEW) from error


def _tables_group(where: FieldPath | None) -> str:
    return f"{where}/tables" if where else "tables"
