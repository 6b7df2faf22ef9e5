"""The figures as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tests.benchmarks.science import annotated, pairs, recipes, simulated
from tests.benchmarks.science.bars import Found, gain, mask_iou, mean, over_seeds
from tests.benchmarks.science.plate import STAINS
from tests.benchmarks.science.setting import COUNTS, SEEDS, Setting


def page(setting: Setting, found: Found) -> str:
    """Return all tables of a setting; what was not measured is a dash."""
    parts = [
        f"Setting: {setting.name}",
        _table(_STAIN_HEAD, _stain_rows(found)),
        _table(_ANNOTATED_HEAD, _annotated_rows(found)),
        _table(_LONG_HEAD, _long_rows(setting, found)),
        _table(_RECIPE_HEAD, _recipe_rows(found)),
        _table(_PAIR_HEAD, _pair_rows(found)),
        _table(_MASK_HEAD, _mask_rows(found)),
        f"Time of all arms together: {sum(s['seconds'] for s in found.values()) / 60:.0f} min",
    ]
    return "\n\n".join(parts) + "\n"


_STAIN_HEAD = (
    "simulated stain",
    "network: PCC, mean over fields",
    "with 8 flips",
    "lowest field",
    "SSIM",
    "counts, r",
    "ridge: PCC",
    "SSIM",
    "counts, r",
)
_ANNOTATED_HEAD = ("head", "N", "from scratch", "ISL-pretrained", "gain")
_LONG_HEAD = ("cells, one seed: N", "steps", "from scratch, mAP", "ISL-pretrained")
_RECIPE_HEAD = ("recipe, 150 steps", "nuclei: PCC", "cells: PCC")
_PAIR_HEAD = (
    "pair",
    "trains",
    "stain",
    "ridge",
    "forest",
    "network",
    "network, 8 flips",
)
_MASK_HEAD = ("set", "annotated", "tested on", "forest: IoU", "network: IoU")


def _stain_rows(found: Found) -> Iterator[list[str]]:
    for stain in STAINS:
        network, ridge = simulated.NETWORK, simulated.RIDGE
        row = [stain, _number(mean(found, network, "plain", stain, "pcc"))]
        row.append(_number(mean(found, network, stain, "pcc")))
        row.append(_number(min(found[network][stain]["pcc"])) if network in found else "-")
        row += _likeness(found, network, stain)
        row.append(_number(mean(found, ridge, stain, "pcc")))
        row += _likeness(found, ridge, stain)
        yield row


def _likeness(found: Found, arm: str, stain: str) -> list[str]:
    counted = _number(mean(found, arm, "count_correlation")) if stain == "nuclei" else ""
    return [_number(mean(found, arm, stain, "ssim")), counted]


def _annotated_rows(found: Found) -> Iterator[list[str]]:
    for head, name in zip(annotated.HEADS, ("nuclei, IoU", "cells, mAP"), strict=True):
        for n in COUNTS:
            arms = [_spread(over_seeds(found, head, n, start)) for start in annotated.STARTS]
            yield [name, str(n), *arms, _percent(gain(found, head, n))]


def _long_rows(setting: Setting, found: Found) -> Iterator[list[str]]:
    for n in (1, 50):
        few = [annotated.name_of("cells", n, start, SEEDS[0]) for start in annotated.STARTS]
        many = [annotated.long_name_of(n, start) for start in annotated.STARTS]
        for steps, names in ((setting.segmentation["steps"], few), (setting.more_steps, many)):
            yield [str(n), str(steps), *(_number(mean(found, name, "map")) for name in names)]


def _recipe_rows(found: Found) -> Iterator[list[str]]:
    for change in recipes.CHANGES:
        seeds = SEEDS if change == recipes.DEFAULT else SEEDS[:1]
        names = [recipes.name_of(change, seed) for seed in seeds]
        figures = [np.array([mean(found, name, stain) for name in names]) for stain in STAINS]
        yield [change, *(_spread(f) if len(f) > 1 else _number(f[0]) for f in figures)]


def _pair_rows(found: Found) -> Iterator[list[str]]:
    for pair, side, stains in pairs.SPLITS:
        for stain in stains:
            *baselines, network = (
                pairs.pair_arm(pair, side, stain, m) for m in (*pairs.BASELINES, "network")
            )
            figures = [mean(found, name, "pcc") for name in (*baselines, network)]
            figures.append(mean(found, network, "pcc_flips"))
            yield [pair, side, stain, *map(_number, figures)]


def _mask_rows(found: Found) -> Iterator[list[str]]:
    for data, (image, tests) in pairs.MASKS.items():
        figures = [_number(mask_iou(found, data, model)) for model in ("forest", "network")]
        yield [data, image, ", ".join(tests), *figures]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.0%}"


def _spread(values: np.ndarray) -> str:
    return "-" if np.isnan(values).any() else f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
