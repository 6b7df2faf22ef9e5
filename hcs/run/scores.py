"""The scores of an evaluation: what they are, and where they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hcs.errors import SettingsError
from hcs.plate.open import Plate
from hcs.plate.storage import write_errors
from hcs.run.by_well import LeftOut


@dataclass(frozen=True)
class Evaluation:
    """The scores of one label image of a plate.

    Parameters
    ----------
    label : str
    truth : str
        Name of the truth.
    crop_px : int
    frames : DataFrame
        A row per frame with truth: place, coverage of the truth (``full`` or ``partial``), scores,
        and how many objects there are in truth and result. NaN where a score is not defined: only
        recall and SEG are for a partial truth.
    wells, plate : DataFrame
        Plain means over frames, complete and partial truths apart: every frame has one vote.
    tracks : DataFrame
        A row per field with true identities.
    failed : tuple of str
        Fields of wells that failed: they have no scores, which is not a score of 0.
    left_out : tuple of LeftOut
        Wells that cannot be read, or lack the label image where there is a truth, or whose truth
        cannot be used: no scores either.
    """

    label: str
    truth: str
    crop_px: int
    frames: pd.DataFrame
    wells: pd.DataFrame
    plate: pd.DataFrame
    tracks: pd.DataFrame
    failed: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def key(self) -> str:
        """Where the scores are kept beside the plate, without a suffix.

        It tells the truth and the rim, so that one evaluation does not take another's place.
        """
        return f"evaluation/{self.label}-{self.truth}-crop{self.crop_px}"

    def to_json(self) -> dict[str, Any]:
        """Return all tables as lists of rows, None for NaN."""
        tables = {name: getattr(self, name) for name in ("frames", "wells", "plate", "tracks")}
        rows = {name: rows_of(table) for name, table in tables.items()}
        left_out = [
            {"well": str(one.well), "problem": one.cause.message, "hint": one.cause.hint}
            for one in self.left_out
        ]
        return {
            "label": self.label,
            "truth": self.truth,
            "crop_px": self.crop_px,
            "failed": list(self.failed),
            "left_out": left_out,
            **rows,
        }


def write_evaluation(plate: Plate, evaluation: Evaluation, output: Path | None) -> str:
    """Write the scores and return where they are.

    Parameters
    ----------
    plate : Plate
    evaluation : Evaluation
    output : Path or None
        A ``.csv`` or ``.parquet`` file for the table of frames; None writes all tables as
        ``<plate>.hcs/evaluation/<label>-<truth>-crop<px>.json`` and that of frames as ``.csv``.

    Raises
    ------
    SettingsError
        If the file's name ends otherwise.
    """
    frames = evaluation.frames
    if output is None:
        key = evaluation.key
        plate.companion.write(f"{key}.csv", frames.to_csv(index=False).encode())
        plate.companion.write(f"{key}.json", json.dumps(evaluation.to_json(), indent=1).encode())
        return f"{plate.companion.url}/{key}.csv"
    check_output(output)
    with write_errors(str(output)):
        if output.suffix == ".csv":
            frames.to_csv(output, index=False)
        else:
            frames.to_parquet(output, index=False)
    return str(output)


def check_output(output: Path) -> None:
    """Raise `SettingsError` where a table cannot be written under that name."""
    if output.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"{output}: cannot write that", hint="name it .csv or .parquet")


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as rows, None for NaN."""
    return [
        {str(name): None if value != value else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
