"""Plates on S3: the commands that look after a plate, and input and results on two sides."""

import json
import os
import shutil
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
from tests.plates import make_plate, moving_cells, results_of

s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
HERE = ("--monitor", "none", "--dask", "none", "--workers", "1")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2, 64), "A/02": moving_cells(1, 2, 64)})
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

    Storage.open(url).delete("A/02/0/labels/ssl_cells/0/0/0/0/0")
    Storage.open(url).write("A/01/0/tables/ssl_cells_objects/table.parquet", b"PAR1")
    assert call("verify", url, "--json") == 1
    damages = json.loads(capsys.readouterr().out)["damages"]
    assert {damage["well"] for damage in damages} == {"A/01", "A/02"}
    assert call("verify", url, "--repair") == 1
    assert call("run", url, *HERE) == 0
    assert results_of(fetch(url, tmp_path / "repaired")) == results_of(analysed)

    assert call("prune", url, "--step", "ssl", "--step", "measure-ssl_cells", "--dry-run") == 0
    assert results_of(fetch(url, tmp_path / "dry")) == results_of(analysed)
    assert call("prune", url, "--step", "ssl", "--step", "measure-ssl_cells") == 0
    assert open_plate(url).label_names(next(iter(fields(url)))) == ()
    assert call("verify", url) == 0
    assert call("run", url, *HERE) == 0
    assert results_of(fetch(url, tmp_path / "again")) == results_of(analysed)


def fields(url: str) -> Iterator:
    plate = open_plate(url)
    for well in plate.layout.wells:
        yield from plate.well(well).fields


PIXELS = {"linked": (), "with pixels": ("--with-pixels",)}


@pytest.mark.parametrize("kind", [*PIXELS][: None if N > 2 else 1])
def test_input_and_results_on_different_sides(fresh, analysed, remote, kind, tmp_path, s3_bucket):
    pixels = PIXELS[kind]
    expected = ours(results_of(analysed))
    # the input here, results there
    there = f"{s3_bucket}/{uuid.uuid4().hex}/tiny.zarr"
    assert call("run", fresh, "--output", there, *pixels, *HERE) == 0
    assert ours(results_of(fetch(there, tmp_path / "there"))) == expected
    assert verify_plate(open_plate(there), open_plate(there).layout.wells).damages == ()
    # the input there, results here
    here = tmp_path / "here" / "tiny.zarr"
    assert call("run", remote(fresh), "--output", here, *pixels, *HERE) == 0
    assert ours(results_of(here)) == expected
    assert verify_plate(open_plate(here), open_plate(here).layout.wells).damages == ()


def ours(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return label images and tables of wells and plate, without what names the plate."""
    return {k: v for k, v in files.items() if "/labels/" in k or "tables/" in k}
