"""How good a trained network is on frames that it has not seen, predicted as a run does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcs.image.similarity import pearson, ssim
from hcs.isl.card import Head
from hcs.isl.heads import cells_of, nuclei_of, value
from hcs.isl.scores import frame_scores, mean_scores
from hcs.isl.settings import IslSettings
from hcs.labels.match import average_precision
from hcs.report.training import ExampleRow, example_row
from hcs.run.examples import PlateExamples, is_known
from hcs.run.training import TrainingSettings

if TYPE_CHECKING:
    from hcs.isl.device import Device
    from hcs.isl.train import Trained

Image = NDArray[np.float32]
_N_SHOWN = 4


def judge(
    trained: Trained, examples: PlateExamples, settings: TrainingSettings, device: Device
) -> tuple[dict[str, float], tuple[ExampleRow, ...]]:
    """Score a network on whole frames.

    Parameters
    ----------
    trained : Trained
    examples : PlateExamples
        At least one frame.
    settings : TrainingSettings
    device : {"cpu", "gpu"}

    Returns
    -------
    scores : dict of str to float
        Means over frames. Stains: pcc and ssim, also of each where there are several. Nuclei and
        cells: iou of the mask, map of the objects: mean average precision at IoU .5 to .95.
    rows : tuple of ExampleRow
        A few of the frames to look at.
    """
    from hcs.isl.device import choose
    from hcs.isl.predict import Predictor

    # one frame at a time: those of a plate may fill the memory
    as_run = IslSettings(batch=1)
    predictor = Predictor(trained.network, as_run, choose(device), settings.head)
    frames, rows = list[dict[str, float]](), list[ExampleRow]()
    for index in range(len(examples)):
        example = examples[index]
        if not is_known(example):
            continue
        (prediction,) = predictor.predict([example.inputs])
        if settings.head == "stain":
            scores = _of_stains(prediction.output, example.target, settings.target.stains)
        else:
            scores = frame_scores(settings.head, prediction.output, example.target)
            found = _objects(prediction.output, settings.head, as_run)
            scores["map"] = float(average_precision(found, examples.labels(index)).mean())
        frames.append(scores)
        if len(rows) < _N_SHOWN:
            shown = to_look_at(prediction.output, settings.head)
            names = plane_names(settings)
            rows.append(example_row(example.name, example.inputs, example.target, shown, names))
    return mean_scores(frames), tuple(rows)


def plane_names(settings: TrainingSettings) -> tuple[str, ...]:
    """Return what the planes of the output are called."""
    masks = {"nuclei": ("mask",), "cells": ("distance map", "mask")}
    return masks.get(settings.head, settings.target.stains)


def to_look_at(output: Image, head: Head) -> Image:
    """Return a raw output with its logit as a probability."""
    if head == "stain":
        return output
    return np.concatenate([output[:-1], value(output, head)])


def _of_stains(output: Image, target: Image, stains: Sequence[str]) -> dict[str, float]:
    """Return the scores that are defined: a stain that is constant has none."""
    measures = {"pcc": pearson, "ssim": ssim}
    found: dict[str, float] = {}
    for name, measure in measures.items():
        each = [measure(o, t) for o, t in zip(output, target, strict=True)]
        of_each = dict(zip(stains, each, strict=True)) if len(stains) > 1 else {}
        found |= {name: float(np.nanmean(each))} if not np.isnan(each).all() else {}
        found |= {f"{name}_{stain}": x for stain, x in of_each.items() if not np.isnan(x)}
    return found


def _objects(output: Image, head: Head, settings: IslSettings) -> NDArray[np.uint32]:
    if head == "nuclei":
        return nuclei_of(output[0], settings.threshold, settings.min_area_px)
    distance, logit = output
    return cells_of(distance, logit, settings.threshold, settings.h, settings.min_area_px)
