import errno
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from hcs.errors import WeightsError, WriteError
from hcs.isl import weights
from hcs.isl.header import CARD_KEY, read_card, weights_digest
from hcs.isl.network import build_network, transfer
from hcs.isl.weights import load_network, save_weights, write_whole
from tests.isl.files import one_tensor, write_file
from tests.isl.tiny import IMAGES, KINDS, N_OUTPUTS, tiny, tiny_card


@pytest.fixture(scope="module")
def stain():
    torch.manual_seed(0)
    network = build_network("stain", 2, 1, tiny())
    # so that the batch statistics are no one's defaults
    with torch.no_grad():
        network(IMAGES)
    return network


@pytest.fixture
def file(stain, tmp_path):
    path = tmp_path / "dapi.safetensors"
    save_weights(path, stain, tiny_card())
    return path


def store(path, tensors, card=None):
    """Write a file around what `save_weights` checks."""
    safetensors.torch.save_file(tensors, path, {CARD_KEY: (card or tiny_card()).model_dump_json()})
    return path


@pytest.mark.parametrize(("head", "last"), KINDS)
def test_what_was_saved_is_loaded(head, last, stain, tmp_path):
    fresh = head == "stain" or last == "linear"
    network = (
        build_network(head, 2, N_OUTPUTS[head], tiny(last))
        if fresh
        else transfer(stain, head, tiny(last))
    )
    card = tiny_card(head, last)
    path = tmp_path / "w.safetensors"
    save_weights(path, network, card)
    loaded, found = load_network(path, weights_digest(path))
    assert found == card == read_card(path)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), network.eval()(IMAGES))


def test_equal_weights_and_cards_give_equal_bytes(stain, file, tmp_path):
    again = tmp_path / "again.safetensors"
    other_order = tiny_card(scores={"ssim": 0.8, "pcc": 0.91})
    save_weights(file, stain, tiny_card(scores={"pcc": 0.91, "ssim": 0.8}))
    save_weights(again, stain.to(memory_format=torch.channels_last), other_order)
    stain.to(memory_format=torch.contiguous_format)
    assert file.read_bytes() == again.read_bytes()


def test_loading_leaves_the_callers_random_numbers_alone(file):
    before = torch.get_rng_state()
    load_network(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_leaves_the_network_as_it_is(stain, tmp_path):
    stain.train()
    save_weights(tmp_path / "w.safetensors", stain, tiny_card())
    assert stain.training


def test_a_file_that_changed_since_it_was_chosen_is_refused(file, stain):
    digest = weights_digest(file)
    save_weights(file, stain, tiny_card(licence="MIT"))
    with pytest.raises(WeightsError, match=rf"has changed since it was chosen.*not {digest[:12]}"):
        load_network(file, digest)


def test_pickles_are_refused_and_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for name, content in {"a.pt": Bomb(), "b.safetensors": Bomb()}.items():
        (tmp_path / name).write_bytes(pickle.dumps(content))
        with pytest.raises(WeightsError, match="pickle can run code"):
            load_network(tmp_path / name)
    torch.save(Bomb(), tmp_path / "c.safetensors")
    with pytest.raises(WeightsError, match="pickle can run code"):
        load_network(tmp_path / "c.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_a_network_of_another_card_is_not_saved(stain, tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(
        WeightsError, match=r"last.0.bias: F32 \(1,\), not F32 \(2,\); last.0.weight"
    ):
        save_weights(path, stain, tiny_card("cells"))
    assert not path.exists()


def test_a_card_that_contradicts_itself_is_not_saved(stain, tmp_path):
    card = tiny_card("nuclei", targets=tiny_card().targets)
    with pytest.raises(
        WeightsError, match="contradicts itself: a network for nuclei has no targets"
    ):
        save_weights(tmp_path / "w.safetensors", stain, card)


def test_tensors_of_another_network_than_the_cards_are_refused(tmp_path):
    tensors = {"x": torch.zeros(2), "last.0.bias": torch.zeros(3)}
    with pytest.raises(
        WeightsError, match=r"not those of its model card's network: .* more"
    ) as caught:
        load_network(store(tmp_path / "w.safetensors", tensors))
    assert "decoder.blocks.0.conv1.0.weight: missing, not F32 (16, 192, 3, 3)" in str(caught.value)
    assert "weights and card belong to different networks" in caught.value.hint


def test_numbers_of_another_type_are_refused(stain, tmp_path):
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in stain.state_dict().items()
    }
    with pytest.raises(WeightsError, match=r"F16 \(16, 192, 3, 3\), not F32 \(16, 192, 3, 3\)"):
        load_network(store(tmp_path / "w.safetensors", half))


