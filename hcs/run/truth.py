"""Where a truth comes from: a plate beside the plate, or a folder of annotated masks.

Which masks count, as the annotated sets say it of themselves: ``gold_full`` and ``manual`` are
complete; ``gold_partial`` holds some of the cells, its background is unknown; ``tra_markers`` have
the right count and identity but no outline, so they tell of tracks alone; ``silver`` and
``*_NOT_TRUTH`` are made by programs and tell of nothing.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError, MissingError, PlateError
from hcs.ingest.ome_tiff import open_pages, read_page
from hcs.ingest.provenance import FieldSource, field_source, folder_name, read_sources
from hcs.plate.group import OWN
from hcs.plate.open import Plate, label_key, open_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_label_image
from hcs.plate.table import read_table, table_names
from hcs.run.annotation_index import INDEX, read_index

Coverage = Literal["full", "partial"]
Labels = NDArray[np.uint32]

_TIFF = {".tif", ".tiff"}
# the first folder of these that is there is the complete truth, as score scripts of the sets do
_FULL = ("gold_full", "manual")
_PARTIAL = "gold_partial"
_MARKERS = "tra_markers"
_NEVER = re.compile(r"silver|tra_markers|.*_NOT_TRUTH")


@dataclass(frozen=True)
class TrackTruth:
    """True identities of one field.

    Parameters
    ----------
    frames : tuple of int
        Indices of the frames for which there are identities.
    parents : mapping of int to int
        Parent of each track, 0 for none.
    """

    frames: tuple[int, ...]
    parents: Mapping[int, int]


class Truth(ABC):
    """What is known of a plate, field by field."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in file names."""

    @abstractmethod
    def coverage(self, field: FieldPath) -> dict[int, Coverage]:
        """Return the frames, by index, of which outlines are known, and of how many cells."""

    @abstractmethod
    def labels(self, field: FieldPath, frame: int) -> Labels:
        """Return the true label image of one frame that `coverage` names."""

    @abstractmethod
    def tracks(self, field: FieldPath) -> TrackTruth | None:
        """Return which frames have identities; None for none."""

    @abstractmethod
    def markers(self, field: FieldPath, frame: int) -> Labels:
        """Return the identities of one frame that `tracks` names, as a label image."""


def open_truth(where: str, plate: Plate, label: str) -> Truth:
    """Return the truth of a plate from a truth plate or a folder of masks.

    Parameters
    ----------
    where : str
        URL of a plate, or a folder: a data set's, a sequence's, or one of masks.
    plate : Plate
        That is evaluated.
    label : str
        The label image that is evaluated: ``ssl_cells`` and ``isl_cells`` are compared with the
        truth's ``cells``, ``isl_nuclei`` with its ``nuclei``.

    Raises
    ------
    MissingError
        If there is neither, or the folder's annotations are of another plate or of other objects.
    TrainingError
        If the index of an annotated folder is damaged.
    """
    folder = Path(where)
    is_plate = any((folder / name).is_file() for name in (".zattrs", "zarr.json"))
    if is_plate or "://" in where:
        return TruthPlate(open_plate(where), label)
    if not folder.is_dir():
        raise MissingError(f"no truth at {where}", hint="give a truth plate or a folder of masks")
    if (folder / INDEX).is_file():
        _check_annotations(folder, plate, label)
    return MaskFolder(folder, plate)


def _check_annotations(folder: Path, plate: Plate, label: str) -> None:
    """Raise `MissingError` where annotated frames are of another plate or of other objects."""
    index = read_index(folder)
    others = {"nuclei": "cells", "cells": "nuclei"}
    if index.plate != plate.storage.name or label.endswith(others[index.kind]):
        raise MissingError(
            f"{folder} holds annotated {index.kind} of plate {index.plate!r}: no truth for {label} "
            f"of plate {plate.storage.name!r}"
        )


