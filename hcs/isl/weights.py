"""Weights files: safetensors with the model card in the metadata; written whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hcs.errors import SettingsError, WeightsError, WriteError
from hcs.isl.card import ModelCard
from hcs.isl.header import CARD_KEY, card_of, weights_digest
from hcs.isl.network import build_network
from hcs.isl.unet import without_memory
from hcs.isl.untrusted import StoredTensor, read_header

# as safetensors writes the types that our networks have
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
_SHOWN = 3


def save_weights(path: Path, network: nn.Module, card: ModelCard) -> None:
    """Write a network with its card; the same weights and card give the same bytes.

    Parameters
    ----------
    path : Path
        A file there is replaced, once the new one is whole and on the disk.
    network : nn.Module
        As `build_network` or `transfer` gave it for the card's architecture; on any device.
    card : ModelCard
        What it takes, gives, and where it comes from.

    Raises
    ------
    WeightsError
        Card and network are of different architectures, or numbers are not finite.
    WriteError
        The file cannot be written.
    """
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }
    facts = {
        name: StoredTensor(_DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
    _check_fit(facts, card, path)
    _check_finite(tensors, path)
    write_whole(path, safetensors.torch.save(tensors, {CARD_KEY: _card_text(card, path)}))


def load_network(path: Path, digest: str | None = None) -> tuple[nn.Module, ModelCard]:
    """Return the network of a weights file, ready to predict, and its card.

    The file is checked before anything is allocated: what the header says, then that names and
    shapes are those of the network that the card describes.

    Parameters
    ----------
    path : Path
        As `save_weights` wrote it.
    digest : str, optional
        What `weights_digest` gave when the file was chosen.

    Returns
    -------
    network : nn.Module
        In evaluation mode, on the CPU.
    card : ModelCard
        What it takes and gives.

    Raises
    ------
    WeightsError
        The file cannot be read, is a pickle, damaged, hostile, or not the one that was chosen.
    """
    if digest is not None and (found := weights_digest(path)) != digest:
        raise WeightsError(
            f"{path}: the file has changed since it was chosen: its SHA-256 begins with "
            f"{found[:12]}, not {digest[:12]}",
            hint="run again to use the new file, or put the old one back",
        )
    header = read_header(path)
    card = card_of(header, path)
    _check_fit(header.tensors, card, path)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights {path}: {error}") from error
    _check_finite(tensors, path)
    # its random weights are replaced at once: the caller's sequence of random numbers goes on
    with torch.random.fork_rng(devices=[]):
        network = _network_of(card)
    network.load_state_dict(tensors)
    return network.eval(), card


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file, whole or not at all; on return it is on the disk.

    Raises
    ------
    WriteError
        The folder is not there, is read-only, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}",
            hint="give a folder that is there, with free space and permission to write",
        ) from error


def _flush_to_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _card_text(card: ModelCard, path: Path) -> str:
    try:
        return json.dumps(card.model_dump(mode="json"), sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise WeightsError(
            f"{path}: its model card has numbers that are not finite", hint="leave such scores out"
        ) from error


def _check_fit(found: Mapping[str, StoredTensor], card: ModelCard, path: Path) -> None:
    """Raise unless tensors are those of the network that a card describes."""
    wanted = _expected(card, path)
    problems = [
        f"{name}: {found.get(name, 'missing')}, not {wanted.get(name, 'there')}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightsError(
            f"{path}: its tensors are not those of its model card's network: "
            f"{'; '.join(problems[:_SHOWN])}{more}",
            hint="weights and card belong to different networks",
        )


def _expected(card: ModelCard, path: Path) -> dict[str, StoredTensor]:
    """Return what the network of a card consists of; built on a device without memory."""
    if problems := card.problems():
        raise WeightsError(f"{path}: its model card contradicts itself: {'; '.join(problems)}")
    try:
        with without_memory():
            network = _network_of(card)
    except SettingsError as error:
        raise WeightsError(
            f"{path}: the network of its model card cannot be built: {error}"
        ) from error
    return {
        name: StoredTensor(_DTYPES[tensor.dtype], tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
    }


def _network_of(card: ModelCard) -> nn.Module:
    return build_network(card.head, len(card.inputs), card.n_outputs, card.architecture)


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise WeightsError(
            f"{path}: {len(bad)} of {len(tensors)} tensors hold numbers that are not finite, first "
            f"{bad[0]}",
            hint="the training ran away, or the file is damaged",
        )
