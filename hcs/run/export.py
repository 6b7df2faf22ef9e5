"""Label images as TIFF files: a folder per sequence or field, a file per frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from hcs.errors import MissingError
from hcs.ingest.provenance import field_source, folder_name, read_sources
from hcs.plate.open import Plate, label_key
from hcs.plate.path import FieldPath
from hcs.plate.read import read_label_image
from hcs.plate.storage import write_errors


@dataclass(frozen=True)
class Exported:
    """One field's files.

    Parameters
    ----------
    field : FieldPath
    folder : Path
    n_files : int
        0 for a field of a failed well: it has no labels, not even empty ones.
    """

    field: FieldPath
    folder: Path
    n_files: int


def export_labels(
    plate: Plate, folder: Path, label: str, on_field: Callable[[Exported], None]
) -> None:
    """Write one label image of every field as ``<folder>/<sequence>/t007.tif``.

    The number is the source's, with as many digits as the source writes; fields of a plate that
    was not imported from sequences go to ``<folder>/B03_0``. Existing files are replaced.

    Parameters
    ----------
    plate : Plate
    folder : Path
    label : str
        Name of the label image.
    on_field : callable
        Is told of every field that is written.

    Raises
    ------
    MissingError
        If no field has that label image, or some have not; nothing is written then.
    """
    sources = read_sources(plate)
    fields = [field for well in plate.layout.wells for field in plate.well(well).fields]
    check_label(plate, label, fields)
    for field in fields:
        source = field_source(sources, plate, field)
        own = folder / folder_name(plate, field, source)
        if has_failed(plate, field, label):
            on_field(Exported(field, own, 0))
            continue
        frames = read_label_image(plate, field, label, range(len(source.times)))
        with write_errors(str(own)):
            own.mkdir(parents=True, exist_ok=True)
            for time, labels in zip(source.times, frames, strict=True):
                write_tiff(own / f"t{time:0{source.time_digits}d}.tif", labels)
        on_field(Exported(field, own, len(source.times)))


def write_tiff(path: Path, labels: NDArray[np.uint32]) -> None:
    """Write one label image, shape (y, x), as an uint32 TIFF that holds no date."""
    tifffile.imwrite(path, labels.astype(np.uint32), compression="zlib", metadata=None)


def has_failed(plate: Plate, field: FieldPath, label: str) -> bool:
    """Tell whether a label image stands empty for a well that failed."""
    return "state" in plate.attributes(label_key(field, label))


def check_label(plate: Plate, label: str, fields: list[FieldPath]) -> None:
    """Raise `MissingError` naming the fields that lack a label image, and what they have."""
    lacking = [field for field in fields if label not in plate.label_names(field)]
    if lacking:
        there = sorted({name for field in fields for name in plate.label_names(field)})
        raise MissingError(
            f"{len(lacking)} of {len(fields)} fields have no label image {label!r}, "
            f"first {lacking[0]}",
            hint=f"there are {', '.join(there)}" if there else "run an analysis first: hcs run",
        )
