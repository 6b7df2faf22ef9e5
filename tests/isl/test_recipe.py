"""Recipes: the paper's numbers are the published ones, and what contradicts itself is refused."""

import json

import pytest
from pydantic import ValidationError

from hcs.isl.recipe import Recipe, recipe_of

HEADS = ("stain", "nuclei", "cells")


def test_the_paper_recipe_is_the_published_one():
    stain, nuclei, cells = (recipe_of("paper", head) for head in HEADS)
    for recipe in (stain, nuclei, cells):
        assert (recipe.optimiser, recipe.schedule, recipe.batch) == ("adam", "constant", 10)
        assert (recipe.crop_px, recipe.crops, recipe.crops_per_image) == (512, "once", 5)
        assert (recipe.augment, recipe.weight_decay, recipe.clip) == ("none", 0, None)
        assert (recipe.ema, recipe.patience, recipe.precision) == (None, None, "fp32")
    assert (stain.loss, nuclei.loss, cells.loss) == ("l1", "jaccard", "distance+mask")
    assert (stain.betas, nuclei.betas, cells.betas) == ((0.5, 0.999), (0.9, 0.999), (0.9, 0.999))
    assert (stain.steps, nuclei.steps, cells.steps) == (192_000, 20_000, 10_000)
    assert nuclei.min_foreground * 512**2 == pytest.approx(5000)
    assert stain.min_foreground == cells.min_foreground == 0  # one pixel is enough


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_recipe_survives_json(name, head):
    recipe = recipe_of(name, head)
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_every_setting_says_what_it_is(field):
    assert Recipe.model_fields[field].description


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ValidationError) as caught:
        recipe_of("default", "stain", rate=0.1, steps=0, crop_px=100)
    for name in ("rate", "steps", "crop_px"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("head", "loss"), [("stain", "jaccard"), ("nuclei", "l1"), ("cells", "bce+dice")]
)
def test_a_loss_for_another_head_is_refused_with_those_that_fit(head, loss):
    with pytest.raises(ValidationError, match=f"is not for {head}: take "):
        recipe_of("default", head, loss=loss)


def test_betas_outside_their_range_are_refused():
    with pytest.raises(ValidationError, match=r"must each lie in \[0, 1\)"):
        recipe_of("default", "stain", betas=(0.9, 1.0))
