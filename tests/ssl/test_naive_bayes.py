"""Gaussian Naive Bayes in closed form against scikit-learn's."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from sklearn.naive_bayes import GaussianNB

from hcs.ssl.grey import GreyRange
from hcs.ssl.naive_bayes import (
    MIN_VARIANCE,
    Model,
    expectation_maximisation,
    fit,
    log_odds,
    pool_models,
    posterior,
    within_reach,
)
from hcs.ssl.segment import SslSettings, grey_range, histogram, pair_images, pair_statistics
from tests.drawn import crawling_cells

SETTINGS = SslSettings()
REAL = {
    "ctc_dic_c2dh_hela": "01",
    "ctc_phc_c2dl_psc": "01_t090-125",
    "ctc_fluo_c2dl_msc": "01_t019-038",
    "ctc_fluo_n2dl_hela": "01_t044-062",
    "usiigaci_t98g_phase": "timelapse_t01-12",
}


def reference(model: Model) -> GaussianNB:
    """scikit-learn's classifier with the parameters of a model."""
    classifier = GaussianNB(priors=[1 - model.prior, model.prior])
    classifier.classes_ = np.array([False, True])
    classifier.class_prior_ = np.array([1 - model.prior, model.prior])
    classifier.theta_ = np.array([model.background_mean, model.cell_mean])
    classifier.var_ = np.array([model.background_variance, model.cell_variance])
    return classifier


def assert_same_labels(features, model):
    odds = log_odds(features, model)
    theirs = reference(model).predict(features.reshape(len(features), -1).T.astype(np.float64))
    differ = (odds > 0) != theirs.reshape(odds.shape)
    assert np.abs(odds[differ]).max(initial=0) < 1e-4
    return odds


def two_classes(seed=0, shape=(60, 70)):
    rng = np.random.default_rng(seed)
    cell = rng.random(shape) < 0.3
    features = rng.normal(0, 1, (3, *shape)) + cell * np.array([2, 1, 0.5])[:, None, None]
    return features.astype(np.float32), cell


def test_the_fit_is_that_of_scikit_learn():
    features, cell = two_classes()
    labelled = np.random.default_rng(1).random(cell.shape) < 0.5
    model = fit(features, cell & labelled, ~cell & labelled, prior=0.5)
    rows = features[:, labelled].T.astype(np.float64)
    theirs = GaussianNB(var_smoothing=0).fit(rows, cell[labelled])
    assert np.allclose([model.background_mean, model.cell_mean], theirs.theta_, atol=1e-9)
    assert np.allclose([model.background_variance, model.cell_variance], theirs.var_, atol=1e-9)


def test_labels_and_posterior_are_those_of_scikit_learn():
    features, cell = two_classes()
    model = fit(features, cell, ~cell, prior=0.2)
    odds = assert_same_labels(features, model)
    rows = features.reshape(3, -1).T.astype(np.float64)
    theirs = reference(model).predict_proba(rows)[:, 1].reshape(cell.shape)
    assert np.abs(posterior(odds) - theirs).max() < 1e-6


def test_labels_on_drawn_frames_are_those_of_scikit_learn():
    frames = crawling_cells(0).frames
    grey = GreyRange(0, 255)
    images = pair_images(frames[1], frames[0], grey, SETTINGS)
    model = pair_statistics(frames[1], frames[0], grey, SETTINGS, images).model
    assert_same_labels(images.features, model)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_labels_on_real_frames_are_those_of_scikit_learn(name):
    folder = os.environ.get("HCS_DATA")
    if folder is None:
        pytest.skip("HCS_DATA names no folder of real data")
    paths = sorted((Path(folder) / name / REAL[name] / "images").iterdir())[:2]
    frames = [tifffile.imread(path) for path in paths]
    grey = grey_range(histogram(frames[0]) + histogram(frames[1]), frames[0].dtype, SETTINGS)
    images = pair_images(frames[1], frames[0], grey, SETTINGS)
    model = pair_statistics(frames[1], frames[0], grey, SETTINGS, images).model
    for scored in (images.features, within_reach(images.features, model)):
        assert_same_labels(scored, model)


def test_a_constant_feature_has_the_smallest_variance():
    features = np.ones((1, 4, 4), np.float32)
    cell = np.eye(4, dtype=bool)
    assert fit(features, cell, ~cell, 0.5).cell_variance == (MIN_VARIANCE,)


def test_em_moves_the_model_towards_the_classes():
    features, cell = two_classes(shape=(300, 300))
    start = Model((1.0, 1.0, 1.0), (1.0,) * 3, (0.0,) * 3, (1.0,) * 3, 0.5)
    end = expectation_maximisation(features, start, rounds=10)
    truth = fit(features, cell, ~cell, 0.3)
    assert abs(end.cell_mean[0] - truth.cell_mean[0]) < abs(start.cell_mean[0] - 2) / 2
    assert abs(end.prior - 0.3) < 0.1


def test_em_keeps_a_model_whose_class_dies_out():
    features = np.zeros((1, 30, 30), np.float32)
    model = Model((50.0,), (1.0,), (0.0,), (1.0,), 0.5)
    assert expectation_maximisation(features, model, rounds=3) == model


def test_a_pool_of_equal_models_is_that_model():
    features, cell = two_classes()
    model = fit(features, cell, ~cell, 0.5)
    pooled = pool_models([model, model, model])
    assert np.allclose(pooled.cell_mean, model.cell_mean)
    assert np.allclose(pooled.background_variance, model.background_variance)


def test_flat_pixels_are_background_however_wide_the_cell_class():
    model = Model((4.0,), (9.0,), (2.0,), (0.5,), 0.5)
    flat = np.zeros((1, 3, 3), np.float32)
    assert (log_odds(flat, model) > 0).all()
    assert (log_odds(within_reach(flat, model), model) < 0).all()
