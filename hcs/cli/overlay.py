"""``hcs overlay``: look at what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hcs.cli.output import local
from hcs.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("overlay")(overlay_command)


def overlay_command(
    plate: Annotated[str, typer.Argument(help="plate, a path or s3:// URL")],
    field: Annotated[str, typer.Argument(help="field of view, as in B/03/0")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=local, help="PNG file to write")
    ],
    label: Annotated[str, typer.Option(help="label image, in colour")] = "ssl_cells",
    channel: Annotated[str | None, typer.Option(help="shown below; default: the first")] = None,
    frames: Annotated[str, typer.Option(help="frame indices, as in 0,4,9")] = "0",
    truth: Annotated[str | None, typer.Option(help="a truth plate, in white dots")] = None,
    truth_label: Annotated[
        str | None, typer.Option(help="label image of the truth; default: as evaluate chooses")
    ] = None,
) -> None:
    """Draw outlines of a label image over its frames; an object keeps its colour over time."""
    from hcs.plate.open import open_plate
    from hcs.plate.path import FieldPath
    from hcs.report.overlay import encode_png
    from hcs.run.picture import LabelSource, field_overlay
    from hcs.run.truth import true_label_image

    if output.suffix.lower() != ".png":
        raise SettingsError(f"{output}: cannot write that", hint="name it .png")
    opened, path = open_plate(plate), FieldPath.parse(field)
    shown = channel or opened.field_image(path).channels[0].label
    found, true = LabelSource(opened, label), None
    if truth:
        other = open_plate(truth)
        true = LabelSource(other, truth_label or true_label_image(other, path, label))
    picture = field_overlay(path, shown, _indices(frames), found, true)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(encode_png(picture))
    print(f"wrote {output}")


def _indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} are not frame indices, write them like 0,4,9"
        ) from error
