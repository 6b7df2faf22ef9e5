"""Files of a plate that are changed behind its back, and what repairs them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hcs.plate.lock import acquire
from hcs.plate.open import open_plate
from hcs.run.verify import verify_plate, withdraw


@dataclass(frozen=True)
class Corruption:
    """A change of one file."""

    path: Path
    kind: str
    content: bytes

    def apply(self) -> None:
        if self.kind == "deletion":
            self.path.unlink()
        else:
            self.path.write_bytes(self.content)


def corruptions(paths: list[Path], rng: np.random.Generator) -> Iterator[Corruption]:
    while True:
        path = paths[rng.integers(len(paths))]
        content = bytearray(path.read_bytes() if path.exists() else b"")
        if not content:
            # nothing is left of it
            continue
        kind = str(rng.choice(["bit flip", "truncation", "deletion"]))
        if kind == "bit flip":
            place = int(rng.integers(8 * len(content)))
            content[place // 8] ^= 1 << place % 8
        elif kind == "truncation":
            del content[int(rng.integers(len(content))) :]
        yield Corruption(path, kind, bytes(content))


def markers(url: Path) -> list[Path]:
    return sorted(url.with_suffix(".hcs").glob("[Ap]*/**/*.json"))


def outputs(url: Path) -> list[Path]:
    """Return every file that a marker vouches for."""
    manifests = [json.loads(path.read_text())["manifest"] for path in markers(url)]
    return sorted({url / key for manifest in manifests for key in manifest})


def repair(url: Path) -> None:
    opened = open_plate(url)
    with acquire(opened.companion) as lock:
        withdraw(opened, verify_plate(opened, opened.layout.wells).damages, lock.token)
