"""``annotations.json``: which frames a folder of annotations holds, and what was proposed there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hcs.errors import MissingError, TrainingError
from hcs.plate.storage import write_errors

INDEX = "annotations.json"

Kind = Literal["nuclei", "cells"]


class IndexedFrame(BaseModel):
    """One annotated frame, as the index has it; files are named from the folder on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    frame: int
    image: str
    labels: str
    shape: tuple[int, int]
    pixel_size_um: float | None
    proposal: str


class AnnotationIndex(BaseModel):
    """What ``annotations.json`` holds.

    Parameters
    ----------
    plate : str
        Name of the plate that the frames are from.
    kind : {"nuclei", "cells"}
        What the objects are.
    stain : str
        Channel in which they were found.
    segmenter : str
        What proposed them.
    frames : tuple of IndexedFrame
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate: str
    kind: Kind
    stain: str
    segmenter: str
    frames: tuple[IndexedFrame, ...]


def read_index(folder: Path) -> AnnotationIndex:
    """Return the index of a folder.

    Raises
    ------
    MissingError
        If there is none.
    TrainingError
        If it is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise MissingError(
            f"no annotations in {folder}: it has no {INDEX}", hint="make some: hcs annotate make"
        )
    try:
        return AnnotationIndex.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, part['loc'])) or 'file'}: {part['msg']}" for part in error.errors()
        )
        raise TrainingError(f"{path} is damaged: {found}", hint="make it anew") from error


def write_index(folder: Path, index: AnnotationIndex) -> None:
    """Write the index of a folder, whole or not at all; the folder is made."""
    part = folder / f"{INDEX}.part"
    with write_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(index.model_dump_json(indent=1) + "\n")
        part.replace(folder / INDEX)
