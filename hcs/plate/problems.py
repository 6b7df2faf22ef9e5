"""Collect what is wrong with a plate, then raise it all at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hcs.errors import PlateError

T = TypeVar("T", bound=BaseModel)


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
        if text not in self.warnings:
            self.warnings.append(text)

    def check(self, subject: str, hint: str = "") -> None:
        """Raise one PlateError with all problems, if there are any."""
        if len(self.problems) == 1:
            raise PlateError(f"{subject}: {self.problems[0]}", hint)
        if self.problems:
            listed = "; ".join(self.problems)
            raise PlateError(f"{subject} has {len(self.problems)} problems: {listed}", hint)

    def parse(self, model: type[T], content: object, where: str) -> T | None:
        """Return JSON as a model; None after noting each part that does not fit."""
        try:
            return model.model_validate(content)
        except ValidationError as error:
            for part in error.errors():
                place = ".".join(map(str, (where, *part["loc"])))
                self.problem(f"{place}: {part['msg'].lower()}")
            return None
