"""A planned import becomes a plate: fields in parallel, well by well resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from hcs.errors import ImportFilesError, PlateError, WriteError
from hcs.ingest.field import FieldJob, display_channels, image_spec, write_fields
from hcs.ingest.plan import ImportPlan
from hcs.ingest.provenance import read_fingerprint, write_provenance
from hcs.ingest.source import row_letters
from hcs.plate.commit import (
    EVERYTHING,
    JSON,
    Marker,
    fingerprint,
    read_marker,
    sweep,
    write_marker,
)
from hcs.plate.create import create_plate, create_wells
from hcs.plate.lock import acquire
from hcs.plate.metadata import PlateLayout, Version
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage

STEP = "import"
PLATE_FORMATS = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24)}
PLATE_FORMATS |= {1536: (32, 48)}


@dataclass(frozen=True)
class PlateFormat:
    """How the plate is stored.

    Parameters
    ----------
    version : {"0.4", "0.5"}
        Of OME-Zarr.
    storage : {"chunked", "sharded"}
        Whether chunks are gathered in larger files; 0.5 only.
    n_wells : int or None
        Of the physical plate, so that empty rows and columns are listed too; None lists those
        with images.
    """

    version: Version = "0.4"
    storage: Literal["chunked", "sharded"] = "chunked"
    n_wells: int | None = None

    def __post_init__(self) -> None:
        """Check what cannot be."""
        if self.n_wells not in (None, *PLATE_FORMATS):
            sizes = ", ".join(map(str, PLATE_FORMATS))
            raise ImportFilesError(f"no plate has {self.n_wells} wells", hint=f"but {sizes}")
        if self.version == "0.4" and self.storage == "sharded":
            raise ImportFilesError("OME-Zarr 0.4 has no shards", hint="write version 0.5")


def import_plate(
    url: str,
    plan: ImportPlan,
    plate_format: PlateFormat,
    *,
    processes: int = 1,
    on_field: Callable[[FieldPath], None] = lambda field: None,
) -> Plate:
    """Write a planned plate, or go on with one that was begun, and return it.

    A well whose marker says that it is written stays as it is; the result of a run that was
    killed and run again has the same bytes as that of one run.

    Parameters
    ----------
    url : str
        Of the plate.
    plan : ImportPlan
        Without problems.
    plate_format : PlateFormat
    processes : int
        Fields written at once.
    on_field : callable
        Is told each field that is written.

    Raises
    ------
    ImportFilesError
        If the plan has problems.
    WriteError
        If there is already something else.
    """
    plan.check()
    layout = plate_layout(Storage.open(url).name, plan, plate_format)
    companion = Storage.open(url).sibling(".hcs")
    with acquire(companion) as lock:
        digest = _plan_fingerprint(plan, plate_format)
        plate = _begin(url, layout, plan, digest)
        jobs = _unwritten(plate, plan, plate_format, digest)
        create_wells(plate, [job.field.path for own in jobs.values() for job in own])
        for well, manifest in _written_wells(jobs, processes, on_field):
            record: JSON = {"n_files": len(manifest)}
            marker = Marker(STEP, digest, manifest, record, lock.token)
            write_marker(plate, well, marker, lock.token)
    return open_plate(url)


def plate_layout(name: str, plan: ImportPlan, plate_format: PlateFormat) -> PlateLayout:
    """Return the grid of a planned plate.

    Raises
    ------
    ImportFilesError
        If a well does not lie on a plate of so many wells.
    """
    wells = tuple(dict.fromkeys(field.path.well for field in plan.fields))
    rows = tuple(sorted({well.row for well in wells}, key=lambda row: (len(row), row)))
    columns = tuple(sorted({well.column for well in wells}, key=lambda text: (len(text), text)))
    if plate_format.n_wells is not None:
        n_rows, n_columns = PLATE_FORMATS[plate_format.n_wells]
        all_rows = tuple(map(row_letters, range(n_rows)))
        all_columns = tuple(f"{column + 1:02d}" for column in range(n_columns))
        off = [w.name for w in wells if w.row not in all_rows or w.column not in all_columns]
        if off:
            raise ImportFilesError(
                f"{', '.join(off)} do not lie on a plate of {plate_format.n_wells} wells"
            )
        rows, columns = all_rows, all_columns
    return PlateLayout(name, plate_format.version, rows, columns, wells)


def _plan_fingerprint(plan: ImportPlan, plate_format: PlateFormat) -> str:
    """Return the digest of what the plate is made from: names and sizes of files, not times."""
    sizes = {path.as_posix(): size for path, size in sorted(plan.file_sizes.items())}
    planes: JSON = [
        [str(i.field), i.path.as_posix(), i.page, i.channel, i.z, i.time]
        for field in plan.fields
        for i in field.images
    ]
    calibration = plan.calibration
    return fingerprint(
        {
            "files": dict(sizes),
            "planes": planes,
            "channels": list(plan.channels),
            "sizes": [calibration.pixel_size_um, calibration.interval_s, calibration.z_step_um],
            "format": [plate_format.version, plate_format.storage, plate_format.n_wells],
        }
    )


def _begin(url: str, layout: PlateLayout, plan: ImportPlan, digest: str) -> Plate:
    """Return the plate that this import began earlier, or a new one."""
    storage = Storage.open(url)
    companion = storage.sibling(".hcs")
    begun = read_fingerprint(companion)
    if begun is None and storage.sizes():
        raise WriteError(f"{url} is there already", hint="give another name, or remove it")
    if begun not in (None, digest):
        raise WriteError(
            f"{url} was imported from other files or with other options",
            hint=f"give another name, or remove it and {companion.url}",
        )
    write_provenance(companion, plan, digest)
    try:
        plate = open_plate(url)
    except PlateError:
        # a run killed before the plate's own metadata were whole has written nothing else
        return create_plate(url, layout)
    sweep(plate, EVERYTHING)
    return plate


def _unwritten(
    plate: Plate, plan: ImportPlan, plate_format: PlateFormat, digest: str
) -> dict[WellPath, list[FieldJob]]:
    """Return the fields of the wells that have no marker of this import."""
    channels = display_channels(plan)
    jobs = dict[WellPath, list[FieldJob]]()
    for well, fields in groupby(plan.fields, key=lambda field: field.path.well):
        marker = read_marker(plate, well, STEP)
        if marker is None or marker.fingerprint != digest:
            jobs[well] = [
                FieldJob(
                    plate.storage.url,
                    field,
                    image_spec(field, plan, channels, plate_format.storage),
                )
                for field in fields
            ]
    return jobs


def _written_wells(
    jobs: dict[WellPath, list[FieldJob]], processes: int, on_field: Callable[[FieldPath], None]
) -> Iterator[tuple[WellPath, dict[str, str]]]:
    """Write the fields, and yield each well with its manifest when its last field is written."""
    missing = {well: len(own) for well, own in jobs.items()}
    manifests = {well: dict[str, str]() for well in jobs}
    for path, manifest in write_fields([job for own in jobs.values() for job in own], processes):
        on_field(path)
        manifests[path.well] |= manifest
        missing[path.well] -= 1
        if missing[path.well] == 0:
            yield path.well, manifests.pop(path.well)
