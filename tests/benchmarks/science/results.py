"""What was measured, one JSON file per arm: whoever starts again goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Scores = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One thing to train or fit, and to score.

    Parameters
    ----------
    name : str
        Of its file, as "nuclei-n01-pretrained-seed2".
    asked : mapping
        All that its figures depend on; a result that was asked otherwise is measured again.
    work : callable
        Called with `asked` and the folder of the results; gives the scores. Of a module, so that
        it can travel to another process.
    needs : str, optional
        The arm that has to be done before.
    """

    name: str
    asked: Mapping[str, Any]
    work: Callable[[Mapping[str, Any], Path], Scores]
    needs: str | None = None


def done(arm: Arm, folder: Path) -> Scores | None:
    """Return the scores of an arm that was measured before, and asked alike."""
    path = _path(arm, folder)
    if not path.exists():
        return None
    held = json.loads(path.read_text())
    alike = held["asked"] == json.loads(json.dumps(arm.asked))
    return dict(held["scores"], seconds=held["seconds"]) if alike else None


def measure(arm: Arm, folder: Path) -> Scores:
    """Return the scores of an arm, measured now unless they are there."""
    if (scores := done(arm, folder)) is not None:
        return scores
    start = time.perf_counter()
    scores = arm.work(arm.asked, folder)
    seconds = round(time.perf_counter() - start, 1)
    path = _path(arm, folder)
    part = path.with_suffix(".part")
    part.write_text(
        json.dumps({"asked": arm.asked, "scores": scores, "seconds": seconds}, indent=1) + "\n"
    )
    part.replace(path)
    return dict(scores, seconds=seconds)


def _path(arm: Arm, folder: Path) -> Path:
    return folder / f"{arm.name}.json"
