"""Which frames are trained on, validated and scored: none is ever in two parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hcs.errors import SettingsError
from hcs.plate.path import FieldPath
from hcs.plate.problems import some
from hcs.run.training import PARTS, ColumnRanges, PartSettings

PartName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Place:
    """A frame of a field of one of the plates, or some columns of it.

    Parameters
    ----------
    source : int
        Index of the plate in the settings.
    field : FieldPath
    frame : int
        From 0.
    columns : tuple of int, optional
        First and end, pixels; None for the whole frame.
    """

    source: int
    field: FieldPath
    frame: int
    columns: tuple[int, int] | None = None


@dataclass(frozen=True)
class Parts:
    """The places of each part, in the order of plates, fields and frames."""

    train: tuple[Place, ...]
    validation: tuple[Place, ...]
    test: tuple[Place, ...]


def split_places(
    places: Sequence[Place], settings: PartSettings, columns: Sequence[ColumnRanges | None]
) -> Parts:
    """Divide places among the parts; a well, or field, with all its frames stays together.

    Parameters
    ----------
    places : sequence of Place
        Whole frames.
    settings : PartSettings
    columns : sequence of ColumnRanges or None
        Of each plate, for a split by columns.

    Raises
    ------
    SettingsError
        If a well or field that a part lists is not there, or nothing is left to train on.

    Examples
    --------
    >>> places = [Place(0, FieldPath.parse(f"A/{i}/0"), 0) for i in range(1, 5)]
    >>> parts = split_places(places, PartSettings(validation=("A/2",), test="none"), [None])
    >>> [str(place.field) for place in parts.train]
    ['A/1/0', 'A/3/0', 'A/4/0']
    """
    if settings.by == "columns":
        return Parts(*(_columns_of(places, columns, part) for part in PARTS))
    assigned = _assign(sorted({_unit(place, settings.by) for place in places}), settings)
    return Parts(
        *(tuple(p for p in places if assigned.get(_unit(p, settings.by)) == part) for part in PARTS)
    )


def spread(places: Sequence[Place], at_most: int) -> tuple[Place, ...]:
    """Return so many places, evenly spread over all of them.

    Examples
    --------
    >>> field = FieldPath.parse("B/03/0")
    >>> [place.frame for place in spread([Place(0, field, t) for t in range(7)], 3)]
    [0, 3, 6]
    """
    if len(places) <= at_most:
        return tuple(places)
    chosen = np.linspace(0, len(places) - 1, at_most).round().astype(int)
    return tuple(places[index] for index in chosen)


def mixed(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return places in an order in which the first few are of different fields and times."""
    order = np.random.default_rng(0).permutation(len(places))
    return tuple(places[index] for index in order)


# index of the plate, path of the well or field
_Unit = tuple[int, str]


def _unit(place: Place, by: str) -> _Unit:
    return place.source, str(place.field.well if by == "well" else place.field)


def _columns_of(
    places: Sequence[Place], columns: Sequence[ColumnRanges | None], part: str
) -> tuple[Place, ...]:
    ranges = [getattr(of_plate, part) if of_plate else None for of_plate in columns]
    return tuple(
        replace(place, columns=ranges[place.source]) for place in places if ranges[place.source]
    )


def _assign(units: Sequence[_Unit], settings: PartSettings) -> dict[_Unit, str]:
    """Return the part of each unit; one that is in none has no entry."""
    wanted = {part: getattr(settings, part) for part in PARTS}
    _check_listed(units, wanted, settings.by)
    named = {
        name: part for part, names in wanted.items() if isinstance(names, tuple) for name in names
    }
    assigned = {unit: named[unit[1]] for unit in units if unit[1] in named}
    drawn = [unit for unit in units if unit not in assigned]
    drawn = [drawn[i] for i in np.random.default_rng(settings.seed).permutation(len(drawn))]
    for part in ("test", "validation"):
        if isinstance(wanted[part], float):
            count = max(1, round(wanted[part] * len(units)))
            assigned |= dict.fromkeys(drawn[:count], part)
            drawn = drawn[count:]
    if not settings.train:
        assigned |= dict.fromkeys(drawn, "train")
    _check_enough(units, assigned, wanted, settings.by)
    return assigned


def _check_listed(units: Sequence[_Unit], wanted: dict[str, object], by: str) -> None:
    there = [name for _, name in units]
    missing = [
        f"split.{part}: {some([name for name in names if name not in there])}"
        for part, names in wanted.items()
        if isinstance(names, tuple) and not set(names) <= set(there)
    ]
    if missing:
        raise SettingsError(
            f"no such {by} among the images to train with: " + "; ".join(missing),
            hint=f"there are {some(there)}",
        )


def _check_enough(
    units: Sequence[_Unit], assigned: dict[_Unit, str], wanted: dict[str, object], by: str
) -> None:
    counts = {part: list(assigned.values()).count(part) for part in PARTS}
    empty = [part for part in PARTS if not counts[part] and wanted[part] != "none"]
    if not empty:
        return
    raise SettingsError(
        f"{len(units)} {by}{'s' if len(units) != 1 else ''} cannot be split: {counts['train']} to "
        f"train on, {counts['validation']} to validate, {counts['test']} to test",
        hint="give more, split by field, give column ranges, or set split.validation or "
        "split.test to none",
    )
