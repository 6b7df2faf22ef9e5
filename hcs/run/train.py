"""One network, from plates to a weights file: parts, examples, steps, scores.

Beside the file lies ``<file>.training`` with the checkpoint and what there is to look at while it
trains. The file itself comes last and whole; it is there when the training is done, and its card
holds the fingerprint of everything that it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import hcs
from hcs.errors import LockedError, RanAwayError, SettingsError
from hcs.isl.card import ModelCard, Training
from hcs.isl.crops import batches
from hcs.isl.header import read_card
from hcs.isl.start import begin
from hcs.plate.commit import fingerprint
from hcs.plate.lock import acquire
from hcs.plate.storage import Storage
from hcs.report.training import CurveRow
from hcs.run.diary import Diary, read_curve
from hcs.run.judge import judge
from hcs.run.parts import mixed, spread
from hcs.run.prepare import Prepared, prepare
from hcs.run.training import TrainingSettings

if TYPE_CHECKING:
    from hcs.isl.train import Kept, Progress, Trained

Device = Literal["cpu", "gpu"]
# the weights file of a training that ran away, in its folder
LAST_GOOD = "last_good.safetensors"
# hears of every step; when a step was validated, the pictures in the folder are new
OnProgress = Callable[["Progress"], None]


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
    SettingsError, TrainingError, MissingError, PlateError, FramesError, WeightsError, WorkerError
        As `look_first` and `train_prepared` do.
    """
    return train_prepared(look_first(settings, output, device), output, device, on_progress)


def look_first(settings: TrainingSettings, output: Path, device: Device = "cpu") -> Prepared:
    """Look at all that can be wrong before anything is begun; parameters as of `train_model`.

    Raises
    ------
    SettingsError
        If the output is no such name, or holds weights of another training.
    TrainingError, MissingError, PlateError, FramesError, WeightsError, WorkerError
        If the plates, annotations, weights to start from or the device are not as they are needed.
    """
    # a Path makes s3:/ of s3://
    if ":/" in str(output) or output.suffix != ".safetensors":
        raise SettingsError(
            f"cannot write weights to {output}", hint="name a local file that ends in .safetensors"
        )
    prepared = prepare(settings)
    if output.exists():
        _card_there(output, prepared)
    elif device == "gpu":
        from hcs.isl.device import choose

        choose(device)
    return prepared


def train_prepared(
    prepared: Prepared,
    output: Path,
    device: Device = "cpu",
    on_progress: OnProgress | None = None,
) -> TrainingReport:
    """Train what `look_first` returned; parameters as of `train_model`.

    Raises
    ------
    SettingsError
        If the output holds weights of another training.
    LockedError
        If the same output is being trained by another process.
    RanAwayError
        If numbers ran away; the best weights until then are `LAST_GOOD` in the training's folder.
    TrainingError, FramesError, WeightsError, WorkerError
        If frames, checkpoint, weights to start from or device are not as they are needed.
    """
    folder = training_folder(output)
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


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the folder of a training, so that no other process trains to the same file."""
    try:
        lock = acquire(Storage.open(folder))
    except LockedError as error:
        raise LockedError(f"{output} is being trained: {error.message}", error.hint) from error
    with lock:
        yield


def _card_there(output: Path, prepared: Prepared) -> ModelCard:
    """Return the card of weights that stand there; refuse those of another training."""
    card = read_card(output)
    if card.training.fingerprint != fingerprint(prepared.depends_on):
        raise SettingsError(
            f"{output} holds weights of another training: {card.name}, of other settings or images",
            hint="give this training another --output, or delete that file",
        )
    return card


def _kept(output: Path, folder: Path, prepared: Prepared) -> TrainingReport:
    card = _card_there(output, prepared)
    curve = tuple(read_curve(Storage.open(folder)))
    return TrainingReport(output, card, "kept", curve, warnings=prepared.warnings)


def _train(
    prepared: Prepared,
    output: Path,
    folder: Path,
    device: Device,
    on_progress: OnProgress | None,
) -> TrainingReport:
    # these load torch
    from hcs.isl.checkpoint import Checkpoints
    from hcs.isl.device import choose
    from hcs.isl.train import kept_weights, train
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
    try:
        trained = train(
            network,
            lambda step: batches(examples, settings.recipe, settings.seed, step),
            lambda: validation,
            settings.recipe,
            checkpoints,
            seed=settings.seed,
            on_progress=heard,
        )
    except RanAwayError as error:
        if kept := kept_weights(checkpoints):
            network.load_state_dict(kept.weights)
            save_weights(folder / LAST_GOOD, network, _card_of_kept(prepared, kept))
            told = f"; the best, of step {kept.step}, are a weights file: {folder / LAST_GOOD}"
            raise RanAwayError(error.message + told, error.hint) from error
        raise
    scores = _score(prepared, trained, diary, device)
    card = _card(prepared, trained.best_step, scores)
    save_weights(output, trained.network, card)
    for passing in (checkpoints.path, folder / LAST_GOOD):
        passing.unlink(missing_ok=True)
    curve = tuple(CurveRow(p.step, p.loss, p.validation) for p in trained.curve)
    return TrainingReport(output, card, "trained", curve, trained.seconds, prepared.warnings)


def _score(prepared: Prepared, trained: Trained, diary: Diary, device: Device) -> dict[str, float]:
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


def _card_of_kept(prepared: Prepared, kept: Kept) -> ModelCard:
    """Return the card of weights that are not those of the whole training, nor pass for them."""
    card = _card(prepared, kept.step, {f"validation_{name}": s for name, s in kept.scores.items()})
    other = fingerprint({**prepared.depends_on, "ran_away_after": kept.step})
    training = card.training.model_copy(update={"fingerprint": other})
    return card.model_copy(update={"training": training})


def _card(prepared: Prepared, n_steps: int, scores: Mapping[str, float]) -> ModelCard:
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
            n_steps=n_steps,
            seed=settings.seed,
            started_from=prepared.start.name,
            recipe=settings.recipe.model_dump(mode="json"),
        ),
        scores=scores,
        licence=settings.licence,
        made_by=f"hcs {hcs.__version__}",
    )
