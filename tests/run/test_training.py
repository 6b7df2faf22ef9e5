"""Settings of a training: read from a file, checked as a whole, explained."""

import pytest
import yaml

from hcs.errors import SettingsError
from hcs.run.training import TrainingSettings, check_training, example_settings, load_training
from hcs.settings import explain


def values(**changes) -> dict:
    return {
        "name": "stain",
        "inputs": [{"channel": "phase"}],
        "target": {"stains": ["nuclei"]},
        "plates": [{"plate": "a.zarr"}],
    } | changes


def test_what_is_explained_reads_back_and_every_setting_has_its_meaning():
    text = explain(example_settings())
    assert check_training(yaml.safe_load(text)) == example_settings()
    lines = [line for line in text.splitlines() if line.strip() != "-"]
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if not line.strip().startswith("#") and not before.strip().startswith("#")
    ]
    assert bare == []


def test_a_recipe_is_completed_by_its_name_and_head_and_changed_by_what_is_given():
    nuclei = check_training(
        values(head="nuclei", target={"labels": "nuclei"}, recipe={"name": "paper", "batch": 3})
    )
    assert (nuclei.recipe.loss, nuclei.recipe.batch, nuclei.recipe.crop_px) == ("jaccard", 3, 512)
    assert check_training(values()).recipe.name == "default"


def test_plain_values_of_settings_give_the_same_settings_again():
    settings = check_training(values(recipe={"steps": 12}))
    assert TrainingSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_paths_are_relative_to_the_file_and_overrides_win(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "stain.yaml"
    plates = [{"plate": "../one.zarr"}, {"plate": "s3://b/two.zarr", "label_plate": "t.zarr"}]
    target = {"masks": "drawn"}
    file.write_text(yaml.safe_dump(values(plates=plates, target=target, head="cells")))
    settings = load_training(file, ["start_from=w/s.safetensors", "recipe.steps=9"])
    folder = str(tmp_path / "a")
    assert [source.plate for source in settings.plates] == [
        f"{folder}/../one.zarr",
        "s3://b/two.zarr",
    ]
    assert settings.plates[1].label_plate == f"{folder}/t.zarr"
    assert settings.target.masks == f"{folder}/drawn"
    assert settings.start_from == f"{folder}/w/s.safetensors"
    assert settings.recipe.steps == 9


def test_all_problems_come_in_one_message():
    wrong = values(
        name="A stain",
        plates=[{"plate": "x", "wells": ["B3"]}],
        recipe={"steps": 0, "magic": 1},
        split={"validation": 2},
    )
    with pytest.raises(SettingsError) as caught:
        check_training(wrong, where="my.yaml")
    message = caught.value.message
    for words in (
        "my.yaml: name: string should match",
        "well path 'B3' is not row/column",
        "recipe.steps: input should be greater than or equal to 1, not 0",
        "recipe.magic is no setting",
        "split.validation: 2 is no share between 0 and 1: write a share like 0.2",
    ):
        assert words in message
    assert "Value error" not in message
    assert "plates: " not in message


_COLUMNS = {"train": [0, 10], "test": [20, 30]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {}}, "one of stains, labels and masks is wanted"),
        ({"target": {"labels": "a", "masks": "b"}}, "is wanted, not labels and masks"),
        ({"target": {"stains": ["a", "a"]}}, "stains lists a twice"),
        ({"target": {"labels": "a"}}, "head stain learns target.stains, and there are none"),
        ({"head": "cells"}, "head cells learns target.labels or target.masks, not stains"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": [{"channel": "p"}] * 2}, r"inputs lists \('p', 0\) twice"),
        ({"plates": [{"plate": "x"}] * 2}, "plates lists x twice"),
        ({"recipe": {"name": "magic"}}, "recipe.name: input should be 'default' or 'paper'"),
        ({"recipe": 3}, "recipe: input should be a valid dictionary"),
        ({"head": "magic"}, "head: input should be 'stain', 'nuclei' or 'cells'"),
        ({"architecture": {"depth": 3}}, "architecture: depth 3 needs 3 decoder_channels"),
        ({"start_from": "a", "encoder_weights": "b"}, "start_from brings its own encoder"),
        ({"start_from": "s3://b/w.safetensors"}, "weights are local files: copy s3://b/w.safe"),
        ({"encoder_weights": "s3://b/e"}, "encoder_weights: weights are local files: copy s3"),
        ({"split": {"validation": "some"}}, "'some' is no part"),
        ({"split": {"train": ["A/1"], "test": ["A/1"]}}, "A/1 is in train and in test"),
        ({"split": {"train": ["A/1/0"]}}, "'A/1/0' is not row/column"),
        ({"split": {"by": "columns", "test": ["A/1"]}}, "test cannot be listed"),
        ({"split": {"by": "columns"}}, "split.by columns, but a.zarr has none"),
        (
            {"plates": [{"plate": "x", "columns": _COLUMNS}]},
            "x has columns, but split.by is well",
        ),
        (
            {"plates": [{"plate": "x", "columns": {"train": [0, 10], "test": [9, 20]}}]},
            "train and test overlap at column 9",
        ),
        (
            {"plates": [{"plate": "x", "columns": {"train": [0, 10], "test": [10, 20]}}]},
            "train and test touch at column 10: leave a gap",
        ),
        ({"plates": [{"plate": "x", "columns": {"train": [9, 3]}}]}, r"train \[9, 3\] is empty"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        check_training(values(**changes))
