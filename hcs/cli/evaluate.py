"""``hcs evaluate`` and ``hcs export``: label images against a truth, and out of the plate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hcs.cli.options import Plate
from hcs.cli.output import JsonOption, local, print_json, print_rows
from hcs.errors import EXIT_DONE, EXIT_PARTIAL, SettingsError

if TYPE_CHECKING:
    from hcs.plate.read import Plane
    from hcs.run.by_well import LeftOut
    from hcs.run.export import Exported
    from hcs.run.scores import Evaluation, StainEvaluation

_TRUTH = (
    "a truth plate, or a folder of masks: of a data set (<sequence>/masks/gold_full ...), of a "
    "sequence, or of one kind of masks; files match by the last number of their names"
)
_STAINS = (
    "instead of labels: the name of a network whose predicted stains are compared with the "
    "measured channels of the plate, or of a plate given as --truth"
)
# more are for the table on disk, not for the screen
_MAX_FRAME_ROWS = 60
_Label = Annotated[str, typer.Option(help="label image")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evaluate")(evaluate_command)
    app.command("export")(export_command)


def evaluate_command(
    plate: Plate,
    *,
    truth: Annotated[str | None, typer.Option(help=_TRUTH)] = None,
    label: _Label = "ssl_cells",
    stains: Annotated[str | None, typer.Option(help=_STAINS)] = None,
    plane: Annotated[str, typer.Option(help="of measured stains: an index, max or mean")] = "0",
    crop: Annotated[int, typer.Option(min=0, help="px left out on each side")] = 0,
    frame: Annotated[
        list[int] | None, typer.Option(help="of stains: index; repeatable; default: all")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="well left out, as one trained on; repeatable")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(callback=local, help="table of frames, .csv or .parquet; else in <plate>.hcs"),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Score label images, or predicted stains, against a truth, per frame, well and plate."""
    from hcs.plate.open import open_plate
    from hcs.plate.path import WellPath
    from hcs.run.evaluate import evaluate_plate
    from hcs.run.evaluate_stains import Part, evaluate_stains
    from hcs.run.scores import Evaluation, check_output, write_evaluation
    from hcs.run.truth import open_truth

    if output is not None:
        check_output(output)
    opened, left = open_plate(plate), tuple(WellPath.parse(well) for well in without or ())
    scores: Evaluation | StainEvaluation
    if stains is None:
        if truth is None or frame:
            raise SettingsError(
                "labels are scored against --truth, at all its frames",
                hint="to score predicted stains, give --stains NAME",
            )
        scores = evaluate_plate(
            opened, open_truth(truth, opened, label), label, crop_px=crop, without=left
        )
    else:
        measured = None if truth is None else open_plate(truth)
        part = Part(crop, tuple(frame or ()), left)
        scores = evaluate_stains(opened, stains, truth=measured, plane=_plane(plane), part=part)
    if json:
        print_json(scores.to_json())
    elif isinstance(scores, Evaluation):
        _print_evaluation(scores)
    else:
        _print_stains(scores)
    print(f"wrote {write_evaluation(opened, scores, output)}", file=sys.stderr)
    return _exit_code(scores.left_out)


def export_command(
    plate: Plate,
    *,
    labels: Annotated[
        Path, typer.Option(callback=local, help="folder to write to, a folder per sequence")
    ],
    label: _Label = "ssl_cells",
    json: JsonOption = False,
) -> int:
    """Write label images as TIFF files, t<number>.tif, with the numbers of the source."""
    from hcs.plate.open import open_plate
    from hcs.run.export import export_labels

    done: list[Exported] = []
    left_out = export_labels(open_plate(plate), labels, label, done.append)
    rows = [
        {"field": str(one.field), "files": one.n_files, "folder": str(one.folder)} for one in done
    ]
    (print_json if json else print_rows)(rows)
    return _exit_code(left_out)


def _plane(text: str) -> Plane:
    projections: dict[str, Plane] = {"max": "max", "mean": "mean"}
    if text in projections:
        return projections[text]
    if not text.isdecimal():
        raise SettingsError(f"--plane {text!r} is no index", hint="or write max or mean")
    return int(text)


def _exit_code(left_out: Sequence[LeftOut]) -> int:
    """Tell which wells were left out, one line each."""
    for one in left_out:
        print(f"hcs: {one}", file=sys.stderr)
    return EXIT_PARTIAL if left_out else EXIT_DONE


def _print_evaluation(scores: Evaluation) -> None:
    from hcs.run.scores import rows_of

    shown = ["f1", "precision", "recall", "iou", "mcc", "ap", "ap_50", "ap_75", "seg"]
    counted = ["n_truth", "n_objects"]
    place = ["well", "field", "frame", "source_number", "truth"]
    if len(scores.frames) <= _MAX_FRAME_ROWS:
        print_rows(rows_of(scores.frames[[*place, *shown, *counted]]), "frames")
    print_rows(rows_of(scores.wells[["well", "truth", "n_frames", *shown]]), "wells")
    print_rows(rows_of(scores.plate[["truth", "n_frames", *shown]]), "plate")
    if len(scores.tracks):
        print_rows(rows_of(scores.tracks), "tracks")
    if scores.failed:
        print(f"failed, without scores: {', '.join(scores.failed)}")


def _print_stains(scores: StainEvaluation) -> None:
    from hcs.run.scores import rows_of

    if len(scores.frames) <= _MAX_FRAME_ROWS:
        print_rows(rows_of(scores.frames), "frames")
    print_rows(rows_of(scores.wells), "wells")
    print_rows(rows_of(scores.plate), "plate")
    if scores.failed:
        print(f"failed, without scores: {', '.join(scores.failed)}")
