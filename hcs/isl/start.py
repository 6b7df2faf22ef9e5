"""What a training begins with: a new network, or one that was trained before.

Looking at a weights file needs no torch; making the network does, and loads it then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hcs.errors import WeightsError
from hcs.isl.card import Architecture, Head, InputPlane, ModelCard
from hcs.isl.header import read_card, weights_digest

if TYPE_CHECKING:
    from hcs.isl.network import Network


@dataclass(frozen=True)
class Start:
    """The network that a training begins with.

    Parameters
    ----------
    head : {"stain", "nuclei", "cells"}
        What it gives.
    n_inputs, n_outputs : int
    architecture : Architecture
    encoder_weights : str
        Of a new network: "none", "imagenet", or a file.
    path : Path, optional
        The weights file of one that was trained before.
    digest : str
        SHA-256 of that file, or of the encoder's; empty where there is none.
    card : ModelCard, optional
        Of that file.
    stain_index : int
        Which of its stains the transfer starts from.
    """

    head: Head
    n_inputs: int
    n_outputs: int
    architecture: Architecture
    encoder_weights: str = "none"
    path: Path | None = None
    digest: str = ""
    card: ModelCard | None = None
    stain_index: int = 0

    @property
    def name(self) -> str:
        """As the model card tells it."""
        return self.digest or {"none": "random"}.get(self.encoder_weights, self.encoder_weights)


def start_from_file(
    path: Path,
    head: Head,
    inputs: Sequence[InputPlane],
    stains: Sequence[str],
    architecture: Architecture | None,
    start_stain: str | None,
) -> Start:
    """Look at a weights file, and say how a training goes on from it.

    Parameters
    ----------
    path : Path
    head : {"stain", "nuclei", "cells"}
        What is to be learnt.
    inputs : sequence of InputPlane
        That it is to be learnt from.
    stains : sequence of str
        To be learnt, for head "stain".
    architecture : Architecture, optional
        That was asked for; None for the file's.
    start_stain : str, optional
        Which of the file's stains nuclei or cells are learnt from; None for the first.

    Raises
    ------
    WeightsError
        The file is no weights file; or, all in one message, it is for other inputs or stains, of
        another architecture, or has nothing to go on from.
    """
    card, digest = read_card(path), weights_digest(path)
    transferred = card.head != head
    last: Literal["repaired"] | str = "repaired" if transferred else card.architecture.last
    wanted = architecture or card.architecture.model_copy(update={"last": last})
    found = [target.stain for target in card.targets]
    problems = _problems(card, head, inputs, wanted)
    if head == "stain" and not transferred and found != list(stains):
        problems.append(f"it gives the stains {found}, the training {list(stains)}")
    if start_stain is not None and start_stain not in found:
        problems.append(f"start_stain {start_stain!r} is none of its stains {found}")
    if problems:
        raise WeightsError(
            f"training cannot start from {path}: {'; '.join(problems)}",
            hint="`hcs weights show` prints what a file takes and gives",
        )
    index = found.index(start_stain) if start_stain else 0
    n_outputs = len(stains) if head == "stain" else {"nuclei": 1, "cells": 2}[head]
    return Start(head, len(inputs), n_outputs, wanted, "none", path, digest, card, index)


def begin(start: Start, seed: int) -> Network:
    """Make the network that a training begins with, equal for equal seeds, on the CPU.

    Draws elsewhere in the process are not disturbed.

    Raises
    ------
    SettingsError, WeightsError
        There is no such encoder, or its weights cannot be had; the file changed.
    """
    import torch

    from hcs.isl.network import Network, build_network, transfer
    from hcs.isl.weights import load_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start.path is None:
            weights = start.encoder_weights
            known = weights if weights in ("none", "imagenet") else Path(weights)
            return build_network(
                start.head,
                start.n_inputs,
                start.n_outputs,
                start.architecture,
                known,  # type: ignore[arg-type]
            )
        network, card = load_network(start.path, start.digest)
        if card.head != start.head:
            return transfer(network, start.head, start.architecture, start.stain_index)
        if not isinstance(network, Network):
            raise TypeError(f"want a Network, not a {type(network).__name__}")
        return network


def _problems(
    card: ModelCard, head: Head, inputs: Sequence[InputPlane], wanted: Architecture
) -> list[str]:
    problems = []
    if card.head not in ("stain", head):
        problems.append(f"it is for {card.head}, and {head} cannot be learnt from that")
    if card.head == "stain" != head and wanted.last == "linear":
        problems.append("its stain network needs architecture.last: published or repaired")
    if card.inputs != tuple(inputs):
        problems.append(f"it takes {_named(card.inputs)}, the training has {_named(inputs)}")
    body = ("encoder", "depth", "decoder_channels", *(["last"] if card.head == head else []))
    problems += [
        f"its {name} is {getattr(card.architecture, name)}, not {getattr(wanted, name)}"
        for name in body
        if getattr(card.architecture, name) != getattr(wanted, name)
    ]
    return problems


def _named(inputs: Sequence[InputPlane]) -> str:
    return ", ".join(f"{one.channel!r} plane {one.plane}" for one in inputs)
