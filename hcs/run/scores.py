"""The scores of an evaluation, of labels or of stains: what they are, where they are written."""

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
from hcs.shown import unformulated


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
    without : tuple of str
        Wells that were not to be scored, such as those trained on.
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
    without: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where the scores are kept beside the plate, without a suffix.

        It tells the truth and the rim, so that one evaluation does not take another's place.
        """
        return _key(self.label, self)

    def to_json(self) -> dict[str, Any]:
        """Return all tables as lists of rows, None for NaN."""
        tables = ("frames", "wells", "plate", "tracks")
        return {"label": self.label} | _facts(self) | {t: rows_of(getattr(self, t)) for t in tables}


@dataclass(frozen=True)
class StainEvaluation:
    """The scores of the stains that one network predicted.

    Parameters
    ----------
    model : str
        Name of the network.
    truth : str
        Name of the plate with the measured stains.
    crop_px : int
    frames : DataFrame
        A row per frame and stain: place, scores, and for nuclear stains how many nuclei there are
        in truth and prediction. NaN for a frame for which nothing is predicted.
    wells, plate : DataFrame
        Plain means over frames, stain by stain; of the plate also the correlation of the numbers
        of nuclei over all frames.
    failed, left_out, without
        As those of `Evaluation`.
    """

    model: str
    truth: str
    crop_px: int
    frames: pd.DataFrame
    wells: pd.DataFrame
    plate: pd.DataFrame
    failed: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where the scores are kept beside the plate, without a suffix."""
        return _key(f"isl-{self.model}", self)

    def to_json(self) -> dict[str, Any]:
        """Return all tables as lists of rows, None for NaN."""
        tables = ("frames", "wells", "plate")
        return {"model": self.model} | _facts(self) | {t: rows_of(getattr(self, t)) for t in tables}


def _key(what: str, scores: Evaluation | StainEvaluation) -> str:
    left = "-without-" + "-".join(scores.without) if scores.without else ""
    return f"evaluation/{what}-{scores.truth}-crop{scores.crop_px}{left.replace('/', '')}"


def _facts(scores: Evaluation | StainEvaluation) -> dict[str, Any]:
    left_out = [
        {"well": str(one.well), "problem": one.cause.message, "hint": one.cause.hint}
        for one in scores.left_out
    ]
    return {
        "truth": scores.truth,
        "crop_px": scores.crop_px,
        "failed": list(scores.failed),
        "left_out": left_out,
        "without": list(scores.without),
    }


def write_evaluation(
    plate: Plate, evaluation: Evaluation | StainEvaluation, output: Path | None
) -> str:
    """Write the scores and return where they are.

    Parameters
    ----------
    plate : Plate
    evaluation : Evaluation or StainEvaluation
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
        plate.companion.write(f"{key}.csv", to_csv(frames).encode())
        plate.companion.write(f"{key}.json", json.dumps(evaluation.to_json(), indent=1).encode())
        return f"{plate.companion.url}/{key}.csv"
    check_output(output)
    with write_errors(str(output)):
        if output.suffix == ".csv":
            output.write_text(to_csv(frames), encoding="utf-8")
        else:
            frames.to_parquet(output, index=False)
    return str(output)


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no text is a formula to a spreadsheet.

    Examples
    --------
    >>> print(to_csv(pd.DataFrame({"sequence": ["=1+1", "a"], "f1": [-0.5, 1.0]})), end="")
    sequence,f1
    '=1+1,-0.5
    a,1.0
    """
    words = table.select_dtypes(["object", "string"]).map(unformulated)
    text: str = table.assign(**words).rename(columns=unformulated).to_csv(index=False)
    return text


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