def true_label_image(truth: Plate, field: FieldPath, label: str) -> str:
    """Return the name of a truth plate's label image that a label image is compared with.

    Of several that fit, none that a run of hcs wrote is the truth.

    Raises
    ------
    MissingError
        None fits, or several do; names those there are.
    """
    names = truth.label_names(field)
    fitting = [name for name in names if label.endswith(name)]
    possible = fitting or list(names)
    if len(possible) > 1:
        possible = [name for name in possible if not _is_of_a_run(truth, field, name)] or possible
    if len(possible) == 1:
        return possible[0]
    what = (
        f"several label images that fit {label!r}" if fitting else f"no label image for {label!r}"
    )
    raise MissingError(
        f"truth {truth.storage.url} has {what}",
        hint=f"field {field} has {', '.join(fitting or names) or 'none'}",
    )


def _is_of_a_run(plate: Plate, field: FieldPath, name: str) -> bool:
    own = plate.attributes(label_key(field, name)).get(OWN)
    # an empty one stands for a well that failed, or was pruned
    return isinstance(own, dict) and ("step" in own or own.get("chunks") == "none")


class TruthPlate(Truth):
    """A plate with true label images under the same fields."""

    def __init__(self, plate: Plate, label: str) -> None:
        self._plate = plate
        self._label = label

    @property
    def name(self) -> str:
        """Name of the plate."""
        return self._plate.storage.name

    def coverage(self, field: FieldPath) -> dict[int, Coverage]:
        """Return every frame, or none for a field that the truth lacks."""
        if field.well not in self._plate.layout.wells:
            return {}
        return dict.fromkeys(range(self._plate.field_image(field).n_frames), "full")

    def labels(self, field: FieldPath, frame: int) -> Labels:
        """Return the true label image of one frame."""
        name = true_label_image(self._plate, field, self._label)
        return next(iter(read_label_image(self._plate, field, name, range(frame, frame + 1))))

    def tracks(self, field: FieldPath) -> TrackTruth | None:
        """Return the parents of the table ``tracks``, where there is one."""
        if not self.coverage(field) or "tracks" not in table_names(self._plate, field):
            return None
        table = read_table(self._plate, field, "tracks")
        parents = dict(zip(table["label"], table["parent_label"], strict=True))
        return TrackTruth(
            tuple(self.coverage(field)), {int(own): int(of) for own, of in parents.items()}
        )

    def markers(self, field: FieldPath, frame: int) -> Labels:
        """Return the true label image: its ids stay with their cells."""
        return self.labels(field, frame)


