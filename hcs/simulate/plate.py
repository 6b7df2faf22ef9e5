"""A simulated plate on disk, and its truth beside it; the only file here that knows the store."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np

from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.table import write_table
from hcs.plate.write import (
    ImageSpec,
    create_field_image,
    create_label_image,
    create_plate,
    create_wells,
    write_frames,
    write_label_frames,
)
from hcs.simulate import optics, stains
from hcs.simulate.conditions import brightness, condition_table, treatment
from hcs.simulate.field import Scene, SimulatedField, simulate_field
from hcs.simulate.presets import PRESETS
from hcs.simulate.settings import SimulationSettings

OnField = Callable[[FieldPath], None]

_NUCLEI = Channel("nuclei", "3F7FFF", (0, 65535, optics.CAMERA_OFFSET, 1.4 * stains.NUCLEI_GREY))
_CELLS = Channel("cells", "FF7F3F", (0, 65535, optics.CAMERA_OFFSET, 1.4 * stains.CELLS_GREY))


def simulate_plate(
    url: str | Path,
    settings: SimulationSettings,
    processes: int = 1,
    on_field: OnField = lambda _: None,
) -> Plate:
    """Write a plate ``X.zarr`` and its truth ``X_truth.zarr``.

    The plate has the label-free channel (named by its optics) and the stains ``nuclei`` and
    ``cells``. The truth's image is the label-free channel without noise and accidents; its label
    images are ``cells`` and ``nuclei``; each field has a table ``tracks``. Both plates have the
    table ``condition``. Equal settings give equal bytes, whatever the number of processes.

    Parameters
    ----------
    url : str or Path
        Of the plate; neither it nor the truth may be there yet.
    settings : SimulationSettings
    processes : int
        At most so many fields at once.
    on_field : callable
        Called with each field as it is written.
    """
    plate = _create(url, settings)
    truth = _create(plate.storage.sibling("_truth.zarr").url, settings)
    fields = _fields(settings)
    if processes == 1:
        for field in fields:
            _write_field(plate, truth, field, settings)
            on_field(field)
    else:
        _in_processes(plate, truth, settings, processes, on_field)
    for one in (plate, truth):
        write_table(one, None, "condition", condition_table(settings), "condition_table")
    return open_plate(url)


def field_seed(settings: SimulationSettings, field: FieldPath) -> np.random.SeedSequence:
    """Return the seed of a field: of its place alone, so that any field can be made alone."""
    row = settings.row_names.index(field.well.row)
    return np.random.SeedSequence(
        settings.seed, spawn_key=(row, int(field.well.column), int(field.name))
    )


def simulate_well_field(settings: SimulationSettings, field: FieldPath) -> SimulatedField:
    """Return what stands in one field of the plate."""
    scene = Scene(
        shape=(settings.size, settings.size),
        n_frames=settings.frames,
        optics=settings.optics,
        treatment=treatment(settings, field.well),
        brightness=brightness(settings, field.well),
        accident=settings.accident(field.well),
    )
    return simulate_field(PRESETS[settings.preset], scene, field_seed(settings, field))


def _imaged(settings: SimulationSettings) -> tuple[WellPath, ...]:
    return tuple(w for w in settings.wells if settings.accident(w) != "missing_well")


def _fields(settings: SimulationSettings) -> tuple[FieldPath, ...]:
    return tuple(
        FieldPath(well, str(number))
        for well in _imaged(settings)
        for number in range(settings.fields)
    )


def _create(url: str | Path, settings: SimulationSettings) -> Plate:
    layout = PlateLayout(
        name=Path(str(url).rstrip("/")).stem,
        version=settings.version,
        rows=settings.row_names,
        columns=settings.column_names,
        wells=_imaged(settings),
    )
    plate = create_plate(url, layout)
    create_wells(plate, _fields(settings))
    return plate


def _in_processes(
    plate: Plate, truth: Plate, settings: SimulationSettings, processes: int, on_field: OnField
) -> None:
    urls = plate.storage.url, truth.storage.url
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        waiting = {pool.submit(_work, urls, f, settings): f for f in _fields(settings)}
        for done in as_completed(waiting):
            done.result()
            on_field(waiting[done])


def _work(urls: tuple[str, str], field: FieldPath, settings: SimulationSettings) -> None:
    """Write one field, in a process of its own."""
    # as many processes as cores already: threads within them would only fight
    cv2.setNumThreads(1)
    plate, truth = (open_plate(url) for url in urls)
    _write_field(plate, truth, field, settings)


def _write_field(
    plate: Plate, truth: Plate, field: FieldPath, settings: SimulationSettings
) -> None:
    simulated = simulate_well_field(settings, field)
    label_free = Channel(settings.optics, "FFFFFF", (0, 65535, 0, 2 * optics.BACKGROUND_GREY))
    create_field_image(plate, field, _spec(settings, (label_free, _NUCLEI, _CELLS)))
    write_frames(plate, field, 0, simulated.frames[:, :, None])
    noiseless = Channel(f"{settings.optics}_noiseless", label_free.color, label_free.window)
    create_field_image(truth, field, _spec(settings, (noiseless,)))
    write_frames(truth, field, 0, simulated.noiseless[:, None, None])
    for name, labels in (("cells", simulated.cells), ("nuclei", simulated.nuclei)):
        create_label_image(truth, field, name, _provenance(settings))
        write_label_frames(truth, field, name, 0, labels)
    write_table(truth, field, "tracks", simulated.tracks, "generic_table", label_image="cells")


def _spec(settings: SimulationSettings, channels: tuple[Channel, ...]) -> ImageSpec:
    return ImageSpec(
        axes=("t", "c", "z", "y", "x"),
        shape=(settings.frames, len(channels), 1, settings.size, settings.size),
        dtype="uint16",
        channels=channels,
        pixel_size_um=settings.pixel_size_um,
        interval_s=settings.interval_s,
        z_step_um=1.0,
        storage=settings.storage,
    )


def _provenance(settings: SimulationSettings) -> Mapping[str, str | int]:
    return {"simulated": settings.preset, "seed": settings.seed}
