"""``hcs import``: files of a microscope become a plate."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hcs.cli.output import JsonOption, local, print_json, print_rows
from hcs.errors import EXIT_DONE, EXIT_FAILED, SettingsError

if TYPE_CHECKING:
    from hcs.ingest.plan import ImportPlan
    from hcs.ingest.source import SourceFile
    from hcs.plate.path import FieldPath

_PATTERN = (
    "file names below SOURCE, with {well} {row} {column} {field} {channel} {z} {time} {sequence}, "
    "{key:glob} to narrow one, * and ?; without a well, each sequence becomes a well"
)
_CHANNEL = "label of a channel, in the order found, or FOUND=LABEL; repeat it for each channel"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_command)


def import_command(
    source: Annotated[Path, typer.Argument(help="folder with the files")],
    plate: Annotated[str, typer.Argument(help="plate to be made, a path or s3:// URL")],
    *,
    pattern: Annotated[str | None, typer.Option(help=_PATTERN)] = None,
    listing: Annotated[Path | None, typer.Option(help="CSV of files instead of a pattern")] = None,
    channel: Annotated[list[str] | None, typer.Option(help=_CHANNEL)] = None,
    page_axis: Annotated[
        Literal["t", "z", "c"] | None,
        typer.Option(help="what the pages of a stack are, where its metadata do not say"),
    ] = None,
    gaps: Annotated[
        Literal["refuse", "close"], typer.Option(help="when source numbers are missing in between")
    ] = "refuse",
    pixel_size_um: Annotated[float | None, typer.Option(min=1e-6, help="micrometers")] = None,
    interval_s: Annotated[float | None, typer.Option(min=1e-6, help="between frames")] = None,
    z_step_um: Annotated[float | None, typer.Option(min=1e-6, help="between planes")] = None,
    plate_map: Annotated[
        Path | None, typer.Option(help="CSV with a line per well: becomes the table 'condition'")
    ] = None,
    wells: Annotated[
        int | None, typer.Option(help="wells of the physical plate: 6, 12, 24, 48, 96, 384, 1536")
    ] = None,
    ome_zarr: Annotated[Literal["0.4", "0.5"], typer.Option(help="version to write")] = "0.4",
    storage: Annotated[
        Literal["chunked", "sharded"], typer.Option(help="sharded: fewer files, 0.5 only")
    ] = "chunked",
    processes: Annotated[int, typer.Option(min=1, help="fields written at once")] = os.cpu_count()
    or 1,
    write_listing: Annotated[
        Path | None,
        typer.Option(callback=local, help="write every plane as a CSV listing, to be edited"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show what would be imported, write nothing")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Import TIFF and OME-TIFF files as a plate."""
    from hcs.ingest.listing import write_listing as write_csv
    from hcs.ingest.ome_tiff import Calibration
    from hcs.ingest.plan import plan_import
    from hcs.ingest.plate import PlateFormat, import_plate
    from hcs.ingest.plate_map import read_plate_map, write_condition

    # what it says of a damaged file, the plan says too, naming the file
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    plate_format = PlateFormat(ome_zarr, storage, wells)
    files, notes = _find(source, pattern, listing)
    plan = plan_import(
        files,
        channels=channel or (),
        calibration=Calibration(pixel_size_um, interval_s, z_step_um),
        page_axis=page_axis,
        gap_rule=gaps,
    )
    condition = None
    if plate_map is not None:
        fields = [field.path for field in plan.fields]
        condition, unfit = read_plate_map(plate_map, fields)
        notes += unfit
    if write_listing is not None:
        write_csv(write_listing, plan.fields)
    if not dry_run:
        plan.check()
    (print_json if json else _print_report)(_report(plan, notes))
    if dry_run:
        return EXIT_FAILED if plan.problems else EXIT_DONE
    made = import_plate(plate, plan, plate_format, processes=processes, on_field=_tell)
    if condition is not None:
        write_condition(made, condition)
    print(f"wrote {made.storage.url}", file=sys.stderr)
    return EXIT_DONE


def _tell(field: FieldPath) -> None:
    print(f"{field} is written", file=sys.stderr)


def _find(
    source: Path, pattern: str | None, listing: Path | None
) -> tuple[list[SourceFile], list[str]]:
    """Return the files, and notes on those that were left out."""
    from hcs.ingest.findings import some
    from hcs.ingest.listing import read_listing
    from hcs.ingest.pattern import Pattern

    if (pattern is None) == (listing is None):
        raise SettingsError("give either --pattern or --listing")
    if listing is not None:
        return read_listing(listing, source), []
    found = Pattern(pattern or "").find(source)
    left_out = some(path.relative_to(source) for path in found.unmatched)
    notes = [f"left out, do not fit the pattern: {left_out}"] if found.unmatched else []
    return found.files, notes


def _plan_rows(plan: ImportPlan) -> list[dict[str, Any]]:
    return [
        {
            "field": str(field.path),
            "sequence": field.sequence or None,
            "frames": len(field.times),
            "first": field.times[0],
            "last": field.times[-1],
            "channels": ", ".join(plan.channels),
            "planes": plan.n_planes,
            "y x": f"{field.frame_shape[0]} x {field.frame_shape[1]}",
            "type": field.dtype,
            "first file": field.images[0].path.name,
        }
        for field in plan.fields
    ]


def _report(plan: ImportPlan, notes: list[str]) -> dict[str, Any]:
    return {
        "fields": _plan_rows(plan),
        **asdict(plan.calibration),
        "problems": plan.problems,
        "warnings": [*plan.warnings, *notes],
    }


def _print_report(report: dict[str, Any]) -> None:
    print_rows(report["fields"])
    print(f"pixel size {_or_unknown(report['pixel_size_um'], 'um')}, ", end="")
    print(f"interval {_or_unknown(report['interval_s'], 's')}")
    for kind in ("problem", "warning"):
        for text in report[f"{kind}s"]:
            print(f"{kind}: {text}")


def _or_unknown(size: float | None, unit: str) -> str:
    return "unknown" if size is None else f"{size:g} {unit}"
