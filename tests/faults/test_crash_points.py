"""Death at every change of the disk that one well causes; the next run ends with equal bytes.

``HCS_FAULTS`` says at how many places, spread over all; a hundred or more takes each of them.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.deaths import DIED, start
from tests.plates import make_plate, moving_cells, results_of

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "3"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
HERE = ("run.dask=none", "run.workers=1")


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


def test_a_run_that_dies_anywhere_is_finished_by_the_next_one(fresh, overrides, tmp_path):
    whole = Path(shutil.copytree(fresh, tmp_path / "whole" / "tiny.zarr"))
    assert start(whole, overrides, None) == 0
    undisturbed = results_of(whole)
    changes = int(whole.parent.with_suffix(".changes").read_text())
    assert changes > 50
    step = max(1, changes // N) if N < 100 else 1
    for at in range(SEED % step, changes, step):
        url = Path(shutil.copytree(fresh, tmp_path / str(at) / "tiny.zarr"))
        # threads make their changes in any order, and now and then a few less
        assert start(url, overrides, at) == DIED or at > 0.98 * changes, f"{at} of {changes}"
        assert start(url, overrides, None) == 0, f"after death at change {at}"
        assert results_of(url) == undisturbed, f"after death at change {at}"
        left = [path for path in url.parent.rglob("*") if ".partial" in path.name]
        assert not left, f"after death at change {at}"
        shutil.rmtree(url.parent)
