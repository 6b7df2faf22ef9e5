"""Sizes in micrometers and seconds from what a plate's axes say, or fail to say."""

from __future__ import annotations

from hcs.plate.problems import Problems

# UDUNITS names, as the specification has them
_LENGTHS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
_TIMES = {
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
# what is found in the wild
_SHORT = {
    "nm": "nanometer",
    "um": "micrometer",
    "\N{MICRO SIGN}m": "micrometer",
    "\N{GREEK SMALL LETTER MU}m": "micrometer",
    "micron": "micrometer",
    "mm": "millimeter",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
}
# relative: y and x that differ by less are one pixel size, written with few digits
_SQUARE_TOLERANCE = 1e-3


def full_name(axis: str, unit: str | None) -> str | None:
    """Return a unit by its full name, None where it is missing or not one of the axis's.

    Examples
    --------
    >>> full_name("y", "um"), full_name("t", "s"), full_name("c", None)
    ('micrometer', 'second', None)
    """
    name = _SHORT.get(unit or "", unit)
    return name if name in (_TIMES if axis == "t" else _LENGTHS) else None


def step_size(
    axis: str, unit: str | None, step: float, subject: str, found: Problems
) -> float | None:
    """Return the step along an axis in micrometers or seconds; None where nothing tells.

    Parameters
    ----------
    axis : {"t", "z", "y", "x"}
    unit : str or None
        As written.
    step : float
        The scale at full resolution, in that unit.
    subject : str
        How warnings name the image.
    found : Problems
        Takes the warnings.

    Examples
    --------
    >>> found = Problems()
    >>> step_size("t", "minute", 15.0, "field B/03/0", found)
    900.0
    >>> step_size("y", None, 1.0, "field B/03/0", found)
    >>> found.warnings
    ['field B/03/0: axis y has neither unit nor size']
    """
    units, own = (_TIMES, "second") if axis == "t" else (_LENGTHS, "micrometer")
    if unit is None:
        # a scale of 1 without a unit is what writers put where nobody told them
        if step == 1.0:
            found.warn(f"{subject}: axis {axis} has neither unit nor size")
            return None
        found.warn(f"{subject}: axis {axis} has no unit; its step {step:g} is taken as {own}s")
        return step
    name = full_name(axis, unit)
    if name is None:
        found.warn(f"{subject}: unit {unit!r} of axis {axis} is unknown; no size is taken from it")
        return None
    if name != unit:
        found.warn(f"{subject}: unit {unit!r} of axis {axis} should be {name!r}")
    return step * units[name]


def pixel_size(y: float | None, x: float | None, subject: str, found: Problems) -> float | None:
    """Return the one size of square pixels in micrometers; None where nothing tells.

    Examples
    --------
    >>> pixel_size(0.65, 0.65, "field B/03/0", Problems())
    0.65
    """
    if y is None or x is None:
        return None
    if abs(y - x) > _SQUARE_TOLERANCE * max(y, x):
        found.warn(
            f"{subject}: pixels are not square (y {y:g}, x {x:g} micrometers); no size is taken"
        )
        return None
    return y
