"""Does ISL reproduce? ``python -m tests.benchmarks.science``: measure, write the tables, judge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.science import annotated, pairs, recipes, simulated
from tests.benchmarks.science.bars import bars
from tests.benchmarks.science.picture import draw
from tests.benchmarks.science.plate import simulated as simulated_plate
from tests.benchmarks.science.real import data_folder
from tests.benchmarks.science.results import Arm, done
from tests.benchmarks.science.runner import measure_all
from tests.benchmarks.science.setting import SETTINGS, Setting
from tests.benchmarks.science.tables import page

_BUILD = Path("build") / "science-isl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing; return 1 if a bar is missed, 0 if all of them are met."""
    asked = _parser().parse_args(arguments)
    setting = SETTINGS[asked.setting]
    folder = asked.folder / setting.name
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [arm for arm in _arms(setting) if arm.name.startswith(tuple(asked.only or [""]))]
    simulated_plate(folder.parent)
    measure_all(chosen, folder, 1 if setting.device == "gpu" else asked.processes)
    found = {arm.name: scores for arm in _arms(setting) if (scores := done(arm, folder))}
    text = page(setting, found)
    (folder / "tables.md").write_text(text)
    if simulated.NETWORK in found:
        draw(folder, folder / "field.png")
    judged = bars(setting, found)
    lines = [str(bar) for bar in judged]
    sys.stdout.write("\n".join([text, *lines, ""]))
    return 0 if all(bar.met for bar in judged) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.science", description=__doc__)
    parser.add_argument("--setting", choices=sorted(SETTINGS), default="cpu")
    parser.add_argument("--only", nargs="*", help="arms whose names begin so")
    parser.add_argument("--processes", type=int, default=2, help="arms at once, a thread each")
    parser.add_argument("--folder", type=Path, default=_BUILD, help="what was measured lies there")
    return parser


def _arms(setting: Setting) -> list[Arm]:
    arms = [*simulated.arms(setting), *annotated.arms(setting), *recipes.arms(setting)]
    if data_folder() is None:
        sys.stdout.write("HCS_DATA names no folder with the real sets: simulated plates only\n")
        return arms
    return [*arms, *pairs.arms(setting)]


if __name__ == "__main__":
    sys.exit(main())
