"""Work on a plate well by well, where a bad well costs itself alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hcs.errors import (
    CorruptError,
    FramesError,
    HcsError,
    ImportFilesError,
    MissingError,
    PlateError,
)
from hcs.plate.open import Plate
from hcs.plate.path import WellPath

Result = TypeVar("Result")

# what is wrong with the files of one well; wrong settings or a full disk concern all of them
OWN_ERRORS = (CorruptError, FramesError, ImportFilesError, MissingError, PlateError)


@dataclass(frozen=True)
class LeftOut:
    """A well that was left out, and why.

    Examples
    --------
    >>> print(LeftOut(WellPath.parse("B/03"), PlateError("no field", hint="import it again")))
    B/03 is left out: no field (import it again)
    """

    well: WellPath
    cause: HcsError

    def __str__(self) -> str:
        """Return well, cause and hint in one line."""
        return f"{self.well} is left out: {self.cause}"


def by_well(
    plate: Plate, work: Callable[[WellPath], Result]
) -> tuple[list[Result], tuple[LeftOut, ...]]:
    """Return what the work gives for each well of a plate, and the wells that were left out.

    Raises
    ------
    HcsError
        What is wrong with the first well, if all of them are left out.
    """
    results, left_out = list[Result](), list[LeftOut]()
    for well in plate.layout.wells:
        try:
            results.append(work(well))
        except OWN_ERRORS as error:
            left_out.append(LeftOut(well, error))
    if left_out and not results:
        raise left_out[0].cause
    return results, tuple(left_out)
