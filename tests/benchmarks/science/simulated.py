"""The paper's first table on a simulated plate: both stains from phase images of held-out wells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcs.image.similarity import pearson, ssim
from hcs.isl.card import ModelCard, TargetScale
from hcs.isl.crops import Example
from hcs.isl.header import weights_digest
from hcs.isl.network import Network, build_network
from hcs.isl.normalise import to_grey, to_target
from hcs.isl.segment import prepare, resampled, stains_of
from hcs.isl.settings import IslSettings
from hcs.isl.weights import load_network, save_weights
from hcs.labels.from_stain import nuclei_from_stain
from tests.benchmarks.science.filters import Baseline
from tests.benchmarks.science.learn import card_for, predicted, trained
from tests.benchmarks.science.plate import PIXEL_SIZE_UM, STAINS, Frame, Split, simulated
from tests.benchmarks.science.results import Arm, Scores
from tests.benchmarks.science.setting import Setting

Asked = Mapping[str, Any]
Image = NDArray[np.float32]

STAIN, NETWORK, RIDGE = "simulated-stain", "simulated-network", "simulated-ridge"
PREDICTION = IslSettings()


def common(setting: Setting) -> dict[str, Any]:
    """Return what all networks on the simulated plate are asked alike."""
    return {
        "device": setting.device,
        "architecture": setting.architecture.model_dump(mode="json"),
        "pixel_size_um": setting.pixel_size_um,
    }


def arms(setting: Setting) -> Iterator[Arm]:
    """Yield the network, its scores and, beside it, the linear filter bank."""
    asked = {**common(setting), "recipe": dict(setting.stain), "seed": 0}
    yield Arm(STAIN, asked, _train)
    yield Arm(NETWORK, asked, _network, STAIN)
    yield Arm(RIDGE, {}, _ridge)


def weights_of(folder: Path) -> Path:
    """Return where the trained stain network lies."""
    return folder / f"{STAIN}.safetensors"


def shown_of(folder: Path) -> Path:
    """Return where the first test field lies, as it is and as it was predicted."""
    return folder / f"{STAIN}.npz"


def input_of(frame: Frame, card: ModelCard) -> Image:
    """Return the network's input of a frame, at the pixel size of its card."""
    return prepare(frame.phase, card, PIXEL_SIZE_UM, PREDICTION)


def stain_network(asked: Asked, split: Split, place: Path) -> tuple[Network, ModelCard]:
    """Return a network for both stains, trained on the training wells, and its card."""
    card = card_for("stain", ("phase",), split.scales, asked, len(split.train))
    torch.manual_seed(asked["seed"])
    network = build_network("stain", 1, len(STAINS), card.architecture)
    examples = [_example(frame, card) for frame in split.train]
    return trained(network, "stain", examples, asked, place), card


def predicted_stains(
    network: Network, card: ModelCard, frames: Sequence[Frame], asked: Asked, uncertainty: str
) -> list[Image]:
    """Return both stains of each frame in grey levels, (2, y, x)."""
    inputs = [input_of(frame, card) for frame in frames]
    found = predicted(network, "stain", inputs, asked, uncertainty)
    return [stains_of(one, card, frames[0].cells.shape)[0] for one in found]


def _train(asked: Asked, folder: Path) -> Scores:
    split = simulated(folder.parent)
    network, card = stain_network(asked, split, folder / f"{STAIN}.training")
    save_weights(weights_of(folder), network, card)
    return {"digest": weights_digest(weights_of(folder))}


def _network(asked: Asked, folder: Path) -> Scores:
    split = simulated(folder.parent)
    network, card = load_network(weights_of(folder))
    scores = {}
    for uncertainty in ("flips", "none"):
        found = predicted_stains(network, card, split.test, asked, uncertainty)
        scores[uncertainty] = stain_scores(split.test, found)
    first = split.test[0]
    np.savez_compressed(shown_of(folder), phase=first.phase, true=first.grey, found=found[0])
    return {**scores.pop("flips"), "plain": scores.pop("none")}


def _example(frame: Frame, card: ModelCard) -> Example:
    image = input_of(frame, card)
    target = resampled(_values(frame, card.targets), image.shape[-2:])
    return Example(image, target, frame.name)


def _values(frame: Frame, scales: Sequence[TargetScale]) -> Image:
    return np.stack([to_target(g, s) for g, s in zip(frame.grey, scales, strict=True)])


def _ridge(_: Asked, folder: Path) -> Scores:
    split = simulated(folder.parent)
    targets = [_values(frame, split.scales) for frame in split.train]
    model = Baseline("ridge").fit([frame.phase for frame in split.train], targets)
    found = [
        np.stack([to_grey(v, s) for v, s in zip(model.predict(f.phase), split.scales, strict=True)])
        for f in split.test
    ]
    return stain_scores(split.test, found)


def stain_scores(frames: Sequence[Frame], found: Sequence[Image]) -> Scores:
    """Return per stain the PCC and SSIM of every field, and the correlation of nucleus counts."""
    scores: dict[str, Any] = {}
    for k, stain in enumerate(STAINS):
        pairs = [(f.grey[k].astype(np.float32), g[k]) for f, g in zip(frames, found, strict=True)]
        scores[stain] = {
            "pcc": [round(pearson(guess, true), 4) for true, guess in pairs],
            "ssim": [round(ssim(guess, true), 4) for true, guess in pairs],
        }
    counts = [[count(f.grey[0]), count(g[0])] for f, g in zip(frames, found, strict=True)]
    correlation = np.corrcoef(np.transpose(counts))[0, 1]
    return {**scores, "counts": counts, "count_correlation": round(float(correlation), 4)}


def count(stain: NDArray[Any]) -> int:
    """Return the number of nuclei in a nuclear stain, true or predicted."""
    return int(nuclei_from_stain(stain).max())
