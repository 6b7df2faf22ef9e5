"""Collect what is wrong with a plate, then raise it all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hcs.errors import PlateError
from hcs.shown import shown

T = TypeVar("T", bound=BaseModel)

# in one message, and warnings that are kept: hostile metadata have a million
_MOST_TOLD = 20
_MOST_WARNINGS = 1000


@dataclass(frozen=True)
class Problems:
    """Two lists that grow while metadata are read.

    Parameters
    ----------
    problems : list of str
        What makes reading impossible.
    warnings : list of str
        What is not as the specification says, but can be read.

    Examples
    --------
    >>> found = Problems()
    >>> found.problem("row 'B' is listed twice")
    >>> found.problem("well C/03 has no path")
    >>> found.check("plate demo")
    Traceback (most recent call last):
    hcs.errors.PlateError: plate demo has 2 problems: row 'B' is listed twice; well C/03 has no path
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Note what makes reading impossible."""
        self.problems.append(text)

    def warn(self, text: str) -> None:
        """Note what is odd, once."""
        text = shown(text)
        if text not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)

    def check(self, subject: str, hint: str = "") -> None:
        """Raise one PlateError with all problems, if there are any."""
        if len(self.problems) == 1:
            raise PlateError(f"{subject}: {self.problems[0]}", hint)
        if self.problems:
            more = len(self.problems) - _MOST_TOLD
            listed = "; ".join(self.problems[:_MOST_TOLD]) + (f"; {more} more" if more > 0 else "")
            raise PlateError(f"{subject} has {len(self.problems)} problems: {listed}", hint)

    def parse(self, model: type[T], content: object, where: str, subject: str) -> T:
        """Return JSON as a model; raise one PlateError with each part that does not fit."""
        try:
            return model.model_validate(content)
        except ValidationError as error:
            for part in error.errors(include_url=False, include_input=False):
                place = ".".join(map(str, (where, *part["loc"])))
                self.problem(f"{place}: {part['msg'].lower()}")
            self.check(subject)
            raise


def some(names: Sequence[object], most: int = 10) -> str:
    """Return names for a message, not more than a reader wants to see.

    Examples
    --------
    >>> some(["A/01", "A/02", "A/03"], most=2), some([])
    ('A/01, A/02 and 1 more', 'none')
    """
    shown = ", ".join(map(str, names[:most])) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
