"""What a large plate costs, on paper: ``python -m tests.benchmarks.paper`` prints a table.

The plate is made without a pixel, planned as `hcs plan` plans it, and its times follow from the
rates that `make bench` measured on this machine (``build/bench.json``).
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.run.plan import make_plan
from hcs.settings import Settings

N_FIELDS, N_FRAMES, SIDE_PX = 9, 100, 2160
ROWS, COLUMNS = tuple("ABCDEFGHIJKLMNOP"), tuple(f"{column:02d}" for column in range(1, 25))
MPX = len(ROWS) * len(COLUMNS) * N_FIELDS * N_FRAMES * SIDE_PX**2 / 1e6
BENCH = Path(__file__).parents[2] / "build" / "bench.json"


def write_plate(url, version, storage):
    """Write the metadata of a plate of one channel."""
    wells = tuple(WellPath(row, column) for row in ROWS for column in COLUMNS)
    plate = create_plate(url, PlateLayout(url.stem, version, ROWS, COLUMNS, wells))
    spec = ImageSpec(
        ("t", "c", "y", "x"),
        (N_FRAMES, 1, SIDE_PX, SIDE_PX),
        "uint16",
        (Channel("phase"),),
        pixel_size_um=0.65,
        interval_s=600,
        storage=storage,
    )
    for name in range(N_FIELDS):
        create_field_image(plate, FieldPath(wells[0], str(name)), spec)
    for well in wells[1:]:
        shutil.copytree(url / str(wells[0]), url / str(well))
    return url


def planned(url):
    """Return what the plan says of a plate, and how long it took."""
    begun = time.perf_counter()
    plan = make_plan(open_plate(url), Settings())
    seconds = time.perf_counter() - begun
    wells = plan.wells
    return {
        "wells to do, each one call to a worker": f"{sum(bool(well.todo) for well in wells)}",
        "pixels of one channel, uint16": f"{2 * MPX / 1e6:.2f} TB",
        "decoded by all passes": f"{sum(well.bytes_read for well in wells) / 1e12:.1f} TB",
        "label images, compressed": f"{sum(well.bytes_written for well in wells) / 1e12:.2f} TB",
        "their files": f"{sum(well.files_written for well in wells) / 1e6:.2f} million",
        "memory per worker": f"{plan.memory_per_worker / 1e9:.2f} GB",
        "planning itself": f"{seconds:.0f} s",
    }


def hours(rows):
    """Return the hours that follow from measured rates; what was not measured says so."""
    ssl, isl = rows.get("ssl_full_size", {}), rows.get("isl_tile_torch", {})
    gpu = rows.get("isl_plate_gpu", {})
    of = {
        "SSL with tables, one thread": ssl.get("s_per_mpx"),
        "densenet121, one thread of a processor": isl and isl["ours_s"] / 0.512**2,
        "densenet121, one GPU": gpu and 1 / (gpu["tiles_per_s"] * 0.512**2),
    }
    return {
        f"{name}, hours": f"{MPX * rate / 3600:,.0f} ({rate:.3g} s per Mpx)"
        if rate
        else "not measured"
        for name, rate in of.items()
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        made = {
            "0.4, chunks": write_plate(Path(folder, "chunks.zarr"), "0.4", "chunked"),
            "0.5, shards": write_plate(Path(folder, "shards.zarr"), "0.5", "sharded"),
        }
        columns = {name: planned(url) for name, url in made.items()}
    out = sys.stdout
    out.write(f"| | {' | '.join(columns)} |\n|---|---|---|\n")
    for name in columns["0.4, chunks"]:
        out.write(f"| {name} | {' | '.join(column[name] for column in columns.values())} |\n")
    measured = json.loads(BENCH.read_text()) if BENCH.exists() else {}
    for name, value in hours(measured).items():
        out.write(f"| {name} | {value} | the same |\n")


if __name__ == "__main__":
    main()