class MaskFolder(Truth):
    """Masks on disk, matched to frames by the source's numbers.

    A data set's folder holds a folder per sequence with ``masks/`` in it; a sequence's folder, or
    a plain folder of masks, serves a plate of one field.
    """

    def __init__(self, folder: Path, plate: Plate) -> None:
        self._folder = folder
        self._plate = plate
        self._sources = read_sources(plate)

    @property
    def name(self) -> str:
        """Name of the folder; of one within a sequence's masks, as in ``s1-masks-manual``."""
        parts = self._folder.resolve().parts
        return "-".join(parts[parts.index("masks") - 1 :] if "masks" in parts else parts[-1:])

    def _source(self, field: FieldPath) -> FieldSource:
        return field_source(self._sources, self._plate, field)

    def _masks(self, field: FieldPath) -> Path | None:
        """Return the folder with the masks of a field, or with folders of them."""
        name = folder_name(self._plate, field, self._source(field))
        own = self._folder / name
        if own.is_dir():
            return own / "masks" if (own / "masks").is_dir() else own
        wells = self._plate.layout.wells
        alone = len(wells) == 1 and len(self._plate.well(wells[0]).fields) == 1
        # <sequence>, <sequence>/masks or <sequence>/masks/gold_full
        above = self._folder.resolve().parts[-3:]
        if not alone and name not in above:
            return None
        inner = self._folder / "masks"
        return inner if inner.is_dir() else self._folder

    def _files(self, field: FieldPath) -> dict[int, tuple[Path, Coverage]]:
        masks = self._masks(field)
        if masks is None:
            return {}
        full = next((masks / kind for kind in _FULL if (masks / kind).is_dir()), None)
        partial = masks / _PARTIAL
        if full is None and not partial.is_dir():
            return self._plain_files(masks, field)
        known: dict[int, tuple[Path, Coverage]] = {}
        if partial.is_dir():
            known |= {k: (path, "partial") for k, path in self._numbered(partial, field).items()}
        if full is not None:
            known |= {k: (path, "full") for k, path in self._numbered(full, field).items()}
        return known

    def _plain_files(self, masks: Path, field: FieldPath) -> dict[int, tuple[Path, Coverage]]:
        if _NEVER.fullmatch(masks.resolve().name):
            raise PlateError(
                f"{masks} is no truth for outlines", hint="use gold_full, gold_partial or manual"
            )
        coverage: Coverage = "partial" if masks.resolve().name == _PARTIAL else "full"
        return {k: (path, coverage) for k, path in self._numbered(masks, field).items()}

    def _numbered(self, folder: Path, field: FieldPath) -> dict[int, Path]:
        """Return the TIFF files of a folder by the index of the frame that they belong to."""
        index = {time: k for k, time in enumerate(self._source(field).times)}
        found = dict[int, Path]()
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _TIFF):
            number = frame_number(path)
            if number not in index:
                continue
            if index[number] in found:
                raise PlateError(f"two masks of frame {number}: {found[index[number]]} and {path}")
            found[index[number]] = path
        return dict(sorted(found.items()))

    def complete(self, field: FieldPath) -> dict[int, Path]:
        """Return the masks that hold every object, by the index of their frame."""
        files = self._files(field).items()
        return {frame: path for frame, (path, coverage) in sorted(files) if coverage == "full"}

    def coverage(self, field: FieldPath) -> dict[int, Coverage]:
        """Return the frames that have a mask with outlines."""
        return {frame: coverage for frame, (_, coverage) in sorted(self._files(field).items())}

    def labels(self, field: FieldPath, frame: int) -> Labels:
        """Return the mask of one frame."""
        return read_mask(self._files(field)[frame][0])

    def _marker_folder(self, field: FieldPath) -> Path | None:
        masks = self._masks(field)
        folder = None if masks is None else masks / _MARKERS
        return folder if folder is not None and (folder / "man_track.txt").is_file() else None

    def tracks(self, field: FieldPath) -> TrackTruth | None:
        """Return the lineage of ``tra_markers/man_track.txt``, where there is one."""
        folder = self._marker_folder(field)
        if folder is None:
            return None
        rows = np.loadtxt(folder / "man_track.txt", dtype=np.int64, ndmin=2)
        return TrackTruth(
            tuple(self._numbered(folder, field)), {int(row[0]): int(row[3]) for row in rows}
        )

    def markers(self, field: FieldPath, frame: int) -> Labels:
        """Return the marker image of one frame."""
        folder = self._marker_folder(field)
        if folder is None:
            raise MissingError(f"no markers of {field} in {self._folder}")
        return read_mask(self._numbered(folder, field)[frame])


def frame_number(path: Path) -> int | None:
    """Return the last number of a file name.

    Examples
    --------
    >>> frame_number(Path("man_seg020.tif")), frame_number(Path("t1_7.ome.tif"))
    (20, 7)
    """
    numbers = re.findall(r"\d+", re.sub(r"(\.ome)?\.tiff?$", "", path.name, flags=re.IGNORECASE))
    return int(numbers[-1]) if numbers else None


def read_mask(path: Path) -> Labels:
    """Return a mask file as a label image, shape (y, x).

    Raises
    ------
    FramesError
        If it holds fractions, negative numbers, or more than one plane.
    """
    with open_pages(path) as pages:
        if len(pages) != 1:
            raise FramesError(f"{path}: a mask is one plane, this has {len(pages)} pages")
        mask = read_page(path, pages, 0)
    # what does not fit is told apart below
    with np.errstate(invalid="ignore"):
        labels: Labels = np.rint(mask).astype(np.uint32)
    if not np.array_equal(labels, mask):
        raise FramesError(
            f"{path}: it holds negative numbers or fractions", hint="give a mask or labels"
        )
    return labels
