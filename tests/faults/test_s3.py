"""Plates on S3: every command, and whole runs through a network that fails now and then.

``HCS_FAULTS`` says how many runs, and ``HCS_FAULTS_SEED`` what happens to them.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hcs.cli.main import main
from hcs.plate.open import open_plate
from hcs.plate.storage import Storage
from hcs.run.analyse import analyse
from hcs.run.verify import verify_plate
from hcs.settings import load_settings
from tests.flaky import FlakyProxy, evenly
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import HCS

s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
WELLS = ("A/01", "A/02")[: 2 if N > 2 else 1]
long = pytest.mark.skipif(N < 3, reason="long; HCS_FAULTS=3 or more")
HERE = ("--monitor", "none", "--dask", "none", "--workers", "1")
# the tests' own patience, as an operator changes it
IMPATIENT = json.dumps({"config_kwargs": {"read_timeout": 2, "connect_timeout": 2}})


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    make_plate(url, {well: moving_cells(seed, 2, 64) for seed, well in enumerate(WELLS)})
    return url


@pytest.fixture(scope="module")
def analysed(fresh, tmp_path_factory) -> Path:
    url = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("analysed") / "tiny.zarr"))
    settings = load_settings(overrides=["run.dask=none", "run.workers=1"])
    assert analyse(str(url), settings).exit_code == 0
    return url


@pytest.fixture
def remote(s3_bucket) -> Callable[[Path], str]:
    """Return a function that copies a plate, and what lies beside it, to a place of its own."""
    files = s3fs.S3FileSystem(use_listings_cache=False)

    def put(url: Path) -> str:
        folder = f"{s3_bucket}/{uuid.uuid4().hex}"
        for there in (url, url.with_suffix(".hcs")):
            if there.exists():
                files.put(str(there), f"{folder}/{there.name}", recursive=True)
        return f"{folder}/{url.name}"

    return put


def fetch(url: str, folder: Path) -> Path:
    """Copy a plate on S3, and what lies beside it, into a folder."""
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.get(url.rpartition("/")[0] + "/", str(folder), recursive=True)
    return folder / url.rpartition("/")[2]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


# every command


def test_every_command_that_looks_after_a_plate_works_on_s3(analysed, remote, capsys, tmp_path):
    url = remote(analysed)
    assert call("status", url, "--json") == 0
    assert {well["state"] for well in json.loads(capsys.readouterr().out)["wells"]} == {"done"}
    assert call("verify", url) == 0
    capsys.readouterr()

    Storage.open(url).delete(f"{WELLS[-1]}/0/labels/ssl_cells/0/0/0/0/0")
    Storage.open(url).write("A/01/0/tables/ssl_cells_objects/table.parquet", b"PAR1")
    assert call("verify", url, "--json") == 1
    damages = json.loads(capsys.readouterr().out)["damages"]
    assert {damage["well"] for damage in damages} == set(WELLS)
    assert call("verify", url, "--repair") == 1
    assert call("run", url, *HERE) == 0
    assert results_of(fetch(url, tmp_path / "repaired")) == results_of(analysed)

    assert call("prune", url, "--step", "ssl", "--step", "measure-ssl_cells", "--dry-run") == 0
    assert results_of(fetch(url, tmp_path / "dry")) == results_of(analysed)
    assert call("prune", url, "--step", "ssl", "--step", "measure-ssl_cells") == 0
    assert open_plate(url).label_names(next(iter(fields(url)))) == ()
    assert call("verify", url) == 0


def fields(url: str) -> Iterator:
    plate = open_plate(url)
    for well in plate.layout.wells:
        yield from plate.well(well).fields


PIXELS = [(), ("--with-pixels",)]


@pytest.mark.parametrize("pixels", PIXELS if N > 2 else PIXELS[:1])
def test_results_there_of_an_input_here(fresh, analysed, pixels, tmp_path, s3_bucket):
    there = f"{s3_bucket}/{uuid.uuid4().hex}/tiny.zarr"
    assert call("run", fresh, "--output", there, *pixels, *HERE) == 0
    assert ours(results_of(fetch(there, tmp_path))) == ours(results_of(analysed))
    assert verify_plate(open_plate(there), open_plate(there).layout.wells).damages == ()


@long
@pytest.mark.parametrize("pixels", PIXELS)
def test_results_here_of_an_input_there(fresh, analysed, remote, pixels, tmp_path):
    here = tmp_path / "here" / "tiny.zarr"
    assert call("run", remote(fresh), "--output", here, *pixels, *HERE) == 0
    assert ours(results_of(here)) == ours(results_of(analysed))
    assert verify_plate(open_plate(here), open_plate(here).layout.wells).damages == ()


def ours(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return label images and tables of wells and plate, without what names the plate."""
    return {k: v for k, v in files.items() if "/labels/" in k or "tables/" in k}


# a network that fails


@pytest.fixture
def flaky(s3_bucket) -> Iterator[FlakyProxy]:
    with FlakyProxy(os.environ["AWS_ENDPOINT_URL"]).serving() as proxy:
        yield proxy


