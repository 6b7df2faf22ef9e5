"""Tiny plates to train on: discs that show in phase, their stain, and label images of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcs.plate.create import ImageSpec, create_field_image, create_label_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_frames, write_label_frames

SIDE_PX = 96
CHANNELS = ("phase", "nuclei")
_N_DISCS, _RADIUS_PX = 7, 8


def discs(seed: int, side: int = SIDE_PX) -> NDArray[np.uint32]:
    """Return a label image of discs, some of which touch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint32)
    for label, (cy, cx) in enumerate(rng.uniform(8, side - 8, (_N_DISCS, 2)), start=1):
        labels[np.hypot(y - cy, x - cx) <= _RADIUS_PX] = label
    return labels


def images_of(labels: NDArray[np.uint32], seed: int, gain: float = 1) -> NDArray[np.uint16]:
    """Return phase and stain, (2, y, x): discs are dark and grainy, then bright."""
    rng = np.random.default_rng([seed, 1])
    inside = labels > 0
    phase = 1000 + rng.normal(0, 20, labels.shape) - inside * rng.normal(300, 80, labels.shape)
    stain = 100 + rng.normal(0, 5, labels.shape) + gain * 900 * inside
    return np.clip(np.rint([phase, stain]), 0, 65535).astype(np.uint16)


def make_stained_plate(
    url: Path | str,
    wells: Sequence[str] = ("A/01", "A/02", "A/03", "A/04"),
    *,
    frames: int = 2,
    side: int = SIDE_PX,
    gain: float = 1,
    pixel_size_um: float | None = 0.65,
) -> Plate:
    """Write a plate with one field per well, its stain, and label images ``nuclei``."""
    paths = tuple(WellPath.parse(well) for well in wells)
    rows = tuple(sorted({path.row for path in paths}))
    columns = tuple(sorted({path.column for path in paths}))
    plate = create_plate(url, PlateLayout("stained", "0.4", rows, columns, paths))
    for number, path in enumerate(paths):
        seeds = [100 * number + frame for frame in range(frames)]
        labels = np.stack([discs(seed, side) for seed in seeds])
        pixels = np.stack([images_of(o, s, gain) for o, s in zip(labels, seeds, strict=True)])
        spec = ImageSpec(
            ("t", "c", "z", "y", "x"),
            (frames, 2, 1, side, side),
            "uint16",
            tuple(map(Channel, CHANNELS)),
            pixel_size_um=pixel_size_um,
            z_step_um=1.0,
            interval_s=600,
        )
        field = FieldPath(path, "0")
        create_field_image(plate, field, spec)
        write_frames(plate, field, 0, pixels[:, :, None])
        create_label_image(plate, field, "nuclei", {})
        write_label_frames(plate, field, "nuclei", 0, labels)
    return plate


def training_values(plate: Path | str, **changes: object) -> dict:
    """Return plain settings of the smallest training that is one."""
    recipe = {
        "steps": 4,
        "batch": 2,
        "crop_px": 64,
        "crops_per_image": 4,
        "validate_every": 2,
        "checkpoint_every": 2,
    }
    return {
        "name": "tiny",
        "inputs": [{"channel": "phase"}],
        "target": {"stains": ["nuclei"]},
        "plates": [{"plate": str(plate)}],
        "split": {"validation": 0.25, "test": 0.25},
        "architecture": {"encoder": "resnet18", "depth": 3, "decoder_channels": [16, 8, 8]},
        "recipe": recipe,
    } | changes
