"""Annotated frames: a folder of images, label images that people correct, and an index of both.

``<folder>/annotations.json`` names the files; they lie as in an annotated data set,
``<folder>/B02_0/images/t000.tif`` and ``<folder>/B02_0/masks/manual/t000.tif``, so that the folder
is also a truth that `hcs.run.truth` reads. `hcs.run.propose` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected

from hcs.errors import CorruptError, FramesError, ImportFilesError, MissingError, TrainingError
from hcs.ingest.findings import some
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.run.annotation_index import INDEX, Kind, read_index
from hcs.run.truth import Labels, MaskFolder, read_mask

# what is wrong with one label file; what is wrong with the disk concerns all
_FILE_ERRORS = (CorruptError, FramesError, ImportFilesError)


@dataclass(frozen=True)
class Annotation:
    """One annotated frame.

    Parameters
    ----------
    plate : str
        Name of the plate that it is from.
    kind : {"nuclei", "cells"}
    field : FieldPath
    frame : int
        Index in the plate, from 0.
    image : Path or None
        TIFF file of all channels to look at; None where the masks are from elsewhere.
    labels : Path
        TIFF file of the label image.
    shape : tuple of int
        (y, x), pixels.
    pixel_size_um : float or None
    proposal : str
        Digest of the label image that was proposed.
    """

    plate: str
    kind: Kind
    field: FieldPath
    frame: int
    image: Path | None
    labels: Path
    shape: tuple[int, int]
    pixel_size_um: float | None
    proposal: str


@dataclass(frozen=True)
class Checked:
    """What one label file holds.

    Parameters
    ----------
    annotation : Annotation
    n_objects : int
    state : {"corrected", "as proposed"}
    warnings : tuple of str
        What is odd, but can be used.
    """

    annotation: Annotation
    n_objects: int
    state: Literal["corrected", "as proposed"]
    warnings: tuple[str, ...]


def read_annotations(folder: Path) -> tuple[Annotation, ...]:
    """Return the annotated frames of a folder, all of them checked.

    Raises
    ------
    MissingError
        If the folder has no index.
    TrainingError
        Naming every problem of every file; see `check_annotations`.
    """
    return tuple(checked.annotation for checked in check_annotations(folder))


def read_masks(
    folder: Path, plate: Plate, fields: Iterable[FieldPath], kind: Kind
) -> tuple[Annotation, ...]:
    """Return the frames that a folder of masks from elsewhere annotates, all of them checked.

    Masks belong to fields and frames as for `hcs evaluate`; those that lack objects do not count.

    Raises
    ------
    MissingError
        If there is no mask of any of the fields.
    TrainingError
        Naming every problem of every file; see `check_annotations`.
    """
    masks, found = MaskFolder(folder, plate), list[Annotation]()
    for field in fields:
        image = plate.field_image(field)
        about = (image.frame_shape, image.pixel_size_um, "")
        found += [
            Annotation(plate.storage.name, kind, field, frame, None, path, *about)
            for frame, path in masks.complete(field).items()
        ]
    if not found:
        raise MissingError(
            f"no masks of plate {plate.storage.name} in {folder}",
            hint="a field's are in a folder of its name, as in B02_0/t000.tif; or make some: "
            "hcs annotate make",
        )
    hint = "mend the files, or take them out of the folder"
    return tuple(checked.annotation for checked in _checked(found, folder, hint))


def check_annotations(folder: Path) -> tuple[Checked, ...]:
    """Read every label file of a folder and tell what it holds.

    Raises
    ------
    MissingError
        If the folder has no index.
    TrainingError
        If the index is damaged, or, all in one message: a file is missing or no TIFF, a label image
        has another shape than its image, fractions or negative numbers, or no object.
    """
    hint = f"mend the files, or take their entries out of {INDEX}"
    return _checked(indexed_annotations(folder), folder, hint)


def _checked(annotations: Iterable[Annotation], folder: Path, hint: str) -> tuple[Checked, ...]:
    problems, results = list[str](), list[Checked]()
    for annotation in annotations:
        if annotation.image and not annotation.image.is_file():
            problems.append(f"{annotation.image}: no such file")
        try:
            results.append(_check(annotation))
        except (*_FILE_ERRORS, TrainingError) as error:
            problems.append(str(error))
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise TrainingError(
            f"the annotations in {folder} have {count}: {'; '.join(problems)}",
            hint=hint,
        )
    return tuple(results)


def read_labels(annotation: Annotation) -> Labels:
    """Return the label image of an annotated frame, ids as the file has them.

    Whole numbers are taken whatever the pixel type: a tool such as ImageJ knows no integers of 32
    bits and writes floats.

    Returns
    -------
    ndarray of uint32, shape (y, x)

    Raises
    ------
    ImportFilesError, CorruptError
        If the file is not there, no TIFF, or damaged.
    FramesError
        If it holds fractions, negative numbers, or more than one plane.
    TrainingError
        If its shape is not the image's, or it holds no object.
    """
    labels = read_mask(annotation.labels)
    if labels.shape != annotation.shape:
        raise TrainingError(
            f"{annotation.labels}: its shape is {labels.shape}, the image's is {annotation.shape}"
        )
    if not labels.any():
        raise TrainingError(f"{annotation.labels}: annotated image with no objects")
    return labels


def indexed_annotations(folder: Path) -> Iterator[Annotation]:
    """Return the frames that the index names; their files are not looked at."""
    index = read_index(folder)
    for entry in index.frames:
        yield Annotation(
            plate=index.plate,
            kind=index.kind,
            field=FieldPath.parse(entry.field),
            frame=entry.frame,
            image=folder / entry.image,
            labels=folder / entry.labels,
            shape=entry.shape,
            pixel_size_um=entry.pixel_size_um,
            proposal=entry.proposal,
        )


def labels_digest(labels: NDArray[np.integer]) -> str:
    """Return a digest of a label image's ids and shape, whatever pixel type a tool writes.

    Examples
    --------
    >>> drawn = np.array([[0, 7]])
    >>> labels_digest(drawn.astype(np.uint8)) == labels_digest(drawn.astype(np.int64))
    True
    """
    head = "x".join(map(str, labels.shape))
    return sha256(head.encode() + labels.astype("<u4").tobytes()).hexdigest()


def objects_in_pieces(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the ids whose pixels do not all hang together, by sides or corners.

    Examples
    --------
    >>> objects_in_pieces(np.array([[1, 0, 2], [0, 1, 0], [2, 0, 3]])).tolist()
    [2]
    """
    pieces = connected(labels, background=0, connectivity=2)
    first = np.unique(pieces[pieces > 0], return_index=True)[1]
    ids, counts = np.unique(labels[pieces > 0][first], return_counts=True)
    return np.asarray(ids[counts > 1])


def _check(annotation: Annotation) -> Checked:
    labels = read_labels(annotation)
    broken = objects_in_pieces(labels)
    return Checked(
        annotation=annotation,
        n_objects=np.unique(labels[labels > 0]).size,
        state="as proposed" if labels_digest(labels) == annotation.proposal else "corrected",
        warnings=(f"objects in several pieces: {some(broken)}",) if broken.size else (),
    )
