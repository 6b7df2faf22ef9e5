"""Overnight analysis of live-cell high-content screens.

What a notebook or a script needs is here; each name is imported when it is first used::

    report = hcs.analyse("screen.zarr", hcs.Settings())
    wells = hcs.open_plate("screen.zarr").table("wells")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hcs.errors import HcsError
    from hcs.plate.open import Plate, open_plate
    from hcs.plate.path import FieldPath, WellPath
    from hcs.run.analyse import analyse
    from hcs.run.evaluate import evaluate_plate
    from hcs.run.plan import make_plan
    from hcs.run.truth import open_truth
    from hcs.settings import Settings, load_settings
    from hcs.simulate.plate import simulate_plate
    from hcs.simulate.settings import SimulationSettings

__version__ = "0.1.0.dev0"

__all__ = [
    "FieldPath",
    "HcsError",
    "Plate",
    "Settings",
    "SimulationSettings",
    "WellPath",
    "__version__",
    "analyse",
    "evaluate_plate",
    "load_settings",
    "make_plan",
    "open_plate",
    "open_truth",
    "simulate_plate",
]

# where the names of `__all__` live; the imports above tell the same to type checkers
_HOMES = {
    "FieldPath": "hcs.plate.path",
    "HcsError": "hcs.errors",
    "Plate": "hcs.plate.open",
    "Settings": "hcs.settings",
    "SimulationSettings": "hcs.simulate.settings",
    "WellPath": "hcs.plate.path",
    "analyse": "hcs.run.analyse",
    "evaluate_plate": "hcs.run.evaluate",
    "load_settings": "hcs.settings",
    "make_plan": "hcs.run.plan",
    "open_plate": "hcs.plate.open",
    "open_truth": "hcs.run.truth",
    "simulate_plate": "hcs.simulate.plate",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: all of them together take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
