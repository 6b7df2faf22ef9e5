from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import
from hcs.ingest.plate import PlateFormat, import_plate
from hcs.plate.create import create_label_image
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.write import write_label_frames
from tests.nights import Night

SHAPE = (24, 32)
SEQUENCES = {"s1": (20, 21, 22), "s2": (5, 6)}


def squares(*objects: tuple[int, int, int, int]) -> np.ndarray:
    """Draw (label, top, left, side), later ones over earlier ones."""
    labels = np.zeros(SHAPE, np.uint32)
    for label, top, left, side in objects:
        labels[top : top + side, left : left + side] = label
    return labels


def put_labels(plate: Plate, field: str, frames: list[np.ndarray], name: str = "ssl_cells"):
    path = FieldPath.parse(field)
    create_label_image(plate, path, name, {})
    write_label_frames(plate, path, name, 0, np.stack(frames))


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Return a night in a folder without plates."""
    return Night(tmp_path)


@pytest.fixture
def draw():
    return squares


@pytest.fixture
def put():
    return put_labels


@pytest.fixture
def sequence_plate(tmp_path: Path) -> Plate:
    """Two imported sequences, frames 20 to 22 in A/01, 5 and 6 in A/02; no labels yet."""
    for name, times in SEQUENCES.items():
        (tmp_path / "set" / name / "images").mkdir(parents=True)
        for time in times:
            path = tmp_path / "set" / name / "images" / f"t{time:03d}.tif"
            tifffile.imwrite(path, np.full(SHAPE, time, np.uint8))
    files = Pattern("{sequence}/images/t{time}.tif").find(tmp_path / "set").files
    return import_plate(str(tmp_path / "set.zarr"), plan_import(files), PlateFormat())


@pytest.fixture
def write_mask(tmp_path: Path):
    """Write a mask below the data set's folder."""

    def write(name: str, labels: np.ndarray) -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, labels)
        return path

    return write
