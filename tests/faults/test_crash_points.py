"""Death at every change of the disk that one well causes; the next run ends with equal bytes.

Python tells of each opening for writing, renaming, linking, making and removing before it happens.
To die there is to die before that change and after the one before it. ``HCS_FAULTS`` says at how
many places, spread over all; as many as there are, or more, takes each of them.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest

from hcs.run.analyse import analyse
from hcs.settings import load_settings
from tests.plates import make_plate, moving_cells, results_of

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "3"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
WITHIN_S = 300
HERE = ("run.dask=none", "run.workers=1")
CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")
DIED = 77
# what a run imports late, once for all of them
LOADED = ("hcs.isl.predict", "hcs.run.networks", "hcs.run.well", "laptrack", "ngio", "zarr")


class Deaths:
    """Counts the changes below a folder, and dies before one of them."""

    def __init__(self, folder: str, at: int | None) -> None:
        self.count = 0
        self._folder, self._at = folder, at

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._is_change(event, arguments):
            return
        if self.count == self._at:
            os._exit(DIED)
        self.count += 1

    def _is_change(self, event: str, arguments: tuple[object, ...]) -> bool:
        if event != "open" and event not in CHANGES:
            return False
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
        return str(arguments[0]).startswith(self._folder)


def run(url: Path, overrides: Sequence[str], at: int | None) -> None:
    """Analyse a plate in this process, which dies at a change; else print how many there were."""
    deaths = Deaths(str(url.parent), at)
    sys.addaudithook(deaths)
    code = analyse(str(url), load_settings(overrides=overrides)).exit_code
    changes = str(deaths.count)
    url.parent.with_suffix(".changes").write_text(changes)
    sys.exit(code)


@pytest.fixture(scope="module", params=["ssl", "isl"])
def overrides(request) -> list[str]:
    if request.param == "ssl":
        return [*HERE, "methods=[ssl]"]
    weights = request.getfixturevalue("weights")
    files = ", ".join(str(weights[head]) for head in ("stain", "nuclei"))
    return [*HERE, "methods=[isl]", f"isl.weights=[{files}]"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2)})
    return url


def start(url: Path, overrides: Sequence[str], at: int | None) -> int:
    """Run in a process that has all it needs, but shares nothing with this one."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *LOADED])
    process = context.Process(target=run, args=(url, overrides, at))
    process.start()
    process.join(WITHIN_S)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def test_a_run_that_dies_anywhere_is_finished_by_the_next_one(fresh, overrides, tmp_path):
    whole = Path(shutil.copytree(fresh, tmp_path / "whole" / "tiny.zarr"))
    assert start(whole, overrides, None) == 0
    undisturbed = results_of(whole)
    changes = int(whole.parent.with_suffix(".changes").read_text())
    assert changes > 50
    step = max(1, changes // N)
    for at in range(SEED % step, changes, step):
        url = Path(shutil.copytree(fresh, tmp_path / str(at) / "tiny.zarr"))
        # threads make their changes in any order, and now and then a few less
        assert start(url, overrides, at) == DIED or at > 0.98 * changes, f"{at} of {changes}"
        assert start(url, overrides, None) == 0, f"after death at change {at}"
        assert results_of(url) == undisturbed, f"after death at change {at}"
        left = [path for path in url.parent.rglob("*") if ".partial" in path.name]
        assert not left, f"after death at change {at}"
        shutil.rmtree(url.parent)
