"""What the issue asks for, and whether it was reached; an arm that was not measured is missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.science import annotated, pairs, simulated
from tests.benchmarks.science.real import data_folder
from tests.benchmarks.science.results import Scores
from tests.benchmarks.science.setting import SEEDS, Setting

Found = Mapping[str, Scores]

# above the linear filter bank, on simulated plates
_OVER_RIDGE = 0.10
_IOU_AT_ONE, _IOU_GAIN, _MAP_GAIN = 0.84, 0.25, 0.50
# pair, side that trains, stain: least PCC, and how far above ridge
_PAIR_BARS = {
    ("cohen", "left", "DAPI"): (0.70, 0.15),
    ("finkbeiner", "right", "DAPI"): (0.71, 0.04),
    ("finkbeiner", "right", "MAP2"): (0.73, 0.04),
}
_MASK_BARS = {"usiigaci": 0.57, "dlbf": 0.42}
# the figure that a head is judged by
MEASURE = {"nuclei": "iou", "cells": "map"}


@dataclass(frozen=True)
class Bar:
    """One bar: what, how high, and what was reached."""

    what: str
    least: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether it was reached; NaN never does."""
        return self.reached >= self.least

    def __str__(self) -> str:
        """Return a line for people."""
        verdict = "met" if self.met else "MISSED"
        return f"{verdict}: {self.what} {self.reached:.3f}, bar {self.least:.3f}"


def bars(setting: Setting, found: Found) -> list[Bar]:
    """Return every bar of a setting; those on real images where they are at hand."""
    judged = [*_stain_bars(setting, found), *_gain_bars(found)]
    if data_folder() is not None:
        judged += [*_pair_bars(found), *_mask_bars(found)]
    return judged


def _stain_bars(setting: Setting, found: Found) -> Iterator[Bar]:
    for stain, least in setting.pcc_bars.items():
        network = mean(found, simulated.NETWORK, "plain", stain, "pcc")
        ridge = mean(found, simulated.RIDGE, stain, "pcc")
        yield Bar(f"simulated {stain}: PCC", least, network)
        yield Bar(
            f"simulated {stain}: PCC above the linear filter bank", _OVER_RIDGE, network - ridge
        )


def _gain_bars(found: Found) -> Iterator[Bar]:
    iou = over_seeds(found, "nuclei", 1, "pretrained").mean()
    if iou >= _IOU_AT_ONE:
        yield Bar("nuclei, N = 1: IoU, pretrained", _IOU_AT_ONE, iou)
    else:
        yield Bar("nuclei, N = 1: relative gain of IoU", _IOU_GAIN, gain(found, "nuclei", 1))
    yield Bar("cells, N = 1: relative gain of mAP", _MAP_GAIN, gain(found, "cells", 1))
    for head in annotated.HEADS:
        few, some, many = (gain(found, head, n) for n in (1, 10, 50))
        yield Bar(f"{head}: gain at N = 1 less that at 10", 0.0, few - some)
        yield Bar(f"{head}: gain at N = 10 less that at 50", 0.0, some - many)


def _pair_bars(found: Found) -> Iterator[Bar]:
    for (pair, side, stain), (least, above) in _PAIR_BARS.items():
        network, ridge = (pairs.pair_arm(pair, side, stain, m) for m in ("network", "ridge"))
        reached, linear = mean(found, network, "pcc_flips"), mean(found, ridge, "pcc")
        yield Bar(f"{pair} {stain}, {side} part trains: PCC", least, reached)
        yield Bar(f"{pair} {stain}, {side} part trains: PCC above ridge", above, reached - linear)


def _mask_bars(found: Found) -> Iterator[Bar]:
    for data, least in _MASK_BARS.items():
        network, forest = (mask_iou(found, data, model) for model in ("network", "forest"))
        yield Bar(f"{data}, one annotated image: IoU", least, network)
        yield Bar(f"{data}, one annotated image: IoU above the forest", 0.0, network - forest)


def mean(found: Found, arm: str, *keys: str) -> float:
    """Return a figure of an arm, its mean where there are many; NaN where it was not measured."""
    if arm not in found:
        return float("nan")
    value = found[arm]
    for key in keys:
        value = value[key]
    return float(np.mean(value))


def mask_iou(found: Found, data: str, model: str) -> float:
    """Return the mean IoU over the test images; NaN where it was not measured."""
    arm = pairs.mask_arm(data, model)
    return float(np.mean(list(found[arm]["iou"].values()))) if arm in found else float("nan")


def over_seeds(found: Found, head: str, n: int, start: str) -> np.ndarray:
    """Return the figure of a head, mean over the test fields, for each seed."""
    names = [annotated.name_of(head, n, start, seed) for seed in SEEDS]
    return np.array([mean(found, name, MEASURE[head]) for name in names])


def gain(found: Found, head: str, n: int) -> float:
    """Return what pretraining adds, relative to the arm from scratch."""
    scratch, pretrained = (over_seeds(found, head, n, s).mean() for s in annotated.STARTS)
    return float(pretrained / scratch - 1)
