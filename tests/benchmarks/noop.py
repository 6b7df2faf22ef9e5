"""Wells whose steps do nothing but leave their markers: what is left is the cost of running them.

All else is real: the plan, the lock, the call to a worker, its starts on record, an empty label
image, a marker for each step that is verified and flushed, the tables of the plate.
``python -m tests.benchmarks.noop run PLATE ...`` is ``hcs run`` with such wells.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from math import ceil, sqrt
from pathlib import Path
from unittest.mock import patch

from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_empty_label_image
from hcs.run import well
from hcs.run.frames import frames_to_json, summarise_frames
from hcs.run.well import WellJob, analyse_well
from hcs.tables.schema import OBJECTS

_SIDE_PX = 16


def write_plate(url: Path, n_wells: int) -> str:
    """Write a plate of many wells, one frame of few pixels each, of which none is written."""
    names = tuple(f"{number:03d}" for number in range(ceil(sqrt(n_wells))))
    wells = tuple(WellPath.parse("/".join(p)) for p in islice(product(names, names), n_wells))
    rows = tuple(dict.fromkeys(path.row for path in wells))
    plate = create_plate(url, PlateLayout(url.stem, "0.4", rows, names, wells))
    shape = (1, 1, _SIDE_PX, _SIDE_PX)
    spec = ImageSpec(("t", "c", "y", "x"), shape, "uint16", (Channel("phase"),))
    create_field_image(plate, FieldPath(wells[0], "0"), spec)
    for path in wells[1:]:
        shutil.copytree(url / str(wells[0]), url / str(path))
    return str(url)


def noop_well(job: WellJob) -> well.WellOutcome:
    """Do the steps of a well that are not done yet: nothing, but as a well is done."""
    steps = {"statistics": _no_statistics, "ssl": _no_objects, "measure": _no_tables}
    with patch.dict(well._STEPS, steps):
        return analyse_well(job)


@contextmanager
def noop_wells() -> Iterator[None]:
    """Have runs of this process send out wells that do nothing."""
    with patch("hcs.run.visits.analyse_well", noop_well):
        yield


def _no_statistics(work: well._Work) -> well._Result:
    return well._Result(record={"fields": {}, "needs_pool": False})


def _no_objects(work: well._Work) -> well._Result:
    for image in work.fields:
        write_empty_label_image(work.plate, image.path, work.status.step.label_image, "no-op")
    return well._Result()


def _no_tables(work: well._Work) -> well._Result:
    nothing = {
        image.path.name: frames_to_json(summarise_frames(OBJECTS.empty(), image, work.before))
        for image in work.fields
    }
    return well._Result(record={"frames": nothing})


if __name__ == "__main__":
    from hcs.cli.main import main

    # workers find the function by the name of its module, not as part of `__main__`
    from tests.benchmarks import noop

    with noop.noop_wells():
        sys.exit(main())
