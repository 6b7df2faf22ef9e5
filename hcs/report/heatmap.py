"""A plate as people see it on the bench: a square per well, coloured by a figure of the well."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_WELL_INCH = 0.42
_MARGIN_INCH = (1.6, 0.9)
_DPI = 110
# numbers in the squares are read on small plates only
_MOST_NUMBERED = 96
_ABSENT = "#e3e5e8"
_FAILED = "#c0392b"


# a name with dollars is no formula
@mpl.rc_context({"text.parse_math": False})
def draw_heat_map(
    values: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    failed: Collection[tuple[str, str]] = (),
) -> bytes:
    """Draw a figure of every well at its place on the plate.

    Parameters
    ----------
    values : mapping of (row, column) to float
        Wells without a figure, or with NaN, stay grey.
    rows, columns : sequence of str
        Of the plate, in its order.
    title : str
        What is shown, with its unit.
    failed : collection of (row, column)
        Wells to cross out.

    Returns
    -------
    bytes
        A PNG file.

    Examples
    --------
    >>> draw_heat_map({("B", "2"): 41.0}, ["A", "B"], ["1", "2"], "cells per frame")[1:4]
    b'PNG'
    """
    grid = to_grid(values, rows, columns)
    colours = mpl.colormaps["viridis"].with_extremes(bad=_ABSENT)
    width, height = _MARGIN_INCH
    size = (len(columns) * _WELL_INCH + width, len(rows) * _WELL_INCH + height)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    # half a step between wells leaves the white lines that make them squares
    mesh = axes.pcolormesh(np.ma.masked_invalid(grid), cmap=colours, edgecolors="white")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_frame_on(False)
    axes.set_title(title, fontsize="medium")
    if np.isfinite(grid).any():
        figure.colorbar(mesh, ax=axes, shrink=0.8)
    for row, column in failed:
        place = (columns.index(column) + 0.5, rows.index(row) + 0.5)
        axes.plot(*place, "x", color=_FAILED, markersize=9, markeredgewidth=2)
    if len(rows) * len(columns) <= _MOST_NUMBERED:
        _write_numbers(axes, grid)
    page = io.BytesIO()
    figure.savefig(page, format="png")
    return page.getvalue()


def to_grid(
    values: Mapping[tuple[str, str], float], rows: Sequence[str], columns: Sequence[str]
) -> NDArray[np.float64]:
    """Return the figures as an array of rows and columns; NaN where there is none.

    Examples
    --------
    >>> to_grid({("B", "1"): 3.0}, ["A", "B"], ["1"]).tolist()
    [[nan], [3.0]]
    """
    grid = np.full((len(rows), len(columns)), np.nan)
    for (row, column), value in values.items():
        grid[rows.index(row), columns.index(column)] = value
    return grid


def _write_numbers(axes: mpl.axes.Axes, grid: NDArray[np.float64]) -> None:
    finite = grid[np.isfinite(grid)]
    middle = (finite.min() + finite.max()) / 2 if finite.size else 0.0
    for row, column in np.argwhere(np.isfinite(grid)):
        value = grid[row, column]
        colour = "black" if value > middle else "white"
        place = (column + 0.5, row + 0.5)
        axes.text(*place, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=6)
