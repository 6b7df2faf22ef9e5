"""Losses: known values, and pixels of weight 0 never matter, whatever is in them."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from hcs.isl.losses import bce_and_dice, distance_and_mask, jaccard, l1, loss_of, ms_ssim, mse
from tests.isl.learnt import small_recipe

LOSSES = {
    "l1": "stain",
    "mse": "stain",
    "l1+ms-dssim": "stain",
    "jaccard": "nuclei",
    "bce+dice": "nuclei",
    "distance+mask": "cells",
}
EACH_LOSS = pytest.mark.parametrize("name", LOSSES)


def loss_named(name):
    return loss_of(small_recipe(LOSSES[name], loss=name))


def drawn(name, seed=0):
    """Return a random output, target and weight map for a loss."""
    rng = torch.Generator().manual_seed(seed)
    planes = 2 if name == "distance+mask" else 1
    output = torch.randn(3, planes, 48, 48, generator=rng)
    target = torch.rand(3, planes, 48, 48, generator=rng)
    if LOSSES[name] != "stain":
        target[:, -1:] = (target[:, -1:] > 0.5).float()
    return output, target, (torch.rand(3, 1, 48, 48, generator=rng) > 0.4).float()


def value_and_gradient(name, output, target, weight):
    output = output.clone().requires_grad_()
    loss = loss_named(name)(output, target, weight)
    loss.backward()
    return loss.detach(), output.grad


@EACH_LOSS
@pytest.mark.parametrize("junk", [7.0, math.nan, math.inf])
def test_what_is_unknown_never_matters(name, junk):
    output, target, weight = drawn(name)
    spoilt = target.where(weight > 0, junk)
    strange = output.where(weight > 0, -3.0)
    loss, gradient = value_and_gradient(name, output, target, weight)
    other_loss, other_gradient = value_and_gradient(name, strange, spoilt, weight)
    assert torch.equal(loss, other_loss)
    known = (weight > 0).expand_as(gradient)
    assert torch.equal(gradient[known], other_gradient[known])
    assert not gradient[~known].any()


@EACH_LOSS
def test_equal_weights_are_no_weights(name):
    output, target, weight = drawn(name)
    with_ones, without = (
        loss_named(name)(output, target, w) for w in (torch.ones_like(weight), None)
    )
    torch.testing.assert_close(with_ones, without)


@EACH_LOSS
def test_a_batch_of_unknown_pixels_teaches_nothing(name):
    output, target, weight = drawn(name)
    _, gradient = value_and_gradient(name, output, target, torch.zeros_like(weight))
    assert torch.equal(gradient, torch.zeros_like(gradient))


@EACH_LOSS
def test_a_perfect_output_has_no_loss(name):
    _, target, _ = drawn(name)
    perfect = target.clone()
    if LOSSES[name] != "stain":
        perfect[:, -1:] = (target[:, -1:] - 0.5) * 200  # logits
    assert float(loss_named(name)(perfect, target, None)) == pytest.approx(0, abs=1e-5)


def test_means_of_differences_are_as_by_hand():
    output, target = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.0, 5.0]]]])
    assert float(l1(output, target)) == 1.5
    assert float(mse(output, target)) == 2.5
    assert float(mse(output, target, torch.tensor([[[[3.0, 1.0]]]]))) == 1.75


def test_jaccard_is_the_published_one():
    probability, target = torch.tensor([[[[0.5, 0.25]]]]), torch.tensor([[[[1.0, 0.0]]]])
    # intersection .5, sums .75 and 1, one pixel added to both
    expected = 1 - (0.5 + 1) / (0.75 + 1 - 0.5 + 1)
    assert float(jaccard(probability.logit(), target)) == pytest.approx(expected)


def test_jaccard_of_an_empty_batch_is_0_and_can_be_differentiated():
    output = torch.full((1, 1, 4, 4), -20.0, requires_grad=True)
    loss = jaccard(output, torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(output.grad).all()


def test_an_even_guess_costs_ln_2_and_its_dice():
    output, target = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    target[..., :5] = 1
    expected = math.log(2) + 1 - (2 * 25 + 1) / (50 + 50 + 1)
    assert float(bce_and_dice(output, target)) == pytest.approx(expected)


def test_the_weight_of_eq_2_is_the_published_balance():
    output, target, _ = drawn("distance+mask")
    as_published = ((255 * (output[:, 0] - target[:, 0])) ** 2).mean() + 2000 * (
        torch.nn.functional.binary_cross_entropy_with_logits(output[:, 1], target[:, 1])
    )
    ours = loss_of(small_recipe("cells"))(output, target, None)
    torch.testing.assert_close(2000 * ours, as_published)


def test_the_balance_of_eq_2_can_be_set():
    output, target, _ = drawn("distance+mask")
    one, three = (
        distance_and_mask(output, target, distance_weight=weight) for weight in (1.0, 3.0)
    )
    torch.testing.assert_close(three - one, 2 * ((output - target)[:, 0] ** 2).mean())


def test_similarity_at_one_scale_is_that_of_scikit_image():
    a, b = np.random.default_rng(0).random((2, 21, 21), np.float32)  # a second scale has no room
    b = (a + b) / 2
    expected = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    found = ms_ssim(*(torch.from_numpy(image)[None, None] for image in (a, b)))
    assert float(found) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("side", [16, 64, 192])
def test_similarity_is_1_for_equal_images_and_falls_with_noise(side):
    image = torch.rand(2, 1, side, side)
    noise = torch.randn(2, 1, side, side)
    similar = [float(ms_ssim(image, image + sd * noise)) for sd in (0, 0.05, 0.2, 1)]
    assert similar[0] == pytest.approx(1)
    assert similar == sorted(similar, reverse=True)


def test_opposite_images_have_a_gradient_still():
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    (1 - ms_ssim(image, 1 - image.detach())).backward()
    assert torch.isfinite(image.grad).all()
