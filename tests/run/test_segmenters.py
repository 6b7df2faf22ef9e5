"""A user's own segmenter, found by its entry point: a plain threshold goes all the way."""

import importlib.metadata
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hcs.errors import FramesError, SettingsError
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.read import read_label_image
from hcs.plate.table import read_table
from hcs.run.analyse import analyse
from hcs.run.segmenters import Plugin, find_segmenter, segment
from hcs.settings import load_settings
from tests.plates import N_FRAMES, results_of

FIELD = FieldPath.parse("A/01/0")


def threshold(frames):
    from scipy import ndimage

    bright = ndimage.gaussian_filter(frames.astype(float), (0, 2, 2)) > 480
    return np.stack([ndimage.label(frame)[0] for frame in bright])


threshold.label_image = "bright_cells"


def badly_named(frames):
    return frames


badly_named.label_image = "ssl_cells"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    points = [
        EntryPoint(name, f"{__name__}:{function}", "hcs.segmenters")
        for name, function in {"threshold": "threshold", "bad": "badly_named"}.items()
    ]
    functions = {"threshold": threshold, "bad": badly_named}
    monkeypatch.setattr(EntryPoint, "load", lambda self: functions[self.name])
    monkeypatch.setattr(
        "hcs.run.segmenters.entry_points",
        lambda group: points if group == "hcs.segmenters" else importlib.metadata.EntryPoints(),
    )


def both(*overrides: str):
    methods = "methods=[ssl, threshold]"
    return load_settings(overrides=["run.dask=none", "run.workers=1", methods, *overrides])


def test_a_segmenter_writes_its_own_label_image_and_tables(tiny_plate):
    report = analyse(str(tiny_plate), both())
    assert report.exit_code == 0
    assert report.outcomes[0].steps[-2:] == ("threshold", "measure-bright_cells")
    plate = open_plate(tiny_plate)
    assert plate.label_names(FIELD) == ("ssl_cells", "bright_cells")
    frames = list(read_label_image(plate, FIELD, "bright_cells", range(N_FRAMES)))
    assert len(set(np.unique(frames)) - {0}) == 6
    objects = read_table(plate, FIELD, "bright_cells_objects")
    assert len(objects) == 6 * N_FRAMES
    assert objects["displacement_pixel"].isna().all()
    wells = plate.table("wells")
    assert wells["n_tracks-bright_cells"].tolist() == [6, 6, 0]


def test_a_second_method_leaves_the_first_alone(analysed_plate):
    before = results_of(analysed_plate)
    report = analyse(str(analysed_plate), both())
    assert {outcome.steps for outcome in report.outcomes} == {("threshold", "measure-bright_cells")}
    after = results_of(analysed_plate)
    untouched = {k: v for k, v in before.items() if "ssl_cells" in k and "/labels/" in k}
    assert untouched.items() <= after.items()


def test_a_segmenter_that_is_not_installed_is_said_with_those_that_are():
    with pytest.raises(SettingsError, match="'stardist' is not known") as caught:
        find_segmenter("stardist")
    assert "there are: ssl, isl, bad, threshold" in caught.value.hint


def test_a_segmenter_must_not_take_the_name_of_another_label_image():
    with pytest.raises(SettingsError, match="'bad' names its label image 'ssl_cells'"):
        find_segmenter("bad")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (np.zeros((2, 4, 5), np.uint8), r"returned uint8 of shape \(2, 4, 5\) for frames of"),
        (np.zeros((2, 4, 4)), r"returned float64 of shape \(2, 4, 4\) for frames of"),
        (np.full((2, 4, 4), -1), "returned label ids from -1 to -1"),
    ],
)
def test_what_is_no_label_image_is_refused(returned, words):
    plugin = Plugin("mine", "mine", "1", lambda frames: returned)
    with pytest.raises(FramesError, match=words):
        segment(plugin, np.zeros((2, 4, 4), np.uint16))
