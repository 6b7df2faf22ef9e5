"""Files named one by one in a CSV listing, as ``hcs import --write-listing`` makes one to edit."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hcs.errors import HcsError, ImportFilesError
from hcs.ingest.plan import FieldPlan
from hcs.ingest.source import SourceFile, field_name, well_path
from hcs.plate.path import WellPath, is_number
from hcs.shown import FORMULA, unformulated

COLUMNS = ("path", "page", "well", "field", "channel", "z", "time", "sequence")
AS_CSV = "save it as CSV in UTF-8; Excel calls that CSV UTF-8"
# digits of a number; nanoseconds since 1970 have as many
_LONGEST_NUMBER = 19


def read_listing(listing: Path, folder: Path) -> list[SourceFile]:
    """Return the files of a CSV listing.

    Parameters
    ----------
    listing : Path
        A CSV file with a header line. ``path`` is needed; of ``well`` (or ``row`` and ``column``),
        ``field``, ``channel``, ``z``, ``time``, ``page`` and ``sequence`` those that there are.
    folder : Path
        That relative paths start from.

    Raises
    ------
    ImportFilesError
        With every line that cannot be used; it is no CSV file in UTF-8.
    """
    try:
        with listing.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFilesError(f"listing {listing} is no CSV file: {error}", hint=AS_CSV) from error
    unknown = sorted(set(columns) - {*COLUMNS, "row", "column"})
    problems = []
    if unknown:
        named = f"unknown column{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}"
        problems.append(f"{named}; there are {', '.join(COLUMNS)}, row, column")
    if "path" not in columns:
        problems.append("no column 'path'")
    files = []
    for number, row in enumerate(rows if not problems else (), start=2):
        try:
            files.append(_file(row, folder))
        except HcsError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        raise ImportFilesError(f"listing {listing}: " + "; ".join(problems))
    return files


def write_listing(listing: Path, fields: Iterable[FieldPlan]) -> None:
    """Write planned planes as a listing that `read_listing` reads, to be edited by hand."""
    with listing.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for field in fields:
            where = [field.path.well.name, field.path.name]
            for image in field.images:
                path = image.path.resolve().as_posix()
                numbers = [image.channel, image.z, f"{image.time:0{field.time_digits}d}"]
                row = [path, image.page, *where, *numbers, field.sequence]
                writer.writerow(map(unformulated, row))


def _file(row: Mapping[str, str | None], folder: Path) -> SourceFile:
    cells = {name: _cell(row.get(name) or "") for name in (*COLUMNS, "row", "column")}
    if not cells["path"]:
        raise ImportFilesError("no path")
    time = cells.get("time", "")
    return SourceFile(
        path=folder / cells["path"],
        well=_well(cells),
        field=field_name(cells.get("field") or "0"),
        channel=cells.get("channel") or None,
        z=_number(cells, "z"),
        time=_number(cells, "time"),
        sequence=cells.get("sequence", ""),
        time_digits=len(time),
        page=_number(cells, "page"),
    )


def _cell(text: str) -> str:
    """Return a cell without the apostrophe that keeps spreadsheets from computing it."""
    text = text.strip()
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def _well(cells: Mapping[str, str]) -> WellPath | None:
    """Return the well of ``B03``, ``B/03`` or row and column; None where a sequence is told."""
    if cells.get("row") and cells.get("column"):
        return well_path(cells["row"], cells["column"])
    text = cells.get("well", "").replace("/", "")
    found = re.fullmatch(r"([A-Za-z]+)([0-9]+)", text)
    if found:
        return well_path(found[1], found[2])
    if text or not cells.get("sequence"):
        raise ImportFilesError(f"well {text!r} is none", hint="write it like B03")
    return None


def _number(cells: Mapping[str, str], name: str) -> int | None:
    text = cells.get(name, "")
    if text and not (is_number(text) and len(text) <= _LONGEST_NUMBER):
        shown = text[: _LONGEST_NUMBER + 1]
        raise ImportFilesError(f"{name} {shown!r} is no number, or too long for one")
    return int(text) if text else None
