"""A frame and its label image as TIFF files for ImageJ, Fiji and napari, pixel size and all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from hcs.plate.metadata import FieldImage
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_frame_channels
from hcs.plate.storage import write_errors

# what ImageJ knows; others become float32
_TYPES = ("uint8", "uint16", "float32")


def write_frame(path: Path, plate: Plate, field: FieldPath, frame: int) -> None:
    """Write all planes and channels of one frame, as a composite with the channels' names."""
    image = plate.field_image(field)
    planes = [read_frame_channels(plate, field, frame, z) for z in range(image.length("z"))]
    pixels = np.stack([np.stack(list(plane.values())) for plane in planes])
    if pixels.dtype.name not in _TYPES:
        pixels = pixels.astype(np.float32)
    _write(path, pixels, image, {"Labels": [*planes[0]] * len(planes)})


def write_labels(path: Path, labels: NDArray[np.uint32], image: FieldImage) -> None:
    """Write a label image, shape (y, x), with the pixel size of the image it belongs to.

    As uint16, or float32 where ids do not fit: ImageJ knows no integers of 32 bits.
    """
    fits = not labels.size or labels.max() <= np.iinfo(np.uint16).max
    _write(path, labels.astype(np.uint16 if fits else np.float32)[None, None], image, {})


def _write(path: Path, pixels: NDArray[Any], image: FieldImage, extra: Mapping[str, Any]) -> None:
    """Write pixels (z, c, y, x); the folder is made."""
    size, step = image.pixel_size_um, image.z_step_um
    metadata = {"axes": "ZCYX", "mode": "composite" if pixels.shape[1] > 1 else "grayscale"}
    metadata |= dict(extra) | ({"unit": "um"} if size else {}) | ({"spacing": step} if step else {})
    with write_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path,
            pixels,
            imagej=True,
            metadata=metadata,
            resolution=(1 / size, 1 / size) if size else None,
        )
