"""Where the frames of an imported plate came from: ``<plate>.hcs/import.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from hcs.errors import CorruptError, HcsError
from hcs.ingest.plan import ImportPlan
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.storage import Storage, check_key

_KEY = "import.json"
# bytes; a name and a digest for each of some million files
_LARGEST = 2**30
# how frames of a plate that was not imported are numbered in file names: t000
_DIGITS = 3


def _folder_name(name: str) -> str:
    # labels are exported into a folder of this name
    if name and ("/" in name or check_key(name) != name):
        raise ValueError(f"{name!r} is no name of a folder")
    return name


@dataclass(frozen=True)
class FieldSource:
    """Where the frames of one field came from.

    Parameters
    ----------
    sequence : str
        Folder name in the source; empty where the source had wells.
    times : tuple of int
        Source number of each frame.
    time_digits : int
        With how many digits the source writes it.
    """

    sequence: Annotated[str, AfterValidator(_folder_name)]
    times: tuple[Annotated[int, Field(ge=0)], ...]
    time_digits: Annotated[int, Field(ge=0, le=20)]


_reader = TypeAdapter(dict[str, FieldSource])


def write_provenance(companion: Storage, plan: ImportPlan, fingerprint: str) -> None:
    """Write which source each frame comes from, and the digest of all files' names and sizes."""
    fields = {
        str(field.path): {
            "sequence": field.sequence,
            "times": field.times,
            "time_digits": field.time_digits,
            "files": sorted({image.path.as_posix() for image in field.images}),
        }
        for field in plan.fields
    }
    record = {"fingerprint": fingerprint, "channels": plan.channels, "fields": fields}
    companion.write(_KEY, json.dumps(record, indent=1).encode())


def read_fingerprint(companion: Storage) -> str | None:
    """Return the digest that `write_provenance` kept; None where nothing was imported.

    Raises
    ------
    CorruptError
        If the file is damaged.
    """
    record = _read(companion)
    return None if record is None else str(record["fingerprint"])


def read_sources(plate: Plate) -> dict[FieldPath, FieldSource]:
    """Return where the frames of each imported field came from; empty for other plates."""
    try:
        fields = _reader.validate_python((_read(plate.companion) or {"fields": {}}).get("fields"))
        return {FieldPath.parse(path): field for path, field in fields.items()}
    except (ValidationError, HcsError) as error:
        raise _damaged(plate.companion, "it holds what no import wrote") from error


def field_source(
    sources: Mapping[FieldPath, FieldSource], plate: Plate, field: FieldPath
) -> FieldSource:
    """Return a field's source; frames of a field that was not imported count from 0."""
    n_frames = plate.field_image(field).n_frames
    return sources.get(field) or FieldSource("", tuple(range(n_frames)), _DIGITS)


def source_frames(plate: Plate, field: FieldPath) -> tuple[int, ...]:
    """Return the source number of each frame of a field, 0 to n - 1 where it was not imported."""
    return field_source(read_sources(plate), plate, field).times


def folder_name(plate: Plate, field: FieldPath, source: FieldSource) -> str:
    """Return the folder that stands for a field among files: its sequence's, or ``B03_0``."""
    name = source.sequence or field.well.name
    alone = source.sequence and len(plate.well(field.well).fields) == 1
    return name if alone else f"{name}_{field.name}"


def _read(companion: Storage) -> dict[str, Any] | None:
    try:
        content = companion.read(_KEY, _LARGEST)
    except FileNotFoundError:
        return None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(companion, str(error)) from error
    if not isinstance(record, dict):
        raise _damaged(companion, "no JSON object")
    return record


def _damaged(companion: Storage, why: str) -> CorruptError:
    return CorruptError(f"{companion.url}/{_KEY} is damaged: {why}", hint="import the plate again")
