"""The paper's second table: segmentation against the number of annotated images.

Both arms get the same images, the same number of steps and the same seed of their crops. The
paper's scratch arm began with ImageNet weights, which need a download; ours begins at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcs.isl.card import Architecture, Head, ModelCard
from hcs.isl.crops import Example
from hcs.isl.network import Network, build_network, transfer
from hcs.isl.segment import objects_of, resampled
from hcs.isl.weights import load_network
from hcs.labels.distance import distance_target
from hcs.labels.match import average_precision, pixel_scores
from tests.benchmarks.science.learn import card_for, predicted, trained
from tests.benchmarks.science.plate import PIXEL_SIZE_UM, STAINS, Frame, Split, simulated
from tests.benchmarks.science.results import Arm, Scores
from tests.benchmarks.science.setting import ANNOTATED_PX, COUNTS, SEEDS, Setting
from tests.benchmarks.science.simulated import PREDICTION, STAIN, common, input_of, weights_of

Asked = Mapping[str, Any]
Image = NDArray[np.float32]

HEADS: tuple[Head, ...] = ("nuclei", "cells")
STARTS = ("scratch", "pretrained")
_N_OUTPUTS = {"nuclei": 1, "cells": 2}


def arms(setting: Setting) -> Iterator[Arm]:
    """Yield every arm of the table, one row of it after the other, and then cells with more steps.

    Those tell whether a gain is one of images or one of steps: with few steps the arm from scratch
    stays behind however many images it has.
    """
    for n, seed, head, start in _grid():
        yield _arm(setting, name_of(head, n, start, seed), (head, n, start, seed), {})
    for n, start in product((1, 50), STARTS):
        more = {"steps": setting.more_steps}
        yield _arm(setting, long_name_of(n, start), ("cells", n, start, SEEDS[0]), more)


def _arm(
    setting: Setting, name: str, place: tuple[Head, int, str, int], changes: Mapping[str, Any]
) -> Arm:
    head, n, start, seed = place
    asked = {**common(setting), "recipe": {**setting.segmentation, **changes}, "seed": seed}
    asked |= {"head": head, "n": n, "start": start, "px": ANNOTATED_PX}
    if start == "scratch":
        return Arm(name, asked, _work)
    return Arm(name, {**asked, "stain": dict(setting.stain)}, _work, STAIN)


def name_of(head: str, n: int, start: str, seed: int) -> str:
    """Return the name of an arm."""
    return f"simulated-{head}-n{n:02d}-{start}-seed{seed}"


def long_name_of(n: int, start: str) -> str:
    """Return the name of an arm for cells with more steps, of the first seed."""
    return f"simulated-long-cells-n{n:02d}-{start}"


def _grid() -> Iterator[tuple[int, int, Head, str]]:
    # the ends of the table first: what is missing in between can be measured later
    return (
        (n, seed, head, start)
        for n in sorted(COUNTS, key=(1, 50, 10, 2).index)
        for seed in SEEDS
        for head in HEADS
        for start in STARTS
    )


def _work(asked: Asked, folder: Path) -> Scores:
    split = simulated(folder.parent)
    head, n, seed = asked["head"], asked["n"], asked["seed"]
    chosen = np.random.default_rng(seed).permutation(len(split.train))[:n]
    network, architecture = _start(asked, folder)
    asked = {**asked, "architecture": architecture.model_dump(mode="json")}
    card = card_for(head, ("phase",), (), asked, n)
    examples = [_example(split.train[k], card) for k in chosen]
    steps = asked["recipe"]["steps"]
    place = folder / f"{name_of(head, n, asked['start'], seed)}-{steps}.training"
    network = trained(network, head, examples, asked, place)
    return _scores(network, card, split, asked)


def _start(asked: Asked, folder: Path) -> tuple[Network, Architecture]:
    head, architecture = asked["head"], Architecture.model_validate(asked["architecture"])
    if asked["start"] == "scratch":
        torch.manual_seed(asked["seed"])
        return build_network(head, 1, _N_OUTPUTS[head], architecture), architecture
    # nuclei as published (eq. 1 on the stain), cells with the repaired head (METHODS B6.1)
    last = "published" if head == "nuclei" else "repaired"
    architecture = architecture.model_copy(update={"last": last})
    torch.manual_seed(asked["seed"])
    stain, _ = load_network(weights_of(folder))
    return transfer(stain, head, architecture, STAINS.index(head)), architecture


def _example(frame: Frame, card: ModelCard) -> Example:
    image = input_of(frame, card)
    target = resampled(_target(frame, card.head), image.shape[-2:])
    side = round(ANNOTATED_PX * PIXEL_SIZE_UM / (card.pixel_size_um or PIXEL_SIZE_UM))
    return Example(image[:, :side, :side], target[:, :side, :side], frame.name)


def _target(frame: Frame, head: Head) -> Image:
    labels = frame.labels(head)
    mask = (labels > 0).astype(np.float32)
    return mask[None] if head == "nuclei" else np.stack([distance_target(labels), mask])


def _scores(network: Network, card: ModelCard, split: Split, asked: Asked) -> Scores:
    inputs = [input_of(frame, card) for frame in split.test]
    found = predicted(network, card.head, inputs, asked)
    iou, precision = [], []
    for frame, prediction in zip(split.test, found, strict=True):
        truth = frame.labels(card.head)
        labels = objects_of(prediction, card, truth.shape, PREDICTION).labels
        iou.append(round(pixel_scores(labels > 0, truth > 0).iou, 4))
        precision.append(round(float(average_precision(labels, truth).mean()), 4))
    return {"iou": iou, "map": precision}
