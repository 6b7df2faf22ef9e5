"""The plate map: which well gets what, and what that does to its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from hcs.plate.path import WellPath
from hcs.simulate.motion import Treatment
from hcs.simulate.settings import SimulationSettings

Control = Literal["negative", "positive", ""]

# concentrations fall by a factor of three from column to column, as on a real plate
_HIGHEST_UM = 30.0
_DILUTION = 3.0
_HALF_EFFECT_UM = 1.0
_HILL_SLOPE = 1.5
# of the full effect: cells nearly stop, hardly divide, and die ten times as often
_LEAST_MOTILITY = 0.1
_LEAST_GROWTH = 0.1
_MOST_DEATH = 10.0
_LEAST_LIGHT = 0.75


@dataclass(frozen=True)
class Condition:
    """What a well gets.

    Parameters
    ----------
    drug : str
        "DMSO" in the negative controls.
    concentration_um : float
        Micromolar, 0 in the negative controls.
    control : {"negative", "positive", ""}
    """

    drug: str
    concentration_um: float
    control: Control


def condition(settings: SimulationSettings, well: WellPath) -> Condition:
    """Return what a well gets: first column negative, last one positive control, doses between.

    Doses rise from left to right. A plate of two columns has controls only, one of one column
    negative controls only.

    Examples
    --------
    >>> plate = SimulationSettings(rows=1, columns=5)
    >>> [condition(plate, well).concentration_um for well in plate.wells]
    [0.0, 3.33..., 10.0, 30.0, 30.0]
    """
    column = settings.column_names.index(well.column)
    if column == 0:
        return Condition("DMSO", 0.0, "negative")
    if column == settings.columns - 1:
        return Condition("drug", _HIGHEST_UM, "positive")
    return Condition("drug", _HIGHEST_UM / _DILUTION ** (settings.columns - 2 - column), "")


def effect(concentration_um: float) -> float:
    """Return the share of the full effect at a concentration (Hill).

    Examples
    --------
    >>> effect(0.0), effect(1.0)
    (0.0, 0.5)
    """
    dose = float((concentration_um / _HALF_EFFECT_UM) ** _HILL_SLOPE)
    return dose / (1 + dose)


def treatment(settings: SimulationSettings, well: WellPath) -> Treatment:
    """Return what a well's condition and its place on the plate do to its cells."""
    share = effect(condition(settings, well).concentration_um)
    acts = {target: share if target in settings.drug_acts_on else 0.0 for target in _TARGETS}
    edge = settings.edge_effect if at_edge(settings, well) else 0.0
    return Treatment(
        motility=1 - (1 - _LEAST_MOTILITY) * acts["motility"],
        growth=(1 - (1 - _LEAST_GROWTH) * acts["growth"]) * (1 - 0.8 * edge),
        death=1 + (_MOST_DEATH - 1) * acts["death"],
    )


def brightness(settings: SimulationSettings, well: WellPath) -> float:
    """Return the light of a well relative to one inside the plate."""
    edge = settings.edge_effect if at_edge(settings, well) else 0.0
    return 1 - (1 - _LEAST_LIGHT) * edge


def at_edge(settings: SimulationSettings, well: WellPath) -> bool:
    """Return whether a well lies in an outermost row or column."""
    rows, columns = settings.row_names, settings.column_names
    return well.row in (rows[0], rows[-1]) or well.column in (columns[0], columns[-1])


def condition_table(settings: SimulationSettings) -> pd.DataFrame:
    """Return the plate map, one row per well, also for a well without images."""
    rows = []
    for well in settings.wells:
        given = condition(settings, well)
        rows.append(
            {
                "row": well.row,
                "column": well.column,
                "path_in_well": "0",
                "drug": given.drug,
                "concentration_um": given.concentration_um,
                "control": given.control,
            }
        )
    return pd.DataFrame(rows)


_TARGETS = ("motility", "growth", "death")
