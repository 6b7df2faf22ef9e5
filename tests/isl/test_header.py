import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings

from hcs.errors import WeightsError
from hcs.isl.header import CARD_KEY, read_card, weights_digest
from tests.isl.files import one_tensor, write_file
from tests.isl.tiny import KINDS, tiny_card
from tests.strategies import damaged_json

CARD = tiny_card().model_dump(mode="json")


def write_card(path, card):
    text = card if isinstance(card, str) else json.dumps(card)
    return write_file(path, {"__metadata__": {CARD_KEY: text}, "a": one_tensor()})


@pytest.mark.parametrize(("head", "last"), KINDS)
def test_a_card_comes_back_as_it_was_written(head, last, tmp_path):
    card = tiny_card(head, last)
    assert read_card(write_card(tmp_path / "w.safetensors", card.model_dump_json())) == card


def test_a_file_without_a_card_is_refused(tmp_path):
    path = write_file(tmp_path / "w.safetensors", {"a": one_tensor()})
    with pytest.raises(
        WeightsError, match=r"w.safetensors: there is no model card in it.*hcs train"
    ):
        read_card(path)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("", "no JSON: Expecting value"),
        ("[" * 100, "no JSON: it is nested deeper than 32"),
        ('"a card"', "card: Input should be an object"),
        ({"model": "resnet18", "labels": ["cat"]}, "name: Field required; head: Field required;"),
        (CARD | {"scores": {"pcc": float("nan")}}, "no JSON: NaN is no number of JSON"),
        (
            CARD | {"name": "../x", "pixel_size_um": 0},
            r"name: String should.*; pixel_size_um: Input",
        ),
        (CARD | {"inputs": []}, "inputs: Tuple should have at least 1 item"),
        (CARD | {"targets": []}, "a stain network cannot have 0 outputs"),
        (CARD | {"head": "nuclei"}, "a network for nuclei has no targets, this has 1"),
        (
            CARD | {"architecture": {"encoder": "resnet18", "decoder_channels": [10**9] * 5}},
            r"decoder_channels are to be from 1 to 4096, not \(1000000000",
        ),
        (
            CARD | {"architecture": {"last": "published", "depth": 3}},
            "depth 3 needs 3 decoder_channels, not 5; last: published is for nuclei and cells",
        ),
    ],
)
def test_a_card_that_is_none_of_ours_is_refused_with_all_its_problems(card, words, tmp_path):
    path = write_card(tmp_path / "w.safetensors", card)
    with pytest.raises(
        WeightsError, match=f"w.safetensors: its model card is not valid: .*{words}"
    ):
        read_card(path)


def test_what_a_hostile_card_says_is_shown_short_and_without_control_characters(tmp_path):
    many = {f"\x1b[2J{i}" + "x" * 300: 1 for i in range(50)}
    with pytest.raises(WeightsError) as caught:
        read_card(write_card(tmp_path / "w.safetensors", CARD | many))
    message = caught.value.message
    assert "?[2J0xxx" in message
    assert "\x1b" not in message
    assert message.endswith("; 30 more")
    assert len(message) < 20 * 200


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "w.safetensors"


@settings(max_examples=50)
@given(card=damaged_json(CARD))
def test_a_card_with_anything_in_it_is_refused_or_one_that_agrees_with_itself(path, card):
    try:
        assert read_card(write_card(path, card)).problems() == []
    except WeightsError:
        return


def test_the_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_digest(tmp_path / "abc") == known == hashlib.sha256(b"abc").hexdigest()


def test_there_is_no_digest_of_no_file(tmp_path):
    with pytest.raises(WeightsError, match="there is no weights file"):
        weights_digest(tmp_path / "w.safetensors")


def test_a_card_is_read_without_torch(tmp_path):
    path = write_card(tmp_path / "w.safetensors", CARD)
    script = (
        "import sys, pathlib; from hcs.isl.header import read_card, weights_digest; "
        f"path = pathlib.Path({str(path)!r}); read_card(path); weights_digest(path); "
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert not {"torch", "numpy", "safetensors"} & set(loaded.stdout.decode().split())
