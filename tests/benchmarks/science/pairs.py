"""The real pairs and masks: a network of the product beside ridge and forest on a filter bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcs.image.similarity import pearson
from hcs.isl.card import Architecture
from hcs.isl.crops import Example
from hcs.isl.network import build_network
from hcs.isl.normalise import fit_target, to_target
from hcs.labels.match import pixel_scores
from tests.benchmarks.science import real
from tests.benchmarks.science.filters import Baseline
from tests.benchmarks.science.learn import predicted, trained
from tests.benchmarks.science.results import Arm, Scores
from tests.benchmarks.science.setting import Setting

Asked = Mapping[str, Any]
Image = NDArray[np.float32]

# which side trains, and the stains that get a network each, as in the paper: together in one
# network, the dense stain of neurites took the steps that sparse nuclei needed
SPLITS: tuple[tuple[str, real.Side, tuple[str, ...]], ...] = (
    ("cohen", "left", ("DAPI",)),
    ("finkbeiner", "right", ("DAPI", "MAP2")),
    ("sephace", "left", ("DAPI",)),
)
# the first image with a complete mask is the annotated one, and all other complete ones test it;
# 31 and 01 are incomplete, and 02 and 03 are one field at two foci (METHODS B7)
MASKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "usiigaci": ("set02", ("set08", "set13", "set20", "set42")),
    "dlbf": ("02", ("04",)),
}
BASELINES = ("ridge", "forest")


def arms(setting: Setting) -> Iterator[Arm]:
    """Yield every arm on real images."""
    common = {
        "device": setting.device,
        "architecture": setting.real_architecture.model_dump(mode="json"),
        "recipe": dict(setting.real),
        "seed": 0,
    }
    for pair, side, stains in SPLITS:
        for stain in stains:
            asked = {"pair": pair, "train": side, "stain": stain}
            name = pair_arm(pair, side, stain, "network")
            yield Arm(name, {**common, **asked}, _stain_network)
            for model in BASELINES:
                name = pair_arm(pair, side, stain, model)
                yield Arm(name, {**asked, "model": model}, _stain_baseline)
    for data, (image, tests) in MASKS.items():
        asked = {"data": data, "image": image, "tests": list(tests)}
        yield Arm(mask_arm(data, "network"), {**common, **asked}, _mask_network)
        yield Arm(mask_arm(data, "forest"), asked, _mask_forest)


def pair_arm(pair: str, side: str, stain: str, model: str) -> str:
    """Return the name of an arm on a pair."""
    return f"real-{pair}-{side}-{stain}-{model}"


def mask_arm(data: str, model: str) -> str:
    """Return the name of an arm on one annotated image."""
    return f"real-{data}-{model}"


def _stain_network(asked: Asked, folder: Path) -> Scores:
    pair, train, test = _pair(asked)
    grey = pair.stains[asked["stain"]]
    architecture = Architecture.model_validate(asked["architecture"])
    torch.manual_seed(asked["seed"])
    network = build_network("stain", len(pair.inputs), 1, architecture)
    example = Example(pair.inputs[..., train], _values(grey[:, train]), pair.name)
    place = folder / f"{pair_arm(pair.name, asked['train'], asked['stain'], 'network')}.training"
    network = trained(network, "stain", [example], asked, place)
    images = [pair.inputs[..., test]]
    (plain,) = predicted(network, "stain", images, asked)
    (flipped,) = predicted(network, "stain", images, asked, uncertainty="flips")
    return {
        "pcc": _correlation(plain.output, grey[:, test]),
        "pcc_flips": _correlation(flipped.output, grey[:, test]),
    }


def _stain_baseline(asked: Asked, folder: Path) -> Scores:
    pair, train, test = _pair(asked)
    grey = pair.stains[asked["stain"]]
    model = Baseline(asked["model"]).fit([pair.inputs[..., train]], [_values(grey[:, train])])
    return {"pcc": _correlation(model.predict(pair.inputs[..., test]), grey[:, test])}


def _pair(asked: Asked) -> tuple[real.Pair, slice, slice]:
    pair = real.load_pair(real.data_folder(), asked["pair"])
    return pair, *real.columns(pair.inputs.shape[-1], asked["train"])


def _values(grey: Image) -> Image:
    """Return a stain (1, y, x) on a scale near [0, 1], which this part of it alone decides."""
    return to_target(grey, fit_target([grey], "stain"))[None]


def _correlation(found: Image, grey: Image) -> float:
    return round(pearson(found[0], grey), 4)


def _mask_network(asked: Asked, folder: Path) -> Scores:
    frames = _frames(asked)
    annotated = frames[asked["image"]]
    architecture = Architecture.model_validate(asked["architecture"])
    torch.manual_seed(asked["seed"])
    network = build_network("nuclei", 1, 1, architecture)
    example = Example(annotated.inputs, annotated.mask.astype(np.float32)[None], annotated.name)
    place = folder / f"{mask_arm(asked['data'], 'network')}.training"
    network = trained(network, "nuclei", [example], asked, place)
    tests = [frames[name] for name in asked["tests"]]
    found = predicted(network, "nuclei", [frame.inputs for frame in tests], asked)
    return _iou(tests, [one.output[0] > 0 for one in found])


def _mask_forest(asked: Asked, folder: Path) -> Scores:
    frames = _frames(asked)
    annotated = frames[asked["image"]]
    target = annotated.mask.astype(np.float32)[None]
    model = Baseline("forest_mask").fit([annotated.inputs], [target])
    tests = [frames[name] for name in asked["tests"]]
    return _iou(tests, [model.predict(frame.inputs)[0] > 0.5 for frame in tests])


def _frames(asked: Asked) -> dict[str, real.Masked]:
    load = real.load_usiigaci if asked["data"] == "usiigaci" else real.load_dlbf
    return load(real.data_folder())


def _iou(frames: list[real.Masked], masks: list[NDArray[np.bool_]]) -> Scores:
    scores = [pixel_scores(mask, f.mask).iou for f, mask in zip(frames, masks, strict=True)]
    return {"iou": {f.name: round(s, 4) for f, s in zip(frames, scores, strict=True)}}
