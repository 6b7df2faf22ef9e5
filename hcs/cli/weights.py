"""``hcs weights show``: what a weights file says of its network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hcs.cli.output import JsonOption, print_json, print_rows
from hcs.errors import EXIT_DONE

if TYPE_CHECKING:
    from hcs.isl.card import InputPlane, ModelCard, TargetScale
    from hcs.isl.untrusted import Header

_File = Annotated[Path, typer.Argument(help="weights file, as `hcs train` writes it")]
_GIVES = {
    "stain": "a stain plate beside the plate",
    "nuclei": "label image isl_nuclei",
    "cells": "label image isl_cells",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    weights = typer.Typer(help="Look at trained networks.")
    weights.callback()(_only_with_a_verb)
    weights.command("show")(show_command)
    app.add_typer(weights, name="weights")


def _only_with_a_verb() -> None:
    """Look at trained networks."""


def show_command(file: _File, *, json: JsonOption = False) -> int:
    """Print what a trained network takes, what it gives, and where it comes from."""
    from hcs.isl.header import card_of, weights_digest
    from hcs.isl.untrusted import read_header

    header = read_header(file)
    card = card_of(header, file)
    facts: dict[str, str | int] = {
        "file": str(file),
        "sha256": weights_digest(file),
        "bytes": file.stat().st_size,
        "n_weights": _count_weights(header),
    }
    if json:
        print_json({**facts, "card": card.model_dump(mode="json")})
    else:
        _print_card(card, facts)
    return EXIT_DONE


def _count_weights(header: Header) -> int:
    """Return the numbers in a file; batch norm's running statistics are among them."""
    return sum(math.prod(tensor.shape) for tensor in header.tensors.values())


def _print_card(card: ModelCard, facts: dict[str, str | int]) -> None:
    training, architecture = card.training, card.architecture
    decoder = " ".join(str(n) for n in architecture.decoder_channels)
    rows = {
        "name": f"{card.name} (its step is {card.step})",
        "gives": f"{card.head}: {_GIVES[card.head]}",
        "network": f"{architecture.encoder}, depth {architecture.depth}, decoder {decoder}, "
        f"last layers {architecture.last}",
        "numbers": f"{facts['n_weights']:_} in {facts['bytes']:_} bytes".replace("_", " "),
        "pixel size": f"{card.pixel_size_um:g} um" if card.pixel_size_um else "unknown",
        "trained on": f"{training.n_images} frames, {training.n_steps} steps, seed {training.seed}",
        "started from": training.started_from,
        "fingerprint": training.fingerprint,
        "licence": card.licence,
        "made by": card.made_by or "unknown",
        "sha256": str(facts["sha256"]),
    }
    told = [{"fact": name, "value": _one_line(value)} for name, value in rows.items()]
    print_rows(told, str(facts["file"]))
    print_rows([_input_row(plane) for plane in card.inputs], "inputs")
    if card.targets:
        print_rows([_target_row(scale) for scale in card.targets], "targets")
    print_rows([{"score": _one_line(k), "value": v} for k, v in card.scores.items()], "scores")
    recipe = training.recipe.items()
    print_rows([{"recipe": _one_line(k), "value": _one_line(v)} for k, v in recipe], "recipe")


def _input_row(plane: InputPlane) -> dict[str, str]:
    return {"channel": _one_line(plane.channel), "plane": str(plane.plane)}


def _target_row(scale: TargetScale) -> dict[str, str | float]:
    return {"stain": _one_line(scale.stain), "offset": scale.offset, "scale": scale.scale}


def _one_line(value: object) -> str:
    """Return a value of a card for the terminal; a file may come from anyone."""
    from hcs.isl.header import plain

    return plain(str(value))
