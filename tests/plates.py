"""A tiny plate with cells that move: the tests of runs start from copies of it."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout, Version
from hcs.plate.open import Plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_frames

SIDE_PX = 128
N_FRAMES = 4
_BACKGROUND, _RADIUS_PX, _N_CELLS = 400, 9, 6


def moving_cells(seed: int, n_frames: int = N_FRAMES, side: int = SIDE_PX) -> NDArray[np.uint16]:
    """Return frames (t, y, x) of grainy discs that crawl over a noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    grain = rng.normal(0, 120, (3 * side, 3 * side))
    start = np.stack(np.meshgrid(*[np.linspace(25, side - 25, 3)] * 2), -1).reshape(-1, 2)
    start = start[rng.permutation(len(start))[:_N_CELLS]]
    step = rng.uniform(1.5, 3, start.shape) * rng.choice([-1, 1], start.shape)
    frames = np.empty((n_frames, side, side))
    for t in range(n_frames):
        frame = _BACKGROUND + rng.normal(0, 4, (side, side))
        for (cy, cx), (dy, dx) in zip(start, step, strict=True):
            cy, cx = cy + dy * t, cx + dx * t
            inside = np.hypot(y - cy, x - cx) <= _RADIUS_PX
            ky, kx = (y - round(cy)) % (3 * side), (x - round(cx)) % (3 * side)
            frame += np.where(inside, 200 + grain[ky, kx] + rng.normal(0, 30, frame.shape), 0)
        frames[t] = frame
    return np.clip(np.rint(frames), 0, 65535).astype(np.uint16)


def still_ground(seed: int, n_frames: int = N_FRAMES, side: int = SIDE_PX) -> NDArray[np.uint16]:
    """Return frames (t, y, x) of noise only: no pair of them is separable."""
    noise = np.random.default_rng(seed).normal(_BACKGROUND, 4, (n_frames, side, side))
    return np.rint(noise).astype(np.uint16)


def make_plate(
    url: Path | str,
    wells: dict[str, NDArray[np.uint16]],
    version: Version = "0.4",
    storage: Literal["chunked", "sharded"] = "chunked",
) -> Plate:
    """Write a plate with one field and two channels per well, phase and its negative."""
    paths = tuple(sorted(WellPath.parse(well) for well in wells))
    rows = tuple(sorted({path.row for path in paths}))
    columns = tuple(sorted({path.column for path in paths}))
    plate = create_plate(url, PlateLayout("tiny", version, rows, columns, paths))
    for path in paths:
        phase = wells[str(path)]
        pixels = np.stack([phase, 1000 - np.minimum(phase, 1000)], axis=1)[:, :, None]
        spec = ImageSpec(
            ("t", "c", "z", "y", "x"),
            pixels.shape,
            "uint16",
            (Channel("phase"), Channel("nuclei")),
            pixel_size_um=0.65,
            z_step_um=1.0,
            interval_s=600,
            storage=storage,
        )
        field = FieldPath(path, "0")
        create_field_image(plate, field, spec)
        write_frames(plate, field, 0, pixels)
    return plate


def sisters_of(url: Path | str) -> list[Path]:
    """Return the plates of image products beside a plate."""
    return sorted(Path(url).parent.glob(f"{Path(url).stem}_*.zarr"))


def results_of(url: Path | str) -> dict[str, bytes]:
    """Return every file of a plate and its sisters, and its markers without the run's number."""
    plate = Path(url)
    companion = plate.with_suffix(".hcs")
    roots = {"plate": plate} | {sister.name: sister for sister in sisters_of(url)}
    found = {
        f"{name}/{path.relative_to(root)}": path.read_bytes()
        for name, root in roots.items()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    for path in sorted(companion.rglob("*.json")):
        key = str(path.relative_to(companion))
        if not key.startswith(("lock/", "attempts/", "runs/")):
            content = json.loads(path.read_bytes())
            content.pop("token", None)
            content.pop("seal", None)
            found[f"companion/{key}"] = json.dumps(content, sort_keys=True).encode()
    return found


def rechunk(array: Path, chunks: tuple[int, ...]) -> None:
    """Write the pixels of an array of OME-Zarr 0.4 anew, as another program would."""
    pixels = zarr.open_array(str(array), mode="r")[:]
    zarr.create_array(
        str(array),
        shape=pixels.shape,
        chunks=chunks,
        dtype=pixels.dtype,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        overwrite=True,
    )[:] = pixels
