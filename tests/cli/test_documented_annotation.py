"""The commands of docs/annotate.md, run as they stand there, in their order."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from hcs.cli.main import main
from hcs.plate.create import create_label_image
from hcs.plate.metadata import Channel
from hcs.plate.open import open_plate
from hcs.plate.read import read_frames, read_label_image
from hcs.plate.sister import create_product, make_sister
from hcs.plate.write import write_label_frames, write_product_frames

PAGE = (Path(__file__).parents[2] / "docs" / "annotate.md").read_text()


def block(kind):
    lines = re.search(rf"<!-- {kind} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
    return [shlex.split(line)[1:] for line in lines]


def run_all(kind):
    for arguments in block(kind):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0, arguments


def fields(plate):
    return [field for well in plate.layout.wells for field in plate.well(well).fields]


@pytest.fixture(scope="module")
def _screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_all("plate")
    return folder


@pytest.fixture
def plate(_screen, tmp_path, monkeypatch):
    """The simulated plate in a folder of one's own, which is the working directory."""
    monkeypatch.chdir(shutil.copytree(_screen, tmp_path / "work"))
    return open_plate("screen.zarr")


def test_frames_are_annotated_and_the_folder_is_a_truth(plate, capsys):
    truth = open_plate("screen_truth.zarr")
    for field in fields(plate):
        frames = list(read_label_image(truth, field, "nuclei", range(2)))
        create_label_image(plate, field, "isl_nuclei", {})
        write_label_frames(plate, field, "isl_nuclei", 0, np.stack(frames))
    run_all("annotate")
    assert capsys.readouterr().out.count("as proposed") == 3
    run_all("labels")
    assert "screen_truth" in capsys.readouterr().err


def test_predicted_stains_are_scored(plate):
    sister = make_sister(plate, "isl-dapi")
    for field in fields(plate):
        create_product(plate, sister, field, (Channel("nuclei_prediction"),), {})
        frames = np.stack(list(read_frames(plate, field, "nuclei", range(2))))
        noise = np.random.default_rng(0).normal(0, 500, frames.shape)
        write_product_frames(sister, field, 0, (frames + noise)[:, None, None].astype(np.float32))
    run_all("stains")
    assert Path("dapi.csv").is_file()
