"""What a training needs, looked through before its first step: images, parts, scales, start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcs.isl.card import Architecture
from hcs.isl.header import weights_digest
from hcs.isl.start import Start, start_from_file
from hcs.plate.commit import JSON
from hcs.run.examples import PlateExamples, Scales, check_objects, fit_scales
from hcs.run.parts import Parts, Place, split_places
from hcs.run.sources import Source, common_pixel_size, find_places, open_sources, pixels_of
from hcs.run.training import TrainingSettings

# grows when equal settings begin to give other weights
_VERSION = 1
_NO_VALIDATION = "there is no validation part: the last weights are kept, whatever they are like"
_NO_PIXEL_SIZE = (
    "no plate tells its pixel size, so that prediction cannot check it: set pixel_size_um"
)


@dataclass(frozen=True)
class Prepared:
    """All that is known of a training before its first step.

    Parameters
    ----------
    settings : TrainingSettings
    sources : sequence of Source
    parts : Parts
    scales : Scales
        Empty for nuclei and cells.
    start : Start
    pixel_size_um : float or None
    depends_on : mapping, JSON values
        All that decides the weights.
    warnings : tuple of str
    """

    settings: TrainingSettings
    sources: Sequence[Source]
    parts: Parts
    scales: Scales
    start: Start
    pixel_size_um: float | None
    depends_on: Mapping[str, JSON]
    warnings: tuple[str, ...]

    def examples(self, places: Sequence[Place]) -> PlateExamples:
        """Return examples of places."""
        return PlateExamples(self.settings, self.sources, self.scales, places)


def prepare(settings: TrainingSettings) -> Prepared:
    """Look at everything that can be wrong before torch is loaded.

    Raises
    ------
    SettingsError, TrainingError, MissingError, PlateError, WeightsError
        If plates, annotations or the weights to start from are not as they are needed.
    """
    start = _find_start(settings)
    sources = open_sources(settings)
    places = find_places(settings, sources)
    parts = split_places(places, settings.split, [source.columns for source in settings.plates])
    size = common_pixel_size(places, sources)
    if settings.head == "stain":
        scales = fit_scales(settings, sources, parts.train)
    else:
        scales = Scales({}, ())
        check_objects(settings, sources, parts.train)
    return Prepared(
        settings=settings,
        sources=sources,
        parts=parts,
        scales=scales,
        start=start,
        pixel_size_um=size,
        depends_on=_parts(settings, sources, places, start),
        warnings=_warnings(sources, parts, size, start),
    )


def _find_start(settings: TrainingSettings) -> Start:
    if settings.start_from != "none":
        return start_from_file(
            Path(settings.start_from),
            settings.head,
            settings.inputs,
            settings.target.stains,
            settings.architecture,
            settings.start_stain,
        )
    weights = settings.encoder_weights
    return Start(
        head=settings.head,
        n_inputs=len(settings.inputs),
        n_outputs={"nuclei": 1, "cells": 2}.get(settings.head, len(settings.target.stains)),
        architecture=settings.architecture or Architecture(),
        encoder_weights=weights,
        digest="" if weights in ("none", "imagenet") else weights_digest(Path(weights)),
    )


def _parts(
    settings: TrainingSettings, sources: Sequence[Source], places: Sequence[Place], start: Start
) -> dict[str, JSON]:
    """Return what the weights depend on; where things lie does not count."""
    plain = settings.model_dump(
        mode="json",
        exclude={
            "plates": True,
            "start_from": True,
            "encoder_weights": True,
            "architecture": True,
            "target": {"masks"},
        },
    )
    plates: list[JSON] = [
        source.model_dump(mode="json", exclude={"plate", "label_plate"})
        | {"name": opened.plate.storage.name, "images": pixels_of(settings, opened, index, places)}
        for index, (source, opened) in enumerate(zip(settings.plates, sources, strict=True))
    ]
    return plain | {
        "version": _VERSION,
        "plates": plates,
        "start": start.name,
        "architecture": start.architecture.model_dump(mode="json"),
    }


def _warnings(
    sources: Sequence[Source], parts: Parts, size: float | None, start: Start
) -> tuple[str, ...]:
    found = [warning for source in sources for warning in source.plate.warnings]
    if not parts.validation:
        found.append(_NO_VALIDATION)
    if size is None:
        found.append(_NO_PIXEL_SIZE)
    before = start.card.pixel_size_um if start.card else None
    if size and before and abs(size / before - 1) > 0.1:
        found.append(f"pixels are {size:g} um, those that {start.path} was trained on {before:g}")
    return tuple(found)
