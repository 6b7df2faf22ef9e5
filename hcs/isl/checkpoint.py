"""Where a training stands, on disk: one file, replaced as a whole, so that a kill costs little."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hcs.errors import MissingError, TrainingError, WriteError

_KEY = "hcs_training"


@dataclass(frozen=True)
class Checkpoint:
    """A training after some steps.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        Weights and the optimiser's memory.
    facts : mapping of str to JSON values
        Everything else.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class Checkpoints:
    """The checkpoint of one training, in a folder of its own.

    Parameters
    ----------
    folder : Path
        Made when the first checkpoint is written.
    about : mapping, JSON values
        What must be the same for a training to be continued, such as a fingerprint of its images;
        the recipe, the seed and the network's layers are added by :func:`hcs.isl.train.train`.
    """

    def __init__(self, folder: Path, about: Mapping[str, JsonValue] | None = None) -> None:
        self._path = folder / "checkpoint.safetensors"
        self._about = dict(about or {})

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def of(self, more: Mapping[str, JsonValue]) -> Checkpoints:
        """Return the same with more that must be equal."""
        return Checkpoints(self._path.parent, {**self._about, **more})

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace what is there, on the disk before this returns; all of it or nothing.

        Raises
        ------
        WriteError
            If the folder cannot be written; the checkpoint before is still there.
        """
        text = json.dumps({**checkpoint.facts, "about": self._about})
        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, {_KEY: text})
            _replace(temporary, self._path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                temporary.unlink()
            raise WriteError(f"cannot write {self._path}: {error}") from error

    def read(self) -> Checkpoint | None:
        """Return the checkpoint, None where there is none yet.

        Raises
        ------
        TrainingError
            If it is damaged, or of a training that is another one.
        """
        if not self._path.exists():
            return None
        checkpoint = self.read_any()
        self._check_same(checkpoint.facts["about"])
        return checkpoint

    def read_any(self) -> Checkpoint:
        """Return the checkpoint, whatever training it is of.

        Raises
        ------
        MissingError
            If there is none.
        TrainingError
            If it is damaged.
        """
        if not self._path.exists():
            raise MissingError(f"there is no checkpoint {self._path}")
        try:
            with safe_open(self._path, framework="pt") as file:
                facts = json.loads(file.metadata()[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self._path} is damaged: {error}", hint="delete it to train from the beginning"
            ) from error
        return Checkpoint(tensors, facts)

    def _check_same(self, about: Mapping[str, JsonValue]) -> None:
        before, now = dict(_flat(about)), dict(_flat(json.loads(json.dumps(self._about))))
        different = [
            f"{name} was {before.get(name, 'not set')}, is {now.get(name, 'not set')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if different:
            raise TrainingError(
                f"{self._path} is of another training: {'; '.join(different)}",
                hint="give this training another output name, or delete that file to begin anew",
            )


def _flat(facts: Mapping[str, JsonValue], start: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def _replace(temporary: Path, path: Path) -> None:
    _to_disk(temporary)
    temporary.replace(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
