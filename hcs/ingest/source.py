"""What every source of images comes down to: which page of which file is which plane of the plate.

A way to import (a file name pattern, a listing, later a vendor's layout) is one module with one
function that returns `SourceFile`. All the rest of the room knows nothing else of where the files
come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

from hcs.errors import ImportFilesError
from hcs.ingest.ome_tiff import TiffFacts
from hcs.plate.path import FieldPath, WellPath, is_number

PageAxis = Literal["t", "z", "c"]

# rows of a 96-well plate hold twelve wells
_WELLS_PER_ROW = 12
# digits of a row's number
_LONGEST_ROW = 3
_ROWS = "rows count from 1, up to 999"


@dataclass(frozen=True)
class SourceFile:
    """One file and what its name, a listing or a vendor's index tells of it.

    Parameters
    ----------
    path : Path
    well : WellPath or None
        None where the well follows from the sequence (see `assign_wells`).
    field : str
        Name of the field of view within the well.
    channel : str or None
    z, time : int or None
        Source numbers, any first number; None where they are not told or lie in the file's pages.
    sequence : str
        The folder name that stands for a well where the source knows no plate.
    time_digits : int
        How many digits the source writes a time with, 3 in ``t007``.
    page : int or None
        The one page to take; None takes all.
    """

    path: Path
    well: WellPath | None = None
    field: str = "0"
    channel: str | None = None
    z: int | None = None
    time: int | None = None
    sequence: str = ""
    time_digits: int = 0
    page: int | None = None


@dataclass(frozen=True)
class SourceImage:
    """One plane: a page of a file, and where in the plate it belongs.

    Parameters
    ----------
    path : Path
    page : int
        Index into the pages of the file, in the order of its metadata.
    field : FieldPath
    channel : str
    z, time : int
        Source numbers.
    """

    path: Path
    page: int
    field: FieldPath
    channel: str
    z: int
    time: int

    @property
    def name(self) -> str:
        """The file, and the page where it is not the first."""
        return f"{self.path}" if self.page == 0 else f"{self.path} page {self.page}"


def natural_key(text: str) -> tuple[tuple[str, int, str], ...]:
    """Return a sort key that puts ``t9`` before ``t10``.

    Examples
    --------
    >>> sorted(["t10", "t9", "t1"], key=natural_key)
    ['t1', 't9', 't10']
    """
    return tuple(map(_part_key, re.split(r"([0-9]+)", text)))


def _part_key(part: str) -> tuple[str, int, str]:
    if not is_number(part):
        return part, -1, ""
    # not by int(), which refuses long ones
    digits = part.lstrip("0")
    return "", len(digits), digits


def plate_order(field: FieldPath) -> tuple[object, ...]:
    """Return a sort key that puts fields in the order of the plate: by row, column, field.

    Examples
    --------
    >>> sorted(map(FieldPath.parse, ["AA/01/0", "B/10/2", "B/02/10", "B/02/9"]), key=plate_order)[0]
    FieldPath(well=WellPath(row='B', column='02'), name='9')
    """
    well = field.well
    return len(well.row), well.row, natural_key(well.column), natural_key(field.name)


def well_path(row: str, column: str) -> WellPath:
    """Return the well of a row and a column as sources write them.

    Parameters
    ----------
    row : str
        A letter, or a number that counts from 1.
    column : str
        A number; written with at least two digits.

    Examples
    --------
    >>> str(well_path("b", "3")), str(well_path("03", "11")), str(well_path("27", "1"))
    ('B/03', 'C/11', 'AA/01')
    """
    letters = row_letters(_row_number(row) - 1) if is_number(row) else row.upper()
    return WellPath(letters, column.lstrip("0").rjust(2, "0") if is_number(column) else column)


def _row_number(text: str) -> int:
    number = text.lstrip("0")
    if len(number) > _LONGEST_ROW:
        raise ImportFilesError(f"row number {number[:9]} is not one", hint=_ROWS)
    return int(number or "0")


def row_letters(index: int) -> str:
    """Return the letters of a row that counts from 0.

    Examples
    --------
    >>> row_letters(0), row_letters(25), row_letters(26)
    ('A', 'Z', 'AA')
    """
    if index < 0:
        raise ImportFilesError(f"row number {index + 1} is not one", hint=_ROWS)
    letters = chr(ord("A") + index % 26)
    return letters if index < 26 else row_letters(index // 26 - 1) + letters


def field_name(text: str) -> str:
    """Return a field's name as the plate has it: numbers without leading zeros.

    Examples
    --------
    >>> field_name("007"), field_name("s1"), field_name("000")
    ('7', 's1', '0')
    """
    return (text.lstrip("0") or "0") if is_number(text) else text


def assign_wells(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Return the files, those without a well put into wells by their sequence.

    Sequences fill the wells in the natural order of their names, ``A/01``, ``A/02`` ..., twelve in
    a row.

    Examples
    --------
    >>> files = [SourceFile(Path("t1.tif"), sequence=name) for name in ("10", "9")]
    >>> [str(file.well) for file in assign_wells(files)]
    ['A/02', 'A/01']
    """
    files = list(files)
    names = sorted({file.sequence for file in files if file.well is None}, key=natural_key)
    wells = {
        name: well_path(str(i // _WELLS_PER_ROW + 1), str(i % _WELLS_PER_ROW + 1))
        for i, name in enumerate(names)
    }
    return [
        file if file.well is not None else replace(file, well=wells[file.sequence])
        for file in files
    ]


def source_images(
    file: SourceFile, facts: TiffFacts, page_axis: PageAxis | None
) -> list[SourceImage]:
    """Return the planes of one file, its own pages spread over the axes they run along.

    Parameters
    ----------
    file : SourceFile
        With its well known.
    facts : TiffFacts
        Of the same file.
    page_axis : {"t", "z", "c"} or None
        What the pages of a stack are where the file's own metadata do not say.

    Raises
    ------
    ImportFilesError
        If the pages cannot be placed, or name and pages both run along one axis.
    """
    if file.well is None:
        raise ImportFilesError(f"{file.path}: it belongs to no well")
    if file.page is not None:
        return [_image(file, facts, file.page, {})]
    axes = _page_axes(file, facts, page_axis)
    told = {"t": file.time, "z": file.z, "c": file.channel}
    twice = [axis for axis, length in axes.items() if length > 1 and told[axis] is not None]
    if twice:
        raise ImportFilesError(
            f"{file.path}: both its name and its {facts.n_pages} pages run along {twice[0]}",
            hint="leave that key out of the pattern or list the pages in a listing",
        )
    indices = product(*(range(length) for length in axes.values()))
    return [
        _image(file, facts, page, dict(zip(axes, index, strict=True)))
        for page, index in enumerate(indices)
    ]


def _page_axes(file: SourceFile, facts: TiffFacts, page_axis: PageAxis | None) -> dict[str, int]:
    if facts.page_axes is not None:
        return facts.page_axes
    if facts.n_pages == 1:
        return {}
    if page_axis is None:
        raise ImportFilesError(
            f"{file.path}: it has {facts.n_pages} pages and no metadata that say what they are",
            hint="say it with --page-axis t, z or c",
        )
    return {page_axis: facts.n_pages}


def _image(file: SourceFile, facts: TiffFacts, page: int, index: dict[str, int]) -> SourceImage:
    if file.well is None or page >= facts.n_pages:
        raise ImportFilesError(
            f"{file.path}: it has {facts.n_pages} pages, there is no page {page}"
        )
    return SourceImage(
        path=file.path,
        page=page,
        field=FieldPath(file.well, file.field),
        channel=file.channel or _channel(facts.channels, index.get("c", 0)),
        z=index.get("z", 0) if file.z is None else file.z,
        time=index.get("t", 0) if file.time is None else file.time,
    )


def _channel(names: Sequence[str], index: int) -> str:
    named = len(set(names)) == len(names) and index < len(names) and names[index] != ""
    return names[index] if named else f"channel_{index}"
