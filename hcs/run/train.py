"""One network, from plates to a weights file: parts, examples, steps, scores.

Beside the file lies ``<file>.training`` with the checkpoint and what there is to look at while it
trains. The file itself comes last and whole; it is there when the training is done, and its card
holds the fingerprint of everything that it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import hcs
from hcs.errors import LockedError, SettingsError
from hcs.isl.card import Architecture, ModelCard, Training
from hcs.isl.crops import batches
from hcs.isl.header import read_card
from hcs.isl.start import Start, begin, start_from_file
from hcs.plate.commit import JSON, fingerprint
from hcs.plate.lock import acquire
from hcs.plate.storage import Storage
from hcs.report.training import CurveRow
from hcs.run.diary import Diary, read_curve
from hcs.run.examples import PlateExamples, Scales, check_objects, fit_scales
from hcs.run.judge import judge
from hcs.run.parts import Parts, Place, mixed, split_places, spread
from hcs.run.sources import Source, common_pixel_size, find_places, open_sources, pixels_of
from hcs.run.training import TrainingSettings

if TYPE_CHECKING:
    from hcs.isl.train import Progress, Trained

Device = Literal["cpu", "gpu"]
# hears of every step; when a step was validated, the pictures in the folder are new
OnProgress = Callable[["Progress"], None]

# grows when equal settings begin to give other weights
_VERSION = 1
_NO_VALIDATION = "there is no validation part: the last weights are kept, whatever they are like"
_NO_PIXEL_SIZE = (
    "no plate tells its pixel size, so that prediction cannot check it: set pixel_size_um"
)


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Parameters
    ----------
    path : Path
        The weights file.
    card : ModelCard
        As it stands in the file.
    state : {"trained", "kept"}
        Whether it was trained now, or stood there from equal settings and images.
    curve : tuple of CurveRow
    seconds : float
        Of training, earlier sessions included; 0 where it was kept.
    warnings : tuple of str
    """

    path: Path
    card: ModelCard
    state: Literal["trained", "kept"]
    curve: tuple[CurveRow, ...]
    seconds: float = 0
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> Mapping[str, float]:
        """On frames that were not trained on."""
        return self.card.scores


def train_model(
    settings: TrainingSettings,
    output: Path,
    *,
    device: Device = "cpu",
    on_progress: OnProgress | None = None,
) -> TrainingReport:
    """Train a network on frames of plates, or go on where the same training was stopped.

    On a processor, equal settings and images give an equal file, whether it was killed or not.

    Parameters
    ----------
    settings : TrainingSettings
    output : Path
        ``NAME.safetensors``; ``NAME.safetensors.training`` is used beside it.
    device : {"cpu", "gpu"}
    on_progress : callable or None
        Hears of every step; what it raises ends the training, which can be resumed.

    Raises
    ------
    SettingsError
        If the output is no such name, or holds weights of another training.
    LockedError
        If the same output is being trained by another process.
    TrainingError, MissingError, PlateError, FramesError, WeightsError, WorkerError
        If the plates, annotations, weights to start from or the device are not as they are needed,
        or numbers ran away.
    """
    # a Path makes s3:/ of s3://
    if ":/" in str(output) or output.suffix != ".safetensors":
        raise SettingsError(
            f"cannot write weights to {output}", hint="name a local file that ends in .safetensors"
        )
    prepared, folder = _prepare(settings), training_folder(output)
    with _locked(folder, output):
        if output.exists():
            return _kept(output, folder, prepared)
        return _train(prepared, output, folder, device, on_progress)


def training_folder(output: Path) -> Path:
    """Return where the checkpoint, the curve and the pictures of a training lie.

    Examples
    --------
    >>> training_folder(Path("weights/dapi.safetensors")).name
    'dapi.safetensors.training'
    """
    return output.with_name(f"{output.name}.training")


@dataclass(frozen=True)
class _Prepared:
    """All that is known before the first step."""

    settings: TrainingSettings
    sources: Sequence[Source]
    parts: Parts
    scales: Scales
    start: Start
    pixel_size_um: float | None
    depends_on: Mapping[str, JSON]
    warnings: tuple[str, ...] = field(default=())

    def examples(self, places: Sequence[Place]) -> PlateExamples:
        """Return examples of places."""
        return PlateExamples(self.settings, self.sources, self.scales, places)


