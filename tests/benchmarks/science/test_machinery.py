"""What the figures stand on: splits, resuming, baselines and bars."""

import numpy as np
import pytest

from tests.benchmarks.science import annotated, pairs, recipes, simulated
from tests.benchmarks.science.bars import Bar
from tests.benchmarks.science.filters import FEATURES_PER_PLANE, Baseline, bank
from tests.benchmarks.science.real import columns
from tests.benchmarks.science.results import Arm, done, measure
from tests.benchmarks.science.setting import SETTINGS

calls = []


def count(asked, folder):
    calls.append(asked)
    return {"score": asked["n"]}


def test_an_arm_is_measured_once_and_again_only_when_it_is_asked_otherwise(tmp_path):
    calls.clear()
    first, other = (Arm("one", {"n": n}, count) for n in (1, 2))
    assert done(first, tmp_path) is None
    assert measure(first, tmp_path)["score"] == measure(first, tmp_path)["score"] == 1
    assert len(calls) == 1
    assert done(other, tmp_path) is None
    assert measure(other, tmp_path)["score"] == 2
    assert len(calls) == 2


@pytest.mark.parametrize("width", [320, 336, 704])
@pytest.mark.parametrize("side", ["left", "right"])
def test_no_column_both_trains_and_tests_and_a_gap_lies_between(width, side):
    train, test = (range(width)[part] for part in columns(width, side))
    gap = max(test[0] - train[-1], train[0] - test[-1]) - 1
    assert gap >= 0.04 * width
    assert len(train) > 2 * len(test)


def test_a_bar_without_a_figure_is_missed():
    assert Bar("as high", 0.5, 0.5).met
    assert not Bar("not measured", 0.0, float("nan")).met


def test_the_bank_has_its_features_for_every_plane():
    planes = np.random.default_rng(0).standard_normal((2, 40, 50)).astype(np.float32)
    assert bank(planes).shape == (2 * FEATURES_PER_PLANE, 40, 50)
    assert np.isfinite(bank(planes)).all()


def test_ridge_finds_a_target_that_is_a_blurred_image():
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((2, 1, 64, 64)).astype(np.float32)
    model = Baseline("ridge").fit([train], [bank(train)[1:2]])
    assert np.corrcoef(model.predict(test).ravel(), bank(test)[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", SETTINGS)
def test_arms_have_names_of_their_own_and_need_arms_that_are_there(name):
    setting = SETTINGS[name]
    arms = [part for room in (simulated, annotated, recipes, pairs) for part in room.arms(setting)]
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names)
    assert {arm.needs for arm in arms} - {None} <= set(names)


def test_both_starts_get_the_same_steps_images_and_crops():
    cpu = SETTINGS["cpu"]
    asked = {arm.name: arm.asked for arm in annotated.arms(cpu)}
    for name, scratch in asked.items():
        if scratch["start"] == "scratch":
            pretrained = asked[name.replace("scratch", "pretrained")]
            differ = {k for k in pretrained if pretrained[k] != scratch.get(k)}
            assert differ == {"start", "stain"}
