"""The commands of docs/real-data.md, as they stand there."""

import os
import re
import shlex
from pathlib import Path

import pytest

from hcs.cli.main import main

DATA = os.environ.get("HCS_DATA")
PAGE = Path(__file__).parents[1] / "docs" / "real-data.md"
SETS = ("dic_hela", "phc_psc", "usiigaci", "fluo_gowt1", "fluo_hela", "fluo_msc")

needs_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(DATA is None, reason="HCS_DATA names no folder with the real sets"),
]


def command(kind: str, name: str) -> list[str]:
    """Return the one command of a block of the page that is about a set, without ``hcs``."""
    block = re.search(rf"<!-- {kind} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (line,) = [line for line in block[1].splitlines() if f"/{name}.zarr" in line]
    return shlex.split(line.replace("$HCS_DATA", str(DATA)))[1:]


def run(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