def _prepare(settings: TrainingSettings) -> _Prepared:
    """Look at everything that can be wrong before torch is loaded."""
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
    return _Prepared(
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
    n_outputs = {"nuclei": 1, "cells": 2}.get(settings.head, len(settings.target.stains))
    return Start(
        settings.head,
        len(settings.inputs),
        n_outputs,
        settings.architecture or Architecture(),
        settings.encoder_weights,
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


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the folder of a training, so that no other process trains to the same file."""
    try:
        lock = acquire(Storage.open(folder))
    except LockedError as error:
        raise LockedError(f"{output} is being trained: {error.message}", error.hint) from error
    with lock:
        yield


def _kept(output: Path, folder: Path, prepared: _Prepared) -> TrainingReport:
    card = read_card(output)
    if card.training.fingerprint != fingerprint(prepared.depends_on):
        raise SettingsError(
            f"{output} holds weights of another training: {card.name}, of other settings or images",
            hint="give this training another --output, or delete that file",
        )
    curve = tuple(read_curve(Storage.open(folder)))
    return TrainingReport(output, card, "kept", curve, warnings=prepared.warnings)


def _train(
    prepared: _Prepared,
    output: Path,
    folder: Path,
    device: Device,
    on_progress: OnProgress | None,
) -> TrainingReport:
    # these load torch
    from hcs.isl.checkpoint import Checkpoints
    from hcs.isl.device import choose
    from hcs.isl.train import train
    from hcs.isl.weights import save_weights

    settings, diary = prepared.settings, Diary(folder, prepared.settings)
    target = choose(device)
    network = begin(prepared.start, settings.seed).to(target)
    examples = prepared.examples(prepared.parts.train)
    looked_at = spread(prepared.parts.validation, settings.split.validation_frames)
    validation = prepared.examples(mixed(looked_at))

    def heard(progress: Progress) -> None:
        diary.note(progress)
        if on_progress:
            on_progress(progress)

    checkpoints = Checkpoints(folder, prepared.depends_on)  # type: ignore[arg-type]
    trained = train(
        network,
        lambda step: batches(examples, settings.recipe, settings.seed, step),
        lambda: validation,
        settings.recipe,
        checkpoints,
        seed=settings.seed,
        on_progress=heard,
    )
    scores = _score(prepared, trained, diary, device)
    card = _card(prepared, trained, scores)
    save_weights(output, trained.network, card)
    checkpoints.path.unlink(missing_ok=True)
    curve = tuple(CurveRow(p.step, p.loss, p.validation) for p in trained.curve)
    return TrainingReport(output, card, "trained", curve, trained.seconds, prepared.warnings)


def _score(prepared: _Prepared, trained: Trained, diary: Diary, device: Device) -> dict[str, float]:
    """Return the scores on the test part, else on the validation part, and write the page."""
    split = prepared.settings.split
    parts = {
        "test": spread(prepared.parts.test, split.test_frames),
        "validation": spread(prepared.parts.validation, split.validation_frames),
        # nothing was left out: a few frames to look at, and no scores
        "training": spread(prepared.parts.train, 1),
    }
    part, places = next((name, some) for name, some in parts.items() if some)
    scores, rows = judge(trained, prepared.examples(mixed(places)), prepared.settings, device)
    diary.end(trained, part, scores, rows)
    if part == "training":
        return {}
    return {(name if part == "test" else f"{part}_{name}"): s for name, s in scores.items()}


def _card(prepared: _Prepared, trained: Trained, scores: Mapping[str, float]) -> ModelCard:
    settings = prepared.settings
    return ModelCard(
        name=settings.name,
        head=settings.head,
        inputs=settings.inputs,
        targets=prepared.scales.common,
        architecture=prepared.start.architecture,
        pixel_size_um=prepared.pixel_size_um,
        training=Training(
            fingerprint=fingerprint(prepared.depends_on),
            n_images=len(prepared.parts.train),
            n_steps=trained.best_step,
            seed=settings.seed,
            started_from=prepared.start.name,
            recipe=settings.recipe.model_dump(mode="json"),
        ),
        scores=scores,
        licence=settings.licence,
        made_by=f"hcs {hcs.__version__}",
    )
