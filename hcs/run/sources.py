"""The plates of a training: opened, looked through, and what does not go together said at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from hcs.errors import TrainingError
from hcs.plate.commit import JSON, fingerprint, input_fingerprint
from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate, label_key, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.problems import some
from hcs.run.annotate import (
    Annotation,
    labels_digest,
    read_annotations,
    read_labels,
    read_masks,
)
from hcs.run.annotation_index import INDEX, Kind
from hcs.run.parts import Place
from hcs.run.training import PlateSource, TrainingSettings

_AT_MOST_NAMED = 5


@dataclass(frozen=True)
class Source:
    """One plate to train with, opened.

    Parameters
    ----------
    plate : Plate
    label_plate : Plate
        Where its label images are.
    annotated : mapping of (FieldPath, int) to Annotation
        By field and frame; empty where targets are in plates.
    """

    plate: Plate
    label_plate: Plate
    annotated: Mapping[tuple[FieldPath, int], Annotation]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"plate {self.plate.storage.name}"


def open_sources(settings: TrainingSettings) -> tuple[Source, ...]:
    """Open the plates of a training, and its annotations where it has some.

    Raises
    ------
    PlateError, MissingError
        A plate, or the folder with annotations, cannot be read.
    TrainingError
        If annotations are of other objects or other plates, or a plate is given twice.
    """
    plates = [open_plate(s.plate, pixel_size_um=settings.pixel_size_um) for s in settings.plates]
    _check_apart(plates)
    sources = tuple(
        Source(plate, open_plate(source.label_plate) if source.label_plate else plate, {})
        for source, plate in zip(settings.plates, plates, strict=True)
    )
    annotations = _annotations_of(settings, sources)
    return tuple(
        replace(
            source,
            annotated={
                (a.field, a.frame): a for a in annotations if a.plate == source.plate.storage.name
            },
        )
        for source in sources
    )


def find_places(settings: TrainingSettings, sources: Sequence[Source]) -> tuple[Place, ...]:
    """Return every frame that the settings name, in the order of plates, fields and frames.

    Raises
    ------
    MissingError
        A well, field or frame that is named is not there.
    TrainingError
        Nothing is left; or, all in one message, fields lack a channel, plane or label image, have
        labels of another shape, or fewer columns than the ranges say.
    """
    places, problems = list[Place](), list[str]()
    for index, (wanted, source) in enumerate(zip(settings.plates, sources, strict=True)):
        for field in _fields(wanted, source):
            image = source.plate.field_image(field)
            found = _problems_of(settings, wanted, source, image)
            problems += [f"{source.name}, field {field}: {problem}" for problem in found]
            places += [Place(index, field, frame) for frame in _frames(wanted, image)]
    if problems:
        told = "; ".join(problems[:_AT_MOST_NAMED])
        more = len(problems) - _AT_MOST_NAMED
        raise TrainingError(
            f"{told}; and {more} more" if more > 0 else told,
            hint="leave those wells out, or mend the settings",
        )
    if settings.target.masks:
        places = [p for p in places if (p.field, p.frame) in sources[p.source].annotated]
    if not places:
        where = f"annotated in {settings.target.masks}" if settings.target.masks else "there"
        raise TrainingError(f"no frame of the wells, fields and frames that are named is {where}")
    return tuple(places)


def common_pixel_size(
    places: Sequence[Place], sources: Sequence[Source], tolerance: float = 0.1
) -> float | None:
    """Return the pixel size that images of all plates share, micrometer.

    Parameters
    ----------
    places : sequence of Place
    sources : sequence of Source
    tolerance : float
        Relative difference that does not matter; the default is that of prediction.

    Returns
    -------
    float or None
        The median over plates; None where no plate tells.

    Raises
    ------
    TrainingError
        If they differ by more; names the plates with their sizes.
    """
    sizes: dict[int, float] = {}
    for place in places:
        if place.source not in sizes:
            size = sources[place.source].plate.field_image(place.field).pixel_size_um
            sizes |= {place.source: size} if size else {}
    if not sizes:
        return None
    if max(sizes.values()) > (1 + tolerance) * min(sizes.values()):
        told = ", ".join(f"{sources[i].name} {size:g} um" for i, size in sizes.items())
        raise TrainingError(
            f"the pixel sizes of the plates differ: {told}",
            hint="train with plates of one magnification, or set pixel_size_um where one is wrong",
        )
    return float(median(sizes.values()))


def _check_apart(plates: Sequence[Plate]) -> None:
    """Refuse a plate that is given twice, however its path is written: parts would share frames."""
    urls = [plate.storage.url for plate in plates]
    places = [url if "://" in url else str(Path(url).resolve()) for url in urls]
    twice = sorted({place for place in places if places.count(place) > 1})
    if twice:
        raise TrainingError(
            f"plates lists {some(twice)} twice: its frames would be in several parts",
            hint="list it once, with all its wells",
        )


def _annotations_of(
    settings: TrainingSettings, sources: Sequence[Source]
) -> tuple[Annotation, ...]:
    if not settings.target.masks:
        return ()
    folder = Path(settings.target.masks)
    if folder.is_dir() and not (folder / INDEX).is_file():
        return _masks_of(settings, sources, folder)
    annotations = read_annotations(folder)
    plates = [source.plate.storage.name for source in sources]
    if len(set(plates)) < len(plates):
        raise TrainingError(
            f"the annotations in {folder} cannot tell plates of one name apart: {some(plates)}",
            hint="train with the one that was annotated",
        )
    kinds = {annotation.kind for annotation in annotations}
    strangers = sorted({a.plate for a in annotations} - set(plates))
    if kinds - {settings.head}:
        raise TrainingError(
            f"the annotations in {settings.target.masks} are of {' and '.join(sorted(kinds))}, "
            f"the network is for {settings.head}"
        )
    if strangers:
        raise TrainingError(
            f"the annotations in {settings.target.masks} are of plate {some(strangers)}, which is "
            f"not among the plates to train with: {some(plates)}"
        )
    return annotations


def _masks_of(
    settings: TrainingSettings, sources: Sequence[Source], folder: Path
) -> tuple[Annotation, ...]:
    """Return what a folder of masks annotates that `hcs annotate` did not make."""
    if len(sources) > 1:
        raise TrainingError(
            f"{folder} has no {INDEX} that says of which plate its masks are, and there are "
            f"{len(sources)} plates to train with",
            hint="train with one plate, or let `hcs annotate make` make the folder",
        )
    fields = _fields(settings.plates[0], sources[0])
    kind: Kind = "cells" if settings.head == "cells" else "nuclei"
    return read_masks(folder, sources[0].plate, fields, kind)


def _fields(wanted: PlateSource, source: Source) -> list[FieldPath]:
    """Return the fields that are named; where none is, those of wells, or all of them."""
    named = [FieldPath.parse(field) for field in wanted.fields]
    wells = [WellPath.parse(well) for well in wanted.wells] or list(source.plate.layout.wells)
    if source.annotated and not wanted.wells and not named:
        wells = sorted({field.well for field, _ in source.annotated})
    if named:
        return sorted(field for field in set(named) if not wanted.wells or field.well in wells)
    return [field for well in wells for field in source.plate.well(well).fields]


def _frames(wanted: PlateSource, image: FieldImage) -> Sequence[int]:
    # a frame that is not there is one of the problems
    return wanted.frames or range(image.n_frames)


def _problems_of(
    settings: TrainingSettings, wanted: PlateSource, source: Source, image: FieldImage
) -> Iterator[str]:
    """Say what a field lacks of what the settings name."""
    there = [channel.label for channel in image.channels]
    planes = [(one.channel, one.plane) for one in settings.inputs]
    planes += [(stain, settings.target.plane) for stain in settings.target.stains]
    for channel, plane in planes:
        if channel not in there:
            yield f"it has no channel {channel!r}, but {some([*map(repr, there)])}"
        if isinstance(plane, int) and not 0 <= plane < image.length("z"):
            yield f"{channel!r} has no plane {plane}, but {image.length('z')}, counted from 0"
    outside = [frame for frame in wanted.frames if frame >= image.n_frames]
    if outside:
        yield f"it has no frame {some(outside)}, but {image.n_frames}, counted from 0"
    if wanted.columns:
        end = max(one[1] for one in wanted.columns.model_dump().values() if one)
        if end > image.frame_shape[1]:
            yield f"columns go to {end}, it has {image.frame_shape[1]}"
    if settings.target.labels:
        yield from _label_problems(settings.target.labels, source, image)
    annotated = (a for (field, _), a in source.annotated.items() if field == image.path)
    for annotation in annotated:
        if annotation.shape != image.frame_shape:
            yield f"{annotation.labels} is {annotation.shape}, it is {image.frame_shape}"


def _label_problems(name: str, source: Source, image: FieldImage) -> Iterator[str]:
    there = source.label_plate.label_names(image.path)
    if name not in there:
        yield f"{source.label_plate.storage.name} has no label image {name!r}, but {some(there)}"
        return
    labels = source.label_plate.label_image(image.path, name)
    if (labels.n_frames, *labels.frame_shape) != (image.n_frames, *image.frame_shape):
        yield (
            f"label image {name!r} has {labels.n_frames} frames of {labels.frame_shape}, the image "
            f"{image.n_frames} of {image.frame_shape}"
        )


def pixels_of(
    settings: TrainingSettings, source: Source, index: int, places: Sequence[Place]
) -> dict[str, JSON]:
    """Return digests of the images and targets that are used of one plate.

    Images by metadata and the sizes of their chunks, as a run does it; label images and annotations
    by their content, since people correct them without changing their size.
    """
    used = [place for place in places if place.source == index]
    wells = sorted({place.field.well for place in used})
    found: dict[str, JSON] = {str(well): input_fingerprint(source.plate, well) for well in wells}
    if settings.target.labels:
        name, plate = settings.target.labels, source.label_plate
        for field in sorted({place.field for place in used}):
            level = plate.label_image(field, name).levels[0].path
            files = plate.storage.sizes(f"{label_key(field, name)}/{level}")
            digests: dict[str, JSON] = {key: plate.storage.digest(key) for key in files}
            found[f"{field} labels"] = fingerprint(digests)
    for place in used if source.annotated else ():
        annotation = source.annotated[place.field, place.frame]
        found[f"{place.field}, frame {place.frame}"] = labels_digest(read_labels(annotation))
    return found
