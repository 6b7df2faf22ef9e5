"""``hcs run``, ``plan``, ``why`` and ``settings``: analyse a plate, and say what would be done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hcs.cli.output import JsonOption, print_json, print_rows
from hcs.errors import EXIT_DONE, EXIT_FAILED, SettingsError

if TYPE_CHECKING:
    from hcs.run.outcome import Report, WellOutcome
    from hcs.run.plan import Plan
    from hcs.settings import Settings

# what fits on a screen beside the results
_WARNINGS_SHOWN = 20

# where a flag stands among the settings
_SETTING = {
    "well": "wells",
    "channel": "channel",
    "method": "methods",
    "weights": "isl.weights",
    "device": "run.device",
    "pixel_size_um": "calibration.pixel_size_um",
    "interval_s": "calibration.interval_s",
    "workers": "run.workers",
    "memory": "run.memory_per_worker",
    "dask": "run.dask",
    "timeout": "run.timeout_s",
}

_Plate = Annotated[str, typer.Argument(help="plate, a path or s3:// URL")]
_File = Annotated[
    Path | None, typer.Option("--settings", help="YAML file, as `hcs settings` prints it")
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="any setting, as in ssl.min_area_px=20"),
]
_Wells = Annotated[list[str] | None, typer.Option("--well", help="as in B/03; again for more")]
_Channel = Annotated[str | None, typer.Option(help="label-free channel")]
_Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="ssl, isl or an installed segmenter; again for more"),
]
_Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", help="trained network; adds isl to the methods; again for more"),
]
_Device = Annotated[
    Literal["cpu", "gpu", "any"] | None, typer.Option(help="where networks run; cpu if not given")
]
_PixelSize = Annotated[float | None, typer.Option(help="where the plate does not tell it")]
_Interval = Annotated[float | None, typer.Option(help="where the plate does not tell it")]
_Workers = Annotated[int | None, typer.Option(help="worker processes; one per processor")]
_Memory = Annotated[str | None, typer.Option(help="limit of each worker, as in 4GB")]
_Dask = Annotated[
    str | None,
    typer.Option(help="local, none, slurm, kubernetes, or the address of a scheduler"),
]
_Timeout = Annotated[float | None, typer.Option(help="seconds for one well, or span of frames")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run_command)
    app.command("plan")(plan_command)
    app.command("why")(why_command)
    app.command("settings")(settings_command)


def run_command(
    plate: _Plate,
    *,
    settings: _File = None,
    set_: _Set = None,
    well: _Wells = None,
    channel: _Channel = None,
    method: _Methods = None,
    weights: _Weights = None,
    pixel_size_um: _PixelSize = None,
    interval_s: _Interval = None,
    device: _Device = None,
    workers: _Workers = None,
    memory: _Memory = None,
    dask: _Dask = None,
    timeout: _Timeout = None,
    monitor: Annotated[
        Literal["prefect", "none"], typer.Option(help="who watches the run")
    ] = "prefect",
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PLATE", help="put results into a plate of their own beside the input"
        ),
    ] = None,
    with_pixels: Annotated[
        bool, typer.Option("--with-pixels", help="copy the input's pixels into --output")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Analyse a plate: do what is missing or whose settings changed."""
    wanted = _load(
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
        dask=dask,
        timeout=timeout,
    )
    plate = _with_output(plate, output, "copied" if with_pixels else "linked")
    run = _under_prefect if monitor == "prefect" else _unwatched
    with _bar() as on_outcome:
        report = run(plate, wanted, on_outcome)
    if json:
        print_json(_report_to_json(report))
    else:
        _print_report(report)
    return report.exit_code


