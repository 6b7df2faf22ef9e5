"""Where things are in a plate: wells and fields of view by their path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from hcs.errors import PlateError

# OME-NGFF HCS: row, column and field names are alphanumeric, nothing else
_NAME = re.compile(r"[A-Za-z0-9]+")


def is_number(text: str) -> bool:
    """Tell whether a text is digits, of which Unicode has more than 0 to 9.

    Examples
    --------
    >>> is_number("007"), is_number("-1"), is_number("\N{SUPERSCRIPT TWO}"), is_number("")
    (True, False, False, False)
    """
    return text.isascii() and text.isdecimal()


def _check(name: str, kind: str) -> str:
    if not _NAME.fullmatch(name):
        raise PlateError(
            f"{kind} name {name!r} is not alphanumeric",
            hint="OME-NGFF allows the letters A-Z, a-z and the digits 0-9 only",
        )
    return name


@dataclass(frozen=True, order=True)
class WellPath:
    """A well by its row and column, as in ``"B/03"``.

    Raises
    ------
    PlateError
        If a name is not alphanumeric (OME-NGFF 0.4 and 0.5, plate layout).

    Examples
    --------
    >>> well = WellPath.parse("B/03")
    >>> str(well), well.name, well.row
    ('B/03', 'B03', 'B')
    """

    row: str
    column: str

    def __post_init__(self) -> None:
        """Check both names."""
        _check(self.row, "row")
        _check(self.column, "column")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"B/03"``; anything but exactly row/column is refused."""
        parts = text.split("/")
        if len(parts) != 2:
            raise PlateError(f"well path {text!r} is not row/column", hint="write it like B/03")
        return cls(*parts)

    @property
    def name(self) -> str:
        """The well as people write it, ``"B03"``."""
        return f"{self.row}{self.column}"

    def __str__(self) -> str:
        """Return the path in the store."""
        return f"{self.row}/{self.column}"


@dataclass(frozen=True, order=True)
class FieldPath:
    """A field of view of a well, as in ``"B/03/0"``: one NGFF image group.

    Examples
    --------
    >>> field = FieldPath.parse("B/03/0")
    >>> str(field), field.well.name, field.name
    ('B/03/0', 'B03', '0')
    """

    well: WellPath
    name: str

    def __post_init__(self) -> None:
        """Check the name."""
        _check(self.name, "field")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"B/03/0"``; anything but exactly row/column/field is refused."""
        well, _, field = text.rpartition("/")
        if well.count("/") != 1:
            raise PlateError(
                f"field path {text!r} is not row/column/field", hint="write it like B/03/0"
            )
        return cls(WellPath.parse(well), field)

    def __str__(self) -> str:
        """Return the path in the store."""
        return f"{self.well}/{self.name}"
