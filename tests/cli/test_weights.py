import json
import subprocess
import sys

import pytest
import torch

from hcs.cli.main import main
from hcs.isl.header import weights_digest
from hcs.isl.network import build_network
from hcs.isl.weights import save_weights
from tests.isl.tiny import tiny, tiny_card


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "dapi.safetensors"
    with torch.random.fork_rng():
        network = build_network("stain", 2, 1, tiny())
    save_weights(path, network, tiny_card(licence="mine\x1b[2J"))
    return path


def test_a_card_is_printed_for_people(file, capsys):
    assert run("weights", "show", file) == 0
    shown = capsys.readouterr().out
    for words in (
        "dapi.safetensors\n",
        "name          dapi (its step is isl-dapi)",
        "gives         stain: a stain plate beside the plate",
        "network       resnet18, depth 3, decoder 16 8 8, last layers linear",
        "pixel size    0.65 um",
        "trained on    3 frames, 150 steps, seed 7",
        "phase    1",
        "DAPI   120.000  850.000",
        "pcc    0.910",
        "betas   [0.9, 0.999]",
        "licence       mine?[2J",
        weights_digest(file),
    ):
        assert words in shown
    assert "\x1b" not in shown


def test_a_card_is_printed_for_programs(file, capsys):
    assert run("weights", "show", file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"] == tiny_card(licence="mine\x1b[2J").model_dump(mode="json")
    assert told["sha256"] == weights_digest(file)
    assert told["bytes"] == file.stat().st_size
    # the tensors, and what the header takes
    assert 0 < told["bytes"] - 4 * told["n_weights"] < 20_000


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["weights", "show", "no-such.safetensors"], 1, "there is no weights file no-such"),
        (["weights", "show", "net.pt"], 1, "pickle can run code"),
        (["weights", "show"], 64, "Missing argument"),
        (["weights"], 64, "Missing command"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(arguments, code, words, capsys):
    assert run(*arguments) == code
    assert words in capsys.readouterr().err


def test_weights_are_shown_without_torch(file):
    script = (
        "import sys; from hcs.cli.main import main\n"
        f"try: main(['weights', 'show', {str(file)!r}])\n"
        "except SystemExit: print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    modules = set(shown.stdout.decode().split())
    assert "hcs.isl.header" in modules
    assert not {"torch", "safetensors", "segmentation_models_pytorch", "zarr", "dask"} & modules
