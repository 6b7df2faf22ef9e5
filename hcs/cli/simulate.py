"""``hcs simulate``: a plate with known truth."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from hcs.cli.output import JsonOption, print_json
from hcs.errors import SettingsError

# wells of the usual plates: rows and columns
_PLATES = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24)}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate_command)


def simulate_command(
    plate: Annotated[str, typer.Argument(help="plate to write, a path or s3:// URL")],
    *,
    preset: Annotated[str, typer.Option(help="easy, moderate or hard")] = "moderate",
    wells: Annotated[int, typer.Option(help="6, 12, 24, 48, 96 or 384")] = 24,
    rows: Annotated[int | None, typer.Option(help="instead of --wells")] = None,
    columns: Annotated[int | None, typer.Option(help="instead of --wells")] = None,
    fields: Annotated[int, typer.Option(help="fields per well")] = 1,
    frames: Annotated[int, typer.Option(help="frames per field")] = 10,
    size: Annotated[int, typer.Option(help="side of a field, pixels")] = 512,
    seed: Annotated[int, typer.Option(help="equal seeds give equal plates")] = 0,
    optics: Annotated[str, typer.Option(help="phase or brightfield")] = "phase",
    version: Annotated[str, typer.Option(help="OME-Zarr 0.4 or 0.5")] = "0.4",
    storage: Annotated[str, typer.Option(help="chunked, or sharded: fewer files, 0.5 only")] = (
        "chunked"
    ),
    edge_effect: Annotated[float, typer.Option(help="0 to 1: worse light and growth outside")] = 0,
    drug_acts_on: Annotated[
        list[str] | None, typer.Option(help="motility, growth, death; repeatable; default: all")
    ] = None,
    accident: Annotated[
        list[str] | None,
        typer.Option(
            help="blank_frame, out_of_focus, saturated, empty_well or missing_well, "
            "as in blank_frame=B/03; repeatable"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Write a plate with known truth, and the truth beside it as <plate>_truth.zarr."""
    from hcs.simulate.plate import simulate_plate
    from hcs.simulate.settings import Accident, settings_for

    grid = _grid(wells, rows, columns)
    values: dict[str, Any] = {
        "preset": preset,
        "rows": grid[0],
        "columns": grid[1],
        "fields": fields,
        "frames": frames,
        "size": size,
        "seed": seed,
        "optics": optics,
        "version": version,
        "storage": storage,
        "edge_effect": edge_effect,
        "accidents": tuple(Accident.parse(text) for text in accident or ()),
    }
    if drug_acts_on:
        values["drug_acts_on"] = tuple(drug_acts_on)
    settings = settings_for(values)
    started = time.perf_counter()
    written = simulate_plate(plate, settings, workers)
    result = {
        "plate": written.storage.url,
        "truth": written.storage.sibling("_truth.zarr").url,
        "wells": len(written.layout.wells),
        "frames": frames,
        "seconds": round(time.perf_counter() - started, 1),
    }
    if as_json:
        print_json(result | {"settings": settings.model_dump()})
        return
    print(f"wrote {result['wells']} wells of {frames} frames in {result['seconds']} s")
    print(f"  plate  {result['plate']}\n  truth  {result['truth']}")


def _grid(wells: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    if rows is not None and columns is not None:
        return rows, columns
    if rows is not None or columns is not None:
        raise SettingsError("--rows and --columns go together", hint="or give --wells alone")
    if wells not in _PLATES:
        known = ", ".join(map(str, _PLATES))
        raise SettingsError(f"no plate has {wells} wells", hint=f"--wells is one of {known}")
    return _PLATES[wells]
