"""``hcs run``: analyse a plate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hcs.cli.options import (
    Channel,
    Dask,
    Device,
    Interval,
    Memory,
    Methods,
    PixelSize,
    Plate,
    Set,
    SettingsFile,
    Timeout,
    Weights,
    Wells,
    Workers,
    load,
)
from hcs.cli.output import JsonOption, print_json, print_warnings
from hcs.errors import SettingsError

if TYPE_CHECKING:
    from hcs.run.outcome import Report, WellOutcome
    from hcs.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run_command)


def run_command(
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
    dask: Dask = None,
    timeout: Timeout = None,
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
        dask=dask,
        timeout=timeout,
    )
    _look_first(plate, wanted)
    plate = _with_output(plate, output, "copied" if with_pixels else "linked")
    run = _under_prefect if monitor == "prefect" else _unwatched
    with _bar() as on_outcome:
        report = run(plate, wanted, on_outcome)
    if json:
        print_json(_report_to_json(report))
    else:
        _print_report(report)
    return report.exit_code


def _look_first(plate: str, settings: Settings) -> None:
    """Refuse what cannot be done before a server is started or a plate is made for it."""
    from hcs.plate.open import open_plate
    from hcs.run.plan import look_first

    look_first(open_plate(plate, **settings.calibration.model_dump()), settings)


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
    print_warnings(report.warnings)
    for outcome in report.failed:
        print(outcome.line, file=sys.stderr)
    if report.failure:
        told = f"{report.failure.message} ({report.failure.hint})"
        print(f"tables of the plate failed: {told}", file=sys.stderr)
    print(f"{report.plate}: {', '.join(counted) or 'no wells'} in {report.seconds:.1f} s")
    if report.outputs:
        print("results:", *report.outputs, sep="\n  ")


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