def test_a_hostile_card_is_refused_before_its_network_takes_memory(tmp_path, monkeypatch):
    """2 GB of decoder in the card, 24 bytes in the file."""
    made_on = []

    def note(*arguments):
        made_on.append(torch.empty(0).device.type)
        return build_network(*arguments)

    monkeypatch.setattr(weights, "build_network", note)
    card = tiny_card(architecture=tiny(decoder_channels=(4096, 4096, 4096)))
    path = tmp_path / "w.safetensors"
    write_file(path, {"__metadata__": {CARD_KEY: card.model_dump_json()}, "a": one_tensor()})
    with pytest.raises(WeightsError, match="not those of its model card's network"):
        load_network(path)
    assert made_on == ["meta"]


def test_a_card_whose_network_cannot_be_built_is_refused(tmp_path):
    card = tiny_card(architecture=tiny(encoder="resnet17"))
    path = store(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card)
    with pytest.raises(WeightsError, match="card cannot be built: there is no encoder 'resnet17'"):
        load_network(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(value, stain, tmp_path):
    broken = build_network("stain", 2, 1, tiny())
    broken.load_state_dict(stain.state_dict())
    with torch.no_grad():
        broken.last[0].bias.fill_(value)
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match=r"1 of \d+ tensors hold numbers that are not finite"):
        save_weights(path, broken, tiny_card())
    store(path, broken.state_dict())
    with pytest.raises(WeightsError, match=r"not finite, first last.0.bias"):
        load_network(path)


def test_a_card_with_numbers_that_are_not_finite_is_not_saved(stain, tmp_path):
    with pytest.raises(WeightsError, match=r"card has numbers that are not finite .leave such"):
        save_weights(tmp_path / "w.safetensors", stain, tiny_card(scores={"pcc": np.nan}))


def test_a_file_that_is_swapped_while_it_is_read_is_one_error(file, monkeypatch):
    def swapped(_):
        raise safetensors.SafetensorError("InvalidHeader")

    monkeypatch.setattr(safetensors.torch, "load_file", swapped)
    with pytest.raises(WeightsError, match=r"cannot read weights .*: InvalidHeader"):
        load_network(file)


def test_bytes_that_are_cut_off_are_refused_wherever_the_end_is(file, tmp_path):
    content = file.read_bytes()
    for end in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.safetensors").write_bytes(content[:end])
        with pytest.raises(
            WeightsError, match=r"safetensors: (no safetensors|its header is damaged)"
        ):
            load_network(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(failure, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_whole(path, b"old")

    def fails(_):
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(WriteError, match=rf"cannot write .*w.safetensors: {os.strerror(failure)}"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def note(handle):
        real(handle)
        flushed.append((tmp_path / "w").exists())

    monkeypatch.setattr(os, "fsync", note)
    write_whole(tmp_path / "w", b"new")
    # first the content, then the folder that holds the name
    assert flushed == [False, True]


def test_a_folder_that_is_not_there_is_told(stain, tmp_path):
    with pytest.raises(WriteError, match=r"No such file or directory .give a folder that is there"):
        save_weights(tmp_path / "no" / "w.safetensors", stain, tiny_card())
