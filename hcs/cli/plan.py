"""``hcs plan``, ``why`` and ``settings``: say what would be done, and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hcs.cli.options import (
    Channel,
    Device,
    Interval,
    Memory,
    Methods,
    PixelSize,
    Plate,
    Set,
    SettingsFile,
    Weights,
    Wells,
    Workers,
    load,
)
from hcs.cli.output import JsonOption, print_json, print_rows, print_warnings
from hcs.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from hcs.plate.open import Plate as OpenPlate
    from hcs.plate.path import WellPath
    from hcs.run.plan import Plan
    from hcs.settings import Settings

    # by well and name of the step
    _Failed = Mapping[tuple[WellPath, str], str]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("plan")(plan_command)
    app.command("why")(why_command)
    app.command("settings")(settings_command)


def plan_command(
    plate: Plate,
    *,
    settings: SettingsFile = None,
    set_: Set = None,
    well: Wells = None,
    channel: Channel = None,
    method: Methods = None,
    weights: Weights = None,
    pixel_size_um: PixelSize = None,
    interval_s: Interval = None,
    device: Device = None,
    workers: Workers = None,
    memory: Memory = None,
    json: JsonOption = False,
) -> int:
    """Say what a run would do and why, what it would read and write, and whether it fits."""
    from hcs.run.cluster import worker_memory
    from hcs.run.plan import check_fit, with_batch_that_fits

    wanted = load(
        settings,
        set_,
        well=well,
        channel=channel,
        method=method,
        weights=weights,
        pixel_size_um=pixel_size_um,
        interval_s=interval_s,
        device=device,
        workers=workers,
        memory=memory,
    )
    plan, failed = _plan(plate, wanted)
    worker_bytes = worker_memory(plan.run)
    plan = with_batch_that_fits(plan, worker_bytes)
    rows = _plan_rows(plan, failed)
    if json:
        print_json(_plan_to_json(plan, rows))
    else:
        print_rows(rows, f"{plate}: channel {plan.channel!r}" if plan.channel else plate)
        print(_in_all(plan))
        print_warnings(plan.warnings)
    check_fit(plan, worker_bytes)
    return EXIT_FAILED if plan.is_hopeless else EXIT_DONE


def why_command(
    plate: Plate,
    well: Annotated[str, typer.Argument(help="as in B/03")],
    *,
    settings: SettingsFile = None,
    set_: Set = None,
    channel: Channel = None,
    method: Methods = None,
    weights: Weights = None,
    pixel_size_um: PixelSize = None,
    interval_s: Interval = None,
    json: JsonOption = False,
) -> None:
    """Say in words why each step of a well would be done, or would not."""
    wanted = load(
        settings,
        set_,
        well=[well],
        channel=channel,
        method=method,
        weights=weights,
        pixel_size_um=pixel_size_um,
        interval_s=interval_s,
    )
    plan, failed = _plan(plate, wanted)
    rows = _plan_rows(plan, failed, every_step=True)
    if json:
        print_json(rows)
    else:
        print_rows(rows, f"{plate}, well {well}")


def settings_command(
    plate: Annotated[
        str | None, typer.Argument(help="print what a night would analyse this plate with")
    ] = None,
    *,
    folder: Annotated[
        str | None, typer.Option(help="that the night watches; the plate's own if not given")
    ] = None,
    settings: SettingsFile = None,
    set_: Set = None,
    json: JsonOption = False,
) -> None:
    """Print all settings with their meaning and source, as a file to edit."""
    from hcs.settings import explain

    wanted = load(settings, set_)
    if plate:
        wanted = _of_night(plate, folder, wanted)
    if json:
        print_json(wanted.model_dump(mode="json"))
    else:
        print(explain(wanted), end="")


def _of_night(plate: str, folder: str | None, given: Settings) -> Settings:
    from hcs.plate.arrivals import absolute, parent_of
    from hcs.run.overrides import settings_of

    url = absolute(plate)
    own = settings_of(url, absolute(folder) if folder else parent_of(url), given)
    if not own.files:
        print("no hcs.yaml changes the settings of this plate", file=sys.stderr)
    for file in own.files:
        print(f"changed by {file}", file=sys.stderr)
    return own.settings


def _plan(plate: str, settings: Settings) -> tuple[Plan, _Failed]:
    """Return what is to be done, and what failed before; the plate is opened once."""
    from hcs.plate.open import open_plate
    from hcs.run.plan import make_plan

    opened = open_plate(plate, **settings.calibration.model_dump())
    return make_plan(opened, settings), _failed_steps(opened)


def _failed_steps(plate: OpenPlate) -> _Failed:
    """Return why steps failed when they were last tried, as `hcs status` has it."""
    from hcs.run.status import plate_status

    return {
        (well.well, step): f"; failed last time, {well.failure.cause}: {well.failure.message}"
        for well in plate_status(plate).wells
        for step, state in well.steps.items()
        if state == "failed" and well.failure
    }


def _plan_rows(plan: Plan, failed: _Failed, *, every_step: bool = False) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for well in plan.wells:
        if well.failure:
            rows.append(
                {
                    "well": str(well.well),
                    "step": "-",
                    "state": "failed",
                    "why": well.failure.message,
                }
            )
        rows += [
            {
                "well": str(well.well),
                "step": status.step.name,
                "state": status.state,
                "why": status.why + failed.get((well.well, status.step.name), ""),
            }
            for status in (well.statuses if every_step else well.todo)
        ]
    return rows


def _plan_to_json(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "plate": plan.url,
        "channel": plan.channel,
        "steps": rows,
        "wells_to_do": sum(bool(well.todo) for well in plan.wells),
        "wells": len(plan.wells),
        "bytes_read": sum(well.bytes_read for well in plan.wells),
        "bytes_written": sum(well.bytes_written for well in plan.wells),
        "files_written": sum(well.files_written for well in plan.wells),
        "memory_per_worker": plan.memory_per_worker,
        "warnings": plan.warnings,
    }


def _in_all(plan: Plan) -> str:
    todo = sum(bool(well.todo) for well in plan.wells)
    read = sum(well.bytes_read for well in plan.wells) / 1e9
    written = sum(well.bytes_written for well in plan.wells) / 1e9
    return (
        f"{todo} of {len(plan.wells)} wells to do; reads {read:.3g} GB of pixels, "
        f"writes about {written:.2g} GB; about {plan.memory_per_worker / 1e9:.2g} GB per worker"
    )
