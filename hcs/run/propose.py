"""Proposals of label images, from a stain, for people to correct: what `hcs.run.annotate` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hcs.errors import CorruptError, FramesError, ImportFilesError, MissingError, WriteError
from hcs.ingest.findings import some
from hcs.ingest.provenance import FieldSource, field_source, folder_name, read_sources
from hcs.labels.from_stain import cells_from_stain, nuclei_from_stain
from hcs.labels.split import in_raster_order
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frames
from hcs.run.annotate import Annotation, indexed_annotations, labels_digest
from hcs.run.annotation_index import (
    INDEX,
    AnnotationIndex,
    IndexedFrame,
    Kind,
    read_index,
    write_index,
)
from hcs.run.imagej import write_frame, write_labels
from hcs.run.segmenters import Plugin, find_segmenter, segment
from hcs.run.truth import Labels, read_mask

Place = tuple[FieldPath, int]


@dataclass(frozen=True)
class Recipe:
    """How labels are proposed.

    Parameters
    ----------
    stain : str
        Channel with the stain; of several planes the brightest counts at each pixel.
    kind : {"nuclei", "cells"}
        What its objects are.
    nuclei_stain : str or None
        For cells: channel whose nuclei tell the cells apart.
    segmenter : str or None
        An installed one (`hcs.run.segmenters`) that is given the stain instead.
    """

    stain: str
    kind: Kind
    nuclei_stain: str | None = None
    segmenter: str | None = None


@dataclass(frozen=True)
class Proposed:
    """One frame that was written: its files, and how many objects were found in it."""

    annotation: Annotation
    n_objects: int


def make_annotations(
    plate: Plate, places: Sequence[Place], recipe: Recipe, folder: Path
) -> tuple[Proposed, ...]:
    """Write images and proposed label images of chosen frames, and the index of the folder.

    A folder that is there is added to. A label image that is still as it was proposed is made anew.

    Parameters
    ----------
    plate : Plate
    places : sequence of (FieldPath, int)
        Fields and frames.
    recipe : Recipe
    folder : Path

    Returns
    -------
    tuple of Proposed
        In the order of the places.

    Raises
    ------
    MissingError
        If the plate lacks a field, a frame or a stain, all in one message.
    WriteError
        If a label file there has been corrected, or is not ours, all in one message; or the folder
        holds annotations of another plate, kind or stain.
    SettingsError
        If there is no such segmenter.
    FramesError
        If a stain is not finite, or a segmenter returns no label image.
    """
    plugin = find_segmenter(recipe.segmenter) if recipe.segmenter else None
    wanted = list(dict.fromkeys(places))
    _check_there(plate, wanted, recipe)
    index = _index_of(folder, plate, recipe)
    entries = {(FieldPath.parse(entry.field), entry.frame): entry for entry in index.frames}
    files = _files_of(plate, wanted)
    _check_free(folder, files, entries)
    counts = {}
    for place in wanted:
        labels = propose(plate, place, recipe, plugin)
        counts[place] = int(labels.max())
        entries[place] = _entry(plate, place, files[place], labels)
        # entered before it is written: after a kill a proposal is known as one
        frames = tuple(entries[key] for key in sorted(entries))
        write_index(folder, index.model_copy(update={"frames": frames}))
        write_frame(folder / files[place].image, plate, *place)
        write_labels(folder / files[place].labels, labels, plate.field_image(place[0]))
    made = {(one.field, one.frame): one for one in indexed_annotations(folder)}
    return tuple(Proposed(made[place], counts[place]) for place in wanted)


def propose(plate: Plate, place: Place, recipe: Recipe, plugin: Plugin | None) -> Labels:
    """Return the objects of one frame's stain, labels 1..n in raster order."""
    stain = _stain(plate, place, recipe.stain)
    if plugin is not None:
        return in_raster_order(segment(plugin, stain[None])[0])
    if recipe.kind == "nuclei":
        return nuclei_from_stain(stain)
    if recipe.nuclei_stain is None:
        return cells_from_stain(stain)
    return cells_from_stain(stain, nuclei_from_stain(_stain(plate, place, recipe.nuclei_stain)))


