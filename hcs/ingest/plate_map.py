"""What was done to which well: a CSV plate map becomes the plate's ``condition`` table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hcs.errors import HcsError, ImportFilesError
from hcs.ingest.findings import some
from hcs.ingest.listing import AS_CSV
from hcs.ingest.source import well_path
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.table import write_table

_PLACE = ["row", "column", "path_in_well"]


def read_plate_map(plate_map: Path, fields: Sequence[FieldPath]) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per well of the plate with the map's columns, and warnings.

    Parameters
    ----------
    plate_map : Path
        CSV with a header; ``well`` (B3, B03 or B/03) or ``row`` and ``column``, then free columns
        such as ``drug``, ``concentration``, ``control``.
    fields : sequence of FieldPath
        Of the plate.

    Returns
    -------
    table : DataFrame
        ``row``, ``column``, ``path_in_well`` (the first field), then the free columns; wells that
        the map lacks have missing values.
    warnings : list of str

    Raises
    ------
    ImportFilesError
        With every line that names no well or one that another line has named; it is no CSV file
        in UTF-8.
    """
    try:
        table = pd.read_csv(plate_map, dtype={"well": str, "row": str, "column": str}, comment="#")
    except ValueError as error:
        # of letters, quotes, columns: those of pandas are of this kind, too
        raise ImportFilesError(
            f"plate map {plate_map} is no CSV file: {str(error).strip()}", hint=AS_CSV
        ) from error
    if "well" not in table and not {"row", "column"} <= set(table):
        raise ImportFilesError(
            f"plate map {plate_map}: no column 'well', nor 'row' and 'column'",
            hint=f"it has {', '.join(map(str, table.columns))}",
        )
    wells = _wells(plate_map, table)
    free = [name for name in table.columns if name not in {"well", *_PLACE}]
    first = {field.well: field.name for field in reversed(fields)}
    order = sorted(first)
    rows = pd.DataFrame([(well.row, well.column, first[well]) for well in order], columns=_PLACE)
    described = table[free].set_axis(pd.Index(wells), axis=0).reindex(pd.Index(order))
    lacking = [well for well in order if well not in set(wells)]
    unused = [well for well in wells if well not in first]
    warnings = [f"the plate map lacks {some(lacking)}"] if lacking else []
    warnings += [f"the plate map names {some(unused)}, not in the plate"] if unused else []
    return pd.concat([rows, described.reset_index(drop=True)], axis=1), warnings


def write_condition(plate: Plate, condition: pd.DataFrame) -> None:
    """Write the table that `read_plate_map` made of a plate map."""
    write_table(plate, None, "condition", condition, "condition_table")


def _wells(plate_map: Path, table: pd.DataFrame) -> list[WellPath]:
    wells, problems = list[WellPath](), []
    for number, line in enumerate(table.to_dict("records"), start=2):
        try:
            well = _well(str(line.get("well", "")), str(line.get("row")), str(line.get("column")))
        except HcsError as error:
            problems.append(f"line {number}: {error}")
            continue
        if well in wells:
            problems.append(f"line {number}: {well.name} is there already")
        wells.append(well)
    if problems:
        raise ImportFilesError(f"plate map {plate_map}: " + "; ".join(problems))
    return wells


def _well(text: str, row: str, column: str) -> WellPath:
    found = re.fullmatch(r"([A-Za-z]+)/?([0-9]+)", text) or re.fullmatch(
        r"([A-Za-z]+|[0-9]+)/([0-9]+)", f"{row}/{column}"
    )
    if found is None:
        raise ImportFilesError(f"well {text!r} is none", hint="write it like B03")
    return well_path(found[1], found[2])
