"""Ours against the plain way: ratios of wall time, printed and written to ``build/bench.json``.

Both sides run on one thread, in turn, and the best of some rounds counts: what else the machine
does slows single rounds, never speeds them up.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

_RESULTS = Path(__file__).parents[2] / "build" / "bench.json"


class Bench:
    """Collects what the benchmarks of a session measured."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    def compare(
        self, name: str, ours: Callable[[], Any], plain: Callable[[], Any], rounds: int = 2
    ) -> float:
        """Time both, warmed up by the caller; keep the figures, return plain over ours."""
        sides = {"ours_s": ours, "plain_s": plain}
        best = {side: float("inf") for side in sides}
        for _ in range(rounds):
            for side, call in sides.items():
                start = time.perf_counter()
                call()
                best[side] = min(best[side], time.perf_counter() - start)
        ratio = best["plain_s"] / best["ours_s"]
        self.rows[name] = {**best, "ratio": ratio}
        sys.stdout.write(
            f"\n{name}: ours {best['ours_s']:.3f} s, plain {best['plain_s']:.3f} s, {ratio:.1f}x\n"
        )
        return ratio

    def note(self, name: str, row: dict[str, float]) -> None:
        """Keep and print figures that are not of two sides."""
        self.rows[name] = row
        told = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
        sys.stdout.write(f"\n{name}: {told}\n")

    def write(self) -> None:
        _RESULTS.parent.mkdir(exist_ok=True)
        before = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
        _RESULTS.write_text(json.dumps(before | self.rows, indent=1, sort_keys=True) + "\n")


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """Return the harness; what it measured is written at the end."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    harness = Bench()
    yield harness
    harness.write()
    cv2.setNumThreads(before)
