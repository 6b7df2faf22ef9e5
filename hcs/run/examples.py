"""Frames of plates as examples to learn from, each read when it is asked for.

Input planes are normalised over the whole frame, as prediction does it, also where a part has some
of its columns only: mean and spread of the frame are all that parts by columns share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hcs.errors import FramesError, TrainingError
from hcs.isl.card import TargetScale
from hcs.isl.crops import Example
from hcs.isl.normalise import fit_target, standardise, to_target
from hcs.labels.distance import distance_target
from hcs.plate.open import Plate
from hcs.plate.problems import some
from hcs.plate.read import Plane, read_frames, read_label_image
from hcs.run.annotate import read_labels
from hcs.run.parts import Place, spread
from hcs.run.sources import Source
from hcs.run.training import TrainingSettings

# frames of a plate that tell the scale of its stains, or whether there are objects at all
_LOOKED_AT = 16
_AT_MOST_NAMED = 5
# share of the frames that may be blank (ours)
_MOST_BLANK = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scales:
    """How grey levels of stains become targets.

    Parameters
    ----------
    by_plate : mapping of int to tuple of TargetScale
        By index of the plate, for those that are trained on: each its own, so that exposure does
        not count but dim wells stay dim.
    common : tuple of TargetScale
        The median over plates, for plates that are not trained on and for the model card.
    """

    by_plate: Mapping[int, tuple[TargetScale, ...]]
    common: tuple[TargetScale, ...]

    def of(self, source: int) -> tuple[TargetScale, ...]:
        """Return those of a plate."""
        return self.by_plate.get(source, self.common)


def fit_scales(
    settings: TrainingSettings, sources: Sequence[Source], train: Sequence[Place]
) -> Scales:
    """Find the scale of every stain from frames that are trained on, a few of each plate.

    Raises
    ------
    TrainingError
        If a stain is all zero, constant or saturated; names the plate.
    """
    by_plate = {}
    for index in sorted({place.source for place in train}):
        looked_at = spread([p for p in train if p.source == index], _LOOKED_AT)
        by_plate[index] = tuple(
            _fit_scale(sources[index], looked_at, stain, settings.target.plane)
            for stain in settings.target.stains
        )
    common = [
        TargetScale(
            stain=scales[0].stain,
            offset=median(scale.offset for scale in scales),
            scale=median(scale.scale for scale in scales),
        )
        for scales in zip(*by_plate.values(), strict=True)
    ]
    return Scales(by_plate, tuple(common))


class PlateExamples:
    """Examples of one part, read from plates when they are asked for.

    Parameters
    ----------
    settings : TrainingSettings
    sources : sequence of Source
    scales : Scales
        Of stains; empty for nuclei and cells.
    places : sequence of Place
    """

    def __init__(
        self,
        settings: TrainingSettings,
        sources: Sequence[Source],
        scales: Scales,
        places: Sequence[Place],
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._scales = scales
        self._places = places
        self._blank = set[int]()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)

    def __iter__(self) -> Iterator[Example]:
        """Read one after the other; frames of which nothing can be learnt are passed over."""
        return (one for one in map(self.__getitem__, range(len(self))) if is_known(one))

    def __getitem__(self, index: int) -> Example:
        """Read a frame and what is to be learnt of it.

        A frame with a constant input plane, as of a closed shutter, is blank and of no weight; it
        is told of in the log.

        Raises
        ------
        FramesError
            If more than a tenth of the frames are blank; names plate, field, frame and channel.
        CorruptError
            If a chunk is damaged.
        """
        place = self._places[index]
        first, end = place.columns or (0, None)
        target = self._target(place)[..., first:end]
        try:
            inputs = self._inputs(place)[..., first:end]
        except FramesError as error:
            self._note_blank(index, error)
            inputs = np.zeros((len(self._settings.inputs), *target.shape[1:]), np.float32)
            unknown = np.zeros(target.shape[1:], np.float32)
            return Example(inputs, np.zeros_like(target), self.name(index), unknown)
        if place.columns is None:
            return Example(inputs, target, self.name(index))
        # copies, so that the rest of the frame is let go
        return Example(inputs.copy(), target.copy(), self.name(index))

    def _note_blank(self, index: int, error: FramesError) -> None:
        if index not in self._blank:
            logger.warning("left out of the training: %s", error.message)
        self._blank.add(index)
        if len(self._blank) > _MOST_BLANK * len(self):
            more = f"; {len(self._blank)} of {len(self)} frames are such" if len(self) > 1 else ""
            raise FramesError(f"{error.message}{more}", error.hint) from error

    def name(self, index: int) -> str:
        """Return what messages and pictures call an example."""
        place = self._places[index]
        name = f"{place.field}, frame {place.frame}"
        if place.columns:
            name += f", columns {place.columns[0]} to {place.columns[1]}"
        return name if len(self._sources) == 1 else f"{self._sources[place.source].name}, {name}"

    def labels(self, index: int) -> NDArray[np.uint32]:
        """Return the true objects of a frame, shape (y, x)."""
        place = self._places[index]
        first, end = place.columns or (0, None)
        return _read_labels(self._sources[place.source], place, self._settings)[:, first:end]

    def _inputs(self, place: Place) -> NDArray[np.float32]:
        planes = self._settings.inputs
        plate = self._sources[place.source].plate
        read = np.stack([_read(plate, place, one.channel, one.plane) for one in planes])
        try:
            return standardise(read)
        except FramesError as error:
            where = f"{self._sources[place.source].name}, {place.field}, frame {place.frame}"
            order = ", ".join(f"{one.channel!r} plane {one.plane}" for one in planes)
            raise FramesError(
                f"{where}: {error.message} (inputs: {order})",
                hint=error.hint or "leave that frame out",
            ) from error

    def _target(self, place: Place) -> NDArray[np.float32]:
        settings, source = self._settings, self._sources[place.source]
        if settings.head == "stain":
            return np.stack(
                [
                    to_target(_read(source.plate, place, s.stain, settings.target.plane), s)
                    for s in self._scales.of(place.source)
                ]
            )
        labels = _read_labels(source, place, settings)
        mask = (labels > 0).astype(np.float32)
        return (
            mask[None] if settings.head == "nuclei" else np.stack([distance_target(labels), mask])
        )


def is_known(example: Example) -> bool:
    """Return whether anything can be learnt of an example."""
    return example.weight is None or bool(example.weight.any())


def check_objects(
    settings: TrainingSettings, sources: Sequence[Source], train: Sequence[Place]
) -> None:
    """Look at a few label images; TrainingError if none of them has an object."""
    looked_at = spread(train, _LOOKED_AT)
    if any(_read_labels(sources[place.source], place, settings).any() for place in looked_at):
        return
    names = some([f"{sources[p.source].name} {p.field}" for p in looked_at], _AT_MOST_NAMED)
    raise TrainingError(
        f"no objects in {len(looked_at)} of {len(train)} frames to train on, of {names}",
        hint="is it the right label image? frames without objects teach nothing",
    )


def _read(plate: Plate, place: Place, channel: str, plane: Plane) -> NDArray[np.generic]:
    (frame,) = read_frames(plate, place.field, channel, _one(place.frame), plane)
    return frame


def _read_labels(source: Source, place: Place, settings: TrainingSettings) -> NDArray[np.uint32]:
    if settings.target.labels is None:
        return read_labels(source.annotated[place.field, place.frame])
    name = settings.target.labels
    (labels,) = read_label_image(source.label_plate, place.field, name, _one(place.frame))
    return labels


def _one(frame: int) -> range:
    return range(frame, frame + 1)


def _fit_scale(source: Source, places: Sequence[Place], stain: str, plane: Plane) -> TargetScale:
    def grey(place: Place) -> NDArray[np.generic]:
        first, end = place.columns or (0, None)
        return _read(source.plate, place, stain, plane)[:, first:end]

    try:
        return fit_target(map(grey, places), stain)
    except TrainingError as error:
        wells = some(sorted({str(place.field.well) for place in places}), _AT_MOST_NAMED)
        raise TrainingError(f"{source.name}, wells {wells}: {error.message}", error.hint) from error
