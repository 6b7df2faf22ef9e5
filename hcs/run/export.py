"""Label images as TIFF files: a folder per sequence or field, a file per frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from hcs.errors import MissingError
from hcs.ingest.provenance import FieldSource, field_source, folder_name, read_sources
from hcs.plate.open import RUN_FIRST, Plate, label_key
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_label_image
from hcs.plate.storage import write_errors
from hcs.run.by_well import OWN_ERRORS, LeftOut, by_well


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
) -> tuple[LeftOut, ...]:
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

    Returns
    -------
    tuple of LeftOut
        Wells that cannot be read, or lack the label image: they get no files.

    Raises
    ------
    MissingError
        If no field has that label image.
    """
    check_label(plate, label)
    sources = read_sources(plate)

    def export_well(well: WellPath) -> None:
        done = list[Exported]()
        try:
            for field in plate.well(well).fields:
                source = field_source(sources, plate, field)
                own = folder / folder_name(plate, field, source)
                done.append(Exported(field, own, len(source.times)))
                if has_failed(plate, field, label):
                    done[-1] = Exported(field, own, 0)
                else:
                    _write_field(plate, done[-1], source, label)
        except OWN_ERRORS:
            for one in done:
                _remove_files(one.folder, field_source(sources, plate, one.field))
            raise
        for one in done:
            on_field(one)

    return by_well(plate, export_well)[1]


def _write_field(plate: Plate, exported: Exported, source: FieldSource, label: str) -> None:
    frames = read_label_image(plate, exported.field, label, range(exported.n_files))
    with write_errors(str(exported.folder)):
        exported.folder.mkdir(parents=True, exist_ok=True)
    for path, labels in zip(_files(exported.folder, source), frames, strict=True):
        with write_errors(str(exported.folder)):
            write_tiff(path, labels)


def _remove_files(folder: Path, source: FieldSource) -> None:
    for path in _files(folder, source):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _files(folder: Path, source: FieldSource) -> list[Path]:
    return [folder / f"t{time:0{source.time_digits}d}.tif" for time in source.times]


def write_tiff(path: Path, labels: NDArray[np.uint32]) -> None:
    """Write one label image, shape (y, x), as an uint32 TIFF that holds no date."""
    tifffile.imwrite(path, labels.astype(np.uint32), compression="zlib", metadata=None)


def has_failed(plate: Plate, field: FieldPath, label: str) -> bool:
    """Tell whether a label image stands empty for a well that failed.

    Raises
    ------
    MissingError
        If the field has no such label image.
    """
    names = plate.label_names(field)
    if label not in names:
        raise MissingError(
            f"field {field} has no label image {label!r}",
            hint=f"there are {', '.join(names)}" if names else RUN_FIRST,
        )
    return "state" in plate.attributes(label_key(field, label))


def check_label(plate: Plate, label: str) -> None:
    """Raise `MissingError` where no field that can be read has a label image, and what they have.

    Raises
    ------
    HcsError
        Also where no well can be read.
    """
    wells, _ = by_well(plate, lambda well: _label_names(plate, well))
    there = sorted({name for names in wells for name in names})
    if label not in there:
        raise MissingError(
            f"no field has a label image {label!r}",
            hint=f"there are {', '.join(there)}" if there else RUN_FIRST,
        )


def _label_names(plate: Plate, well: WellPath) -> set[str]:
    return {name for field in plate.well(well).fields for name in plate.label_names(field)}
