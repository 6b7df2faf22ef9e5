"""Arms at work, some at once, each in a process with one thread."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch

from tests.benchmarks.science.results import Arm, Scores, done, measure


def measure_all(arms: Iterable[Arm], folder: Path, processes: int) -> None:
    """Measure what was not measured yet, an arm after the one that it needs."""
    waiting = [arm for arm in arms if done(arm, folder) is None]
    missing = {arm.name for arm in waiting}
    began, n = time.monotonic(), len(waiting)
    with ProcessPoolExecutor(processes, get_context("spawn"), _one_thread) as pool:
        running: dict[Future[Scores], Arm] = {}
        while waiting or running:
            ready = [arm for arm in waiting if arm.needs not in missing]
            for arm in ready[: processes - len(running)]:
                waiting.remove(arm)
                running[pool.submit(measure, arm, folder)] = arm
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                arm = running.pop(future)
                missing.remove(arm.name)
                minutes = (time.monotonic() - began) / 60
                scores = future.result()
                sys.stdout.write(
                    f"{n - len(missing)}/{n} after {minutes:.1f} min: {arm.name}, "
                    f"{scores['seconds']} s\n"
                )
                sys.stdout.flush()


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
