"""What each part of the default recipe is worth: the same short training without it.

Scored on the validation wells: the test wells are for the tables of the paper alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hcs.image.similarity import pearson
from hcs.isl.recipe import RecipeName
from tests.benchmarks.science.plate import STAINS, simulated
from tests.benchmarks.science.results import Arm, Scores
from tests.benchmarks.science.setting import SEEDS, Setting
from tests.benchmarks.science.simulated import common, predicted_stains, stain_network

Asked = Mapping[str, Any]

DEFAULT = "default"
# what is changed, in words: the recipe, and what of it
CHANGES: Mapping[str, tuple[RecipeName, Mapping[str, Any]]] = {
    DEFAULT: ("default", {}),
    "loss: l1": ("default", {"loss": "l1"}),
    "loss: l1+ms-dssim": ("default", {"loss": "l1+ms-dssim"}),
    "augment: none": ("default", {"augment": "none"}),
    "augment: flips": ("default", {"augment": "flips"}),
    "ema: null": ("default", {"ema": None}),
    "schedule: constant": ("default", {"schedule": "constant"}),
    "learning_rate: 3e-3": ("default", {"learning_rate": 3e-3}),
    "crops: once": ("default", {"crops": "once"}),
    "paper": ("paper", {}),
    "paper, learning_rate: 0.1": ("paper", {"learning_rate": 0.1}),
}
# alike for all, as the paper's crops and steps would take a day: 150 steps see 1 200 crops
_SHORT = {"steps": 150, "batch": 8, "crop_px": 128, "crops_per_image": 4, "patience": None}


def arms(setting: Setting) -> Iterator[Arm]:
    """Yield the default recipe with every seed, and each change of it with the first."""
    for change in CHANGES:
        for seed in SEEDS if change == DEFAULT else SEEDS[:1]:
            name, changes = CHANGES[change]
            asked = {**common(setting), "recipe_name": name, "recipe": {**_SHORT, **changes}}
            asked |= {"change": change, "seed": seed}
            yield Arm(name_of(change, seed), asked, _work)


def name_of(change: str, seed: int = SEEDS[0]) -> str:
    """Return the name of an arm."""
    words = "".join(letter if letter.isalnum() else "-" for letter in change)
    return f"recipe-{words}-seed{seed}"


def _work(asked: Asked, folder: Path) -> Scores:
    split = simulated(folder.parent)
    place = folder / f"{name_of(asked['change'], asked['seed'])}.training"
    network, card = stain_network(asked, split, place)
    found = predicted_stains(network, card, split.validation, asked, "none")
    pairs = list(zip(split.validation, found, strict=True))
    return {
        stain: [round(pearson(guess[k], frame.grey[k]), 4) for frame, guess in pairs]
        for k, stain in enumerate(STAINS)
    }