def _stain(plate: Plate, place: Place, channel: str) -> NDArray[Any]:
    field, frame = place
    return next(read_frames(plate, field, channel, range(frame, frame + 1), plane="max"))


def _check_there(plate: Plate, places: Sequence[Place], recipe: Recipe) -> None:
    problems = dict[str, None]()
    for field, frame in places:
        try:
            image = plate.field_image(field)
            if not 0 <= frame < image.n_frames:
                problems[f"field {field} has no frame {frame}, but {image.n_frames} from 0"] = None
            for stain in filter(None, (recipe.stain, recipe.nuclei_stain)):
                image.channel_index(stain)
        except MissingError as error:
            problems[str(error)] = None
    if problems:
        raise MissingError("; ".join(problems))


def _index_of(folder: Path, plate: Plate, recipe: Recipe) -> AnnotationIndex:
    """Return the index of a folder, a new one where there is none."""
    own = AnnotationIndex(
        plate=plate.storage.name,
        kind=recipe.kind,
        stain=recipe.stain,
        segmenter=recipe.segmenter or "from stain",
        frames=(),
    )
    if not (folder / INDEX).is_file():
        return own
    there = read_index(folder)
    names = ("plate", "kind", "stain")
    if any(getattr(there, name) != getattr(own, name) for name in names):
        raise WriteError(
            f"{folder} holds annotations of {there.kind} in stain {there.stain!r} of plate "
            f"{there.plate!r}, not of {own.kind} in {own.stain!r} of {own.plate!r}",
            hint="give another folder",
        )
    return there.model_copy(update={"segmenter": own.segmenter})


@dataclass(frozen=True)
class _Files:
    """Where a frame goes, from the folder on."""

    image: Path
    labels: Path


def _files_of(plate: Plate, places: Sequence[Place]) -> dict[Place, _Files]:
    """Return names as annotated data sets have them, with the numbers of the source."""
    sources = read_sources(plate)
    return {(field, k): _files(plate, field, k, sources) for field, k in places}


def _files(
    plate: Plate, field: FieldPath, frame: int, sources: Mapping[FieldPath, FieldSource]
) -> _Files:
    source = field_source(sources, plate, field)
    own = Path(folder_name(plate, field, source))
    name = f"t{source.times[frame]:0{source.time_digits}d}.tif"
    return _Files(own / "images" / name, own / "masks" / "manual" / name)


def _check_free(
    folder: Path, files: Mapping[Place, _Files], entries: Mapping[Place, IndexedFrame]
) -> None:
    """Raise `WriteError` where a label file would be lost that is more than a proposal."""
    proposals = {place: entry.proposal for place, entry in entries.items()}
    kept = [
        str(folder / own.labels)
        for place, own in files.items()
        if (folder / own.labels).exists()
        and _digest_of(folder / own.labels) != proposals.get(place)
    ]
    if kept:
        raise WriteError(
            f"would overwrite label images that are no mere proposals: {some(kept)}",
            hint="leave these frames out, give another folder, or remove the files first",
        )


def _digest_of(path: Path) -> str:
    try:
        return labels_digest(read_mask(path))
    except (CorruptError, FramesError, ImportFilesError):
        return "none of ours"


def _entry(plate: Plate, place: Place, files: _Files, labels: Labels) -> IndexedFrame:
    field, frame = place
    return IndexedFrame(
        field=str(field),
        frame=frame,
        image=files.image.as_posix(),
        labels=files.labels.as_posix(),
        shape=plate.field_image(field).frame_shape,
        pixel_size_um=plate.field_image(field).pixel_size_um,
        proposal=labels_digest(labels),
    )
