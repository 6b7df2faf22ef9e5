"""``hcs train``: what it prints, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from hcs.cli.main import main
from hcs.run.training import example_settings, load_training
from tests.stained import make_stained_plate, training_values


def call(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    make_stained_plate(folder / "stained.zarr", frames=1)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(training_values("stained.zarr")))
    return file


def test_a_training_ends_with_scores_and_where_things_lie(training, capsys):
    output = training.parent / "tiny.safetensors"
    arguments = ("train", training, "--output", output, "--monitor", "none")
    assert call(*arguments, "--set", "recipe.steps=2") == 0
    printed = capsys.readouterr()
    assert f"{output}: step 2 was kept" in printed.out
    assert "scores: pcc 0." in printed.out or "scores: pcc -0." in printed.out
    assert f"{output}.training/index.html" in printed.out
    assert printed.err == ""
    assert call(*arguments, "--set", "recipe.steps=2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["weights"]) == ("kept", str(output))
    assert set(told["scores"]) == set(told["card"]["scores"]) == {"pcc", "ssim"}
    assert told["curve"][0]["step"] == 2
    assert call(*arguments) == 64
    assert "holds weights of another training" in capsys.readouterr().err


def test_warnings_go_to_standard_error(training, capsys):
    output = training.parent / "alone.safetensors"
    alone = ("--set", "split.validation=none", "--set", "split.test=none")
    arguments = ("train", training, "-o", output, "--monitor", "none", *alone)
    assert call(*arguments, "--set", "recipe.steps=1") == 0
    printed = capsys.readouterr()
    assert "warning: there is no validation part" in printed.err
    assert "scores: none, no image was left out" in printed.out


def test_the_explained_example_is_a_training_file(tmp_path, capsys):
    assert call("train", "--explain") == 0
    file = tmp_path / "training.yaml"
    file.write_text(capsys.readouterr().out)
    # the plate of the example is beside the file
    settings = load_training(file)
    assert settings.plates[0].plate == str(tmp_path / "screen.zarr")
    assert settings.recipe == example_settings().recipe


def test_a_file_is_explained_with_what_it_changes(training, capsys):
    assert call("train", training, "--explain", "--set", "recipe.name=paper") == 0
    explained = yaml.safe_load(capsys.readouterr().out)
    assert explained["recipe"]["optimiser"] == "adam"
    assert explained["recipe"]["steps"] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no training was named"),
        (("{file}",), "no file to write"),
        (("{file}", "-o", "w.pt"), "cannot write weights to w.pt"),
        (
            ("{file}", "-o", "w.safetensors", "--set", "recipe.magic=1"),
            "recipe.magic is no setting",
        ),
        (("missing.yaml", "-o", "w.safetensors"), "cannot read missing.yaml"),
    ],
)
def test_wrong_usage_ends_with_64_and_one_line(training, capsys, arguments, words):
    given = [argument.replace("{file}", str(training)) for argument in arguments]
    assert call("train", *given, "--monitor", "none") == 64
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("output", "more", "words"),
    [
        ("w.safetensors", ("--set", "inputs=[{channel: dic}]"), "it has no channel 'dic'"),
        ("w.safetensors", ("--set", "start_from=gone.safetensors"), "gone.safetensors"),
        ("w.pt", (), "cannot write weights to"),
        ("there.safetensors", (), "there.safetensors"),
    ],
)
def test_what_cannot_begin_is_said_before_prefect_starts(
    training, tmp_path, capsys, monkeypatch, output, more, words
):
    monkeypatch.setattr("hcs.cli.train.prepare_prefect", lambda: pytest.fail("it started"))
    (tmp_path / "there.safetensors").write_bytes(b"no weights")
    assert call("train", training, "-o", tmp_path / output, *more) in (1, 64)
    assert words in capsys.readouterr().err


def test_plates_that_lack_a_channel_end_with_1(training, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    lacking = ("--set", "inputs=[{channel: dic}]")
    assert call("train", training, "-o", output, "--monitor", "none", *lacking) == 1
    assert "it has no channel 'dic', but 'phase', 'nuclei'" in capsys.readouterr().err
