"""``hcs annotate``: label images proposed from a stain, corrected by people, read back checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hcs.cli.output import JsonOption, local, print_json, print_rows
from hcs.errors import EXIT_DONE

if TYPE_CHECKING:
    from hcs.run.annotate import Checked

_Folder = Annotated[Path, typer.Argument(help="folder that `hcs annotate make` wrote")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    annotate = typer.Typer(help="Annotated frames to learn nuclei and cells from.")
    annotate.command("make")(make_command)
    annotate.command("check")(check_command)
    app.add_typer(annotate, name="annotate")


def make_command(
    plate: Annotated[str, typer.Argument(help="plate, a path or s3:// URL")],
    *,
    stain: Annotated[str, typer.Option(help="channel that shows the objects")],
    kind: Annotated[Literal["nuclei", "cells"], typer.Option(help="what the objects are")],
    field: Annotated[list[str], typer.Option(help="as in B/02/0; repeatable")],
    frame: Annotated[list[int] | None, typer.Option(help="index; repeatable; default: 0")] = None,
    output: Annotated[Path, typer.Option(callback=local, help="folder to write to, or to add to")],
    nuclei_stain: Annotated[
        str | None, typer.Option(help="for cells: channel whose nuclei tell them apart")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="an installed segmenter that is given the stain instead")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Write chosen frames as TIFF files, with label images found in a stain, to be corrected.

    A label image that was corrected is never overwritten.
    """
    from hcs.plate.open import open_plate
    from hcs.plate.path import FieldPath
    from hcs.run.propose import Recipe, make_annotations

    fields = [FieldPath.parse(text) for text in field]
    places = [(path, index) for path in fields for index in frame or [0]]
    recipe = Recipe(stain, kind, nuclei_stain, segmenter)
    made = make_annotations(open_plate(plate), places, recipe, output)
    rows = [
        {
            "field": str(one.annotation.field),
            "frame": one.annotation.frame,
            "objects": one.n_objects,
            "labels": str(one.annotation.labels),
        }
        for one in made
    ]
    (print_json if json else print_rows)(rows)
    print(f"correct the label images, then: hcs annotate check {output}", file=sys.stderr)
    return EXIT_DONE


def check_command(folder: _Folder, *, json: JsonOption = False) -> int:
    """Read annotated frames back and tell every problem of every file."""
    from hcs.run.annotate import check_annotations

    rows = [_row(one) for one in check_annotations(folder)]
    if json:
        print_json(rows)
        return EXIT_DONE
    print_rows([{k: v for k, v in row.items() if k != "warnings"} for row in rows])
    for row in rows:
        for warning in row["warnings"]:
            print(f"hcs: {row['labels']}: {warning}", file=sys.stderr)
    return EXIT_DONE


def _row(one: Checked) -> dict[str, Any]:
    return {
        "field": str(one.annotation.field),
        "frame": one.annotation.frame,
        "kind": one.annotation.kind,
        "objects": one.n_objects,
        "state": one.state,
        "labels": str(one.annotation.labels),
        "warnings": list(one.warnings),
    }
