"""The import of README.md, run as it stands there: commands after it name fields that it made."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs.cli.main import main
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath

PAGE = (Path(__file__).parents[2] / "README.md").read_text()
COMMAND = re.search(r"^hcs import .*", PAGE, re.MULTILINE)[0]
FILE, CHANNEL, FIELD = re.search(
    r"`(\S+\.tif)` becomes frame 0, channel `(\w+)`, of field `([^`]+)`", PAGE
).groups()


@pytest.fixture
def plate(tmp_path, monkeypatch):
    """The plate of a file named as in README.md for each well that it names."""
    monkeypatch.chdir(tmp_path)
    Path("exported").mkdir()
    for row, column in set(re.findall(r"\b([A-P])/(\d\d)\b", PAGE)):
        name = re.sub(r"^[A-P]\d\d", f"{row}{column}", FILE)
        tifffile.imwrite(Path("exported", name), np.zeros((16, 16), np.uint16))
    with pytest.raises(SystemExit) as left:
        main(shlex.split(COMMAND)[1:])
    assert left.value.code == 0
    return open_plate("screen.zarr")


def test_a_file_becomes_what_the_page_says(plate):
    image = plate.field_image(FieldPath.parse(FIELD))
    assert image.n_frames == 1
    assert [channel.label for channel in image.channels] == [CHANNEL]


def test_fields_that_the_page_names_are_in_the_plate(plate):
    named = set(re.findall(r"\b[A-P]/\d\d/\w+\b", PAGE))
    made = {str(field) for well in plate.layout.wells for field in plate.well(well).fields}
    assert FIELD in named
    assert named <= made