def run(url: str, proxy: FlakyProxy, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run as an operator does, by way of the proxy."""
    own = {"AWS_ENDPOINT_URL": proxy.url, "FSSPEC_S3": IMPATIENT, "AWS_MAX_ATTEMPTS": "4"}
    command = [HCS, "run", url, "--monitor", "none", *flags]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True)


# in one process where there is little time
CREWS = [("--dask", "none", "--workers", "1"), ("--workers", "2"), ("--workers", "1")]


@pytest.mark.parametrize("number", range(N if N > 2 else 1))
def test_a_run_over_a_network_that_fails_now_and_then_ends_with_the_same_bytes(
    fresh, analysed, remote, flaky, tmp_path, number
):
    url = remote(fresh)
    flaky.seed(SEED + number)
    flaky.odds = evenly(0.02 * (1 + number % 3))
    ended = run(url, flaky, *CREWS[number % len(CREWS)])
    flaky.odds = {}
    assert ended.returncode == 0, (ended.stderr, flaky.seen)
    assert results_of(fetch(url, tmp_path)) == results_of(analysed)
    assert verify_plate(open_plate(url), open_plate(url).layout.wells).damages == ()
    # that something happened
    assert flaky.spoilt > 5, flaky.seen


# which requests, what happens to all of them, and what is said of it
LASTING = [
    ("", "slow down", "reduce"),
    ("GET", "stall", "imeout"),
    ("PUT", "reset", "Could not connect"),
    ("A/02/0/0/0/0/0/0/0", "cut", "A/02"),
    ("A/02/0/0/0/0/0/0/0", "short", "A/02"),
    ("tables", "error", "internal error"),
]


@long
@pytest.mark.parametrize("trouble", LASTING, ids=" ".join)
def test_trouble_that_stays_is_told_and_the_next_run_goes_on(
    fresh, analysed, remote, flaky, tmp_path, trouble
):
    url = remote(fresh)
    flaky.only, fault, words = trouble
    flaky.odds = {fault: 1.0}
    ended = run(url, flaky, *CREWS[0])
    assert ended.returncode in (1, 2), ended.stderr
    assert words in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    # what lies in the plate, or beside it
    assert url.rpartition("/")[0] in ended.stderr or "A/02" in ended.stderr, ended.stderr
    flaky.odds = {}
    assert run(url, flaky, *CREWS[0]).returncode == 0
    assert results_of(fetch(url, tmp_path / "end")) == results_of(analysed)


@long
def test_a_bucket_that_may_not_be_written_to_is_told_with_what_to_do(fresh, remote, flaky):
    url = remote(fresh)
    flaky.only, flaky.odds = "PUT", {"no access": 1.0}
    ended = run(url, flaky, *CREWS[0])
    assert ended.returncode == 1
    assert "it is read-only (Access Denied)" in ended.stderr, ended.stderr
    assert "hcs run --output PLATE" in ended.stderr


_TALKS = """
import sys
from hcs.errors import HcsError
from hcs.plate.storage import Storage
storage = Storage.open(sys.argv[1])
acts = {
    "create": lambda: storage.create("new", b"mine"),
    "again": lambda: storage.create("new", b"mine"),
    "mark": lambda: storage.write("marker", b"mine", last_check=lambda: print("checked")),
}
for act in sys.argv[2:]:
    try: print(acts[act]())
    except HcsError as error: print(type(error).__name__, error)
"""


def talk(url: str, proxy: FlakyProxy, *acts: str) -> list[str]:
    own = {"AWS_ENDPOINT_URL": proxy.url, "FSSPEC_S3": IMPATIENT, "AWS_MAX_ATTEMPTS": "2"}
    command = [sys.executable, "-c", _TALKS, url, *acts]
    ended = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_what_was_made_is_ours_where_the_answer_was_lost(s3_bucket, flaky):
    url = f"{s3_bucket}/{uuid.uuid4().hex}/tiny.zarr"
    # the first answer to a request that writes, and no other
    flaky.only, flaky.odds, flaky.most = "PUT", {"lost": 1.0}, 1
    assert talk(url, flaky, "create", "again") == ["True", "False"]
    assert flaky.seen["lost"] == 1
    assert Storage.open(url).read("new") == b"mine"


def test_a_marker_is_written_where_the_answer_was_lost(s3_bucket, flaky):
    url = f"{s3_bucket}/{uuid.uuid4().hex}/tiny.zarr"
    flaky.only, flaky.odds, flaky.most = "PUT", {"lost": 1.0}, 1
    # asked again, the server finds it there
    assert talk(url, flaky, "mark") == ["checked", "None"]
    assert flaky.seen["lost"] == 1
    assert Storage.open(url).read("marker") == b"mine"


def test_a_marker_costs_one_request(s3_bucket, flaky):
    url = f"{s3_bucket}/{uuid.uuid4().hex}/tiny.zarr"
    assert talk(url, flaky, "mark") == ["checked", "None"]
    assert flaky.seen["requests"] == 1
