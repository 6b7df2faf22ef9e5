"""Checkpoints: whole or not at all, and of this training or refused."""

import errno
from pathlib import Path

import pytest
import torch

from hcs.errors import MissingError, TrainingError, WriteError
from hcs.isl.checkpoint import Checkpoint, Checkpoints

WEIGHTS = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
SOME = Checkpoint({"a": WEIGHTS, "b.c": torch.tensor(3)}, {"step": 7, "curve": [0.1, 1 / 3]})


def test_what_was_written_is_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "folder", {"images": "abc"})
    checkpoints.write(SOME)
    read = checkpoints.read()
    assert read.facts == {**SOME.facts, "about": {"images": "abc"}}
    assert all(torch.equal(read.tensors[name], SOME.tensors[name]) for name in SOME.tensors)
    assert [path.name for path in checkpoints.path.parent.iterdir()] == ["checkpoint.safetensors"]


def test_before_the_first_there_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.read() is None
    with pytest.raises(MissingError, match="there is no checkpoint"):
        checkpoints.read_any()


def test_another_training_is_refused_by_what_differs(tmp_path):
    Checkpoints(tmp_path, {"recipe": {"steps": 5, "clip": 1}, "seed": 1}).write(SOME)
    other = Checkpoints(tmp_path, {"recipe": {"steps": 9, "clip": 1}, "images": "abc"})
    with pytest.raises(
        TrainingError,
        match=r"is of another training: images was not set, is abc; recipe.steps was 5, is 9; "
        r"seed was 1, is not set .give this training another output name",
    ):
        other.read()
    assert other.read_any().facts["step"] == 7


def test_facts_survive_json_before_they_are_compared(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"betas": (0.9, 0.999)}).of({"more": (1, 2)})
    checkpoints.write(SOME)
    assert checkpoints.read().facts["step"] == 7


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_damaged_file_is_named(tmp_path, kept):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(SOME)
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"is damaged: .*delete it to train from the beginning"):
        checkpoints.read()


def test_a_file_of_someone_else_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    checkpoints = Checkpoints(tmp_path)
    for metadata in (None, {"made by": "others"}, {"hcs_training": "{"}):
        save_file({"a": WEIGHTS.contiguous()}, checkpoints.path, metadata)
        with pytest.raises(TrainingError, match="is damaged"):
            checkpoints.read()


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, at):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(SOME)

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(
        "os.fsync" if at == "fsync" else Path, *(() if at == "fsync" else (at,)), full
    )
    with pytest.raises(WriteError, match=r"cannot write .*no space left"):
        checkpoints.write(Checkpoint({"a": WEIGHTS + 1}, {"step": 8}))
    monkeypatch.undo()
    assert checkpoints.read().facts["step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write"):
        Checkpoints(tmp_path / "file").write(SOME)


def test_a_rest_of_a_kill_is_overwritten(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.path.with_suffix(".new").write_bytes(b"half a file")
    checkpoints.write(SOME)
    assert checkpoints.read().facts["step"] == 7