def plan_command(
    plate: _Plate,
    *,
    settings: _File = None,
    set_: _Set = None,
    well: _Wells = None,
    channel: _Channel = None,
    method: _Methods = None,
    weights: _Weights = None,
    pixel_size_um: _PixelSize = None,
    interval_s: _Interval = None,
    device: _Device = None,
    workers: _Workers = None,
    memory: _Memory = None,
    json: JsonOption = False,
) -> int:
    """Say what a run would do and why, what it would read and write, and whether it fits."""
    from hcs.run.cluster import worker_memory
    from hcs.run.plan import check_fit, with_batch_that_fits

    wanted = _load(
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
    plan = _plan(plate, wanted)
    worker_bytes = worker_memory(plan.run)
    plan = with_batch_that_fits(plan, worker_bytes)
    rows = _plan_rows(plan)
    if json:
        print_json(_plan_to_json(plan, rows))
    else:
        print_rows(rows, f"{plate}: channel {plan.channel!r}" if plan.channel else plate)
        print(_in_all(plan))
        _print_warnings(plan.warnings)
    check_fit(plan, worker_bytes)
    return EXIT_FAILED if plan.is_hopeless else EXIT_DONE


def why_command(
    plate: _Plate,
    well: Annotated[str, typer.Argument(help="as in B/03")],
    *,
    settings: _File = None,
    set_: _Set = None,
    channel: _Channel = None,
    method: _Methods = None,
    weights: _Weights = None,
    pixel_size_um: _PixelSize = None,
    interval_s: _Interval = None,
    json: JsonOption = False,
) -> None:
    """Say in words why each step of a well would be done, or would not."""
    wanted = _load(
        settings,
        set_,
        well=[well],
        channel=channel,
        method=method,
        weights=weights,
        pixel_size_um=pixel_size_um,
        interval_s=interval_s,
    )
    plan = _plan(plate, wanted)
    rows = _plan_rows(plan, every_step=True)
    if json:
        print_json(rows)
    else:
        print_rows(rows, f"{plate}, well {well}")


def settings_command(
    *, settings: _File = None, set_: _Set = None, json: JsonOption = False
) -> None:
    """Print all settings with their meaning and source, as a file to edit."""
    from hcs.settings import explain

    wanted = _load(settings, set_)
    if json:
        print_json(wanted.model_dump(mode="json"))
    else:
        print(explain(wanted), end="")


def _load(path: Path | None, overrides: Sequence[str] | None, **flags: object) -> Settings:
    """Return the settings of a file, changed by ``--set`` and then by flags that were given."""
    import yaml

    from hcs.settings import load_settings

    given = {_SETTING[flag]: value for flag, value in flags.items() if value not in (None, [])}
    written = [f"{key}={yaml.safe_dump(v, default_flow_style=True)}" for key, v in given.items()]
    changes = [*(overrides or ()), *written]
    wanted = load_settings(path, changes)
    if "isl.weights" in given and "isl" not in wanted.methods:
        return load_settings(path, [*changes, f"methods=[{', '.join((*wanted.methods, 'isl'))}]"])
    return wanted


def _with_output(plate: str, output: str | None, pixels: Literal["linked", "copied"]) -> str:
    """Return the plate that results go into; make it, where it is not the input itself."""
    if output is None:
        if pixels == "copied":
            raise SettingsError(
                "--with-pixels says what --output holds", hint="give --output PLATE"
            )
        return plate
    from hcs.plate.open import open_plate
    from hcs.plate.output import make_output

    return make_output(open_plate(plate), output, pixels).storage.url


def _plan(plate: str, settings: Settings) -> Plan:
    from hcs.plate.open import open_plate
    from hcs.run.plan import make_plan

    return make_plan(open_plate(plate, **settings.calibration.model_dump()), settings)


def _unwatched(plate: str, settings: Settings, on_outcome: Callable[..., None]) -> Report:
    from hcs.run.analyse import analyse

    return analyse(plate, settings, on_outcome=on_outcome)


def _under_prefect(plate: str, settings: Settings, on_outcome: Callable[..., None]) -> Report:
    from hcs.cli.watched import prepare_prefect
    from hcs.plate.storage import check_url

    # the server keeps the parameters of flows
    check_url(plate)
    wait_for_server = prepare_prefect()
    from flows.analyse import run_flow

    wait_for_server()
    return run_flow(plate, settings, on_outcome)


@contextmanager
def _bar() -> Iterator[Callable[..., None]]:
    """Show on a terminal how far the run is; logs get the summary only."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    failed: set[str] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("wells", total=None)

        def on_outcome(outcome: WellOutcome, through: int, wells: int) -> None:
            if outcome.failure:
                failed.add(str(outcome.well))
            text = f"wells, {len(failed)} failed" if failed else "wells"
            progress.update(bar, completed=through, total=wells, description=text)

        yield on_outcome


def _print_report(report: Report) -> None:
    states = [outcome.state for outcome in report.outcomes]
    counted = [f"{states.count(name)} {name}" for name in dict.fromkeys(states)]
    _print_warnings(report.warnings)
    for outcome in report.failed:
        print(outcome.line, file=sys.stderr)
    if report.failure:
        told = f"{report.failure.message} ({report.failure.hint})"
        print(f"tables of the plate failed: {told}", file=sys.stderr)
    print(f"{report.plate}: {', '.join(counted) or 'no wells'} in {report.seconds:.1f} s")
    if report.outputs:
        print("results:", *report.outputs, sep="\n  ")


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings[:_WARNINGS_SHOWN]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > _WARNINGS_SHOWN:
        print(f"warning: {len(warnings) - _WARNINGS_SHOWN} more, see --json", file=sys.stderr)


def _report_to_json(report: Report) -> dict[str, Any]:
    return {
        "plate": report.plate,
        "exit_code": report.exit_code,
        "done": [str(well) for well in report.done],
        "wells": [
            asdict(outcome) | {"well": str(outcome.well), "log": list(outcome.log)}
            for outcome in report.outcomes
        ],
        "outputs": report.outputs,
        "failure": asdict(report.failure) if report.failure else None,
        "warnings": report.warnings,
        "seconds": report.seconds,
    }


def _plan_rows(plan: Plan, *, every_step: bool = False) -> list[dict[str, Any]]:
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
                "why": status.why,
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
