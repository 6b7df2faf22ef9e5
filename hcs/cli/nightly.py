"""``hcs nightly``: analyse the plates that have arrived in a folder, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hcs.cli.options import as_overrides
from hcs.cli.output import JsonOption, print_json, print_line, print_rows
from hcs.cli.watched import prepare_prefect
from hcs.errors import SettingsError

if TYPE_CHECKING:
    from hcs.run.night import OnPlate
    from hcs.run.night_report import NightReport, PlateRecord
    from hcs.run.night_settings import NightSettings
    from hcs.settings import Settings

# where a flag stands among the settings
_SETTING = {
    "until": "night.until",
    "at_once": "night.at_once",
    "sentinel": "night.sentinel",
    "unchanged_min": "night.unchanged_min",
    "notify": "night.notify",
    "dask": "run.dask",
    "workers": "run.workers",
}
_SETTINGS_HELP = "YAML file, as `hcs settings` prints it, and `night:` as --explain prints it"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nightly")(nightly_command)


def nightly_command(
    folder: Annotated[
        str | None, typer.Argument(help="folder that plates arrive in, or s3://bucket/prefix")
    ] = None,
    *,
    settings: Annotated[Path | None, typer.Option("--settings", help=_SETTINGS_HELP)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="any setting, as in night.margin=1.5; again for more"
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="begin no plate that cannot be done by then, as in 07:00")
    ] = None,
    at_once: Annotated[int | None, typer.Option(help="plates analysed at the same time")] = None,
    sentinel: Annotated[
        str | None, typer.Option(help="file that says that a plate is there, as in {plate}.done")
    ] = None,
    unchanged_min: Annotated[
        float | None, typer.Option(help="or minutes without a change of a complete plate")
    ] = None,
    notify: Annotated[
        list[str] | None, typer.Option(help="Prefect block that gets the summary; again for more")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes")] = None,
    dask: Annotated[str | None, typer.Option(help="where they run, see hcs run")] = None,
    monitor: Annotated[
        Literal["prefect", "none"], typer.Option(help="who watches the night")
    ] = "prefect",
    explain: Annotated[
        bool, typer.Option("--explain", help="print the night's settings and end")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Analyse the plates that have arrived in a folder and are not done, and sum up."""
    wanted, night = _load(
        settings,
        set_ or [],
        until=until,
        at_once=at_once,
        sentinel=sentinel,
        unchanged_min=unchanged_min,
        notify=notify,
        workers=workers,
        dask=dask,
    )
    if explain:
        _explain(night)
        return 0
    if folder is None:
        raise SettingsError("no folder was named", hint="as in `hcs nightly /data/plates`")
    run = _under_prefect if monitor == "prefect" else _unwatched
    report = run(folder, wanted, night, _print_plate)
    if json:
        from hcs.run.night_summary import to_json

        print_json(to_json(report))
    else:
        _print(report)
    return report.exit_code


def _load(
    path: Path | None, overrides: list[str], **flags: object
) -> tuple[Settings, NightSettings]:
    """Return the settings of a file, changed by ``--set`` and then by flags that were given."""
    from hcs.run.night_settings import check_night
    from hcs.settings import check_settings, read_values

    values = read_values(path, [*overrides, *as_overrides(flags, _SETTING)])
    where = str(path) if path else "settings"
    night = check_night(values.pop("night", {}), where)
    return check_settings(values, where), night


def _explain(night: NightSettings) -> None:
    from hcs.settings import explain

    print("night:")
    print("".join(f"  {line}\n" for line in explain(night).splitlines()), end="")


def _unwatched(
    folder: str, settings: Settings, night: NightSettings, on_plate: OnPlate
) -> NightReport:
    from hcs.run.night import run_night

    if night.notify:
        raise SettingsError(
            "night.notify names Prefect's blocks, and Prefect is left out",
            hint="leave --monitor none away, or night.notify",
        )
    return run_night(folder, settings, night, on_plate=on_plate)


def _under_prefect(
    folder: str, settings: Settings, night: NightSettings, on_plate: OnPlate
) -> NightReport:
    from hcs.plate.storage import check_url

    # the server keeps the parameters of flows
    check_url(folder)
    wait_for_server = prepare_prefect()
    from flows.nightly import run_nightly

    wait_for_server()
    return run_nightly(folder, settings, night, on_plate)


def _print_plate(record: PlateRecord) -> None:
    """Say at once what became of a plate: a night is long."""
    why = f": {record.why}" if record.why else ""
    print_line(f"{record.url}: {record.state}{why}", sys.stderr)


def _print(report: NightReport) -> None:
    from hcs.run.budget import in_words
    from hcs.run.night_summary import n_failed, name_in

    rows = [
        {
            "plate": name_in(report.folder, one.url),
            "state": one.state,
            "wells": one.wells,
            "done": one.done,
            "failed": n_failed(one),
            "quarantined": one.quarantined,
            "time": None if one.seconds is None else in_words(one.seconds),
            "why": f"{one.why} ({one.hint})" if one.hint else one.why,
        }
        for one in report.plates
    ]
    print_rows(rows, f"{report.folder}: {report.line}")
    for plate in report.plates:
        for well in plate.failed:
            print_line(f"{plate.url}: {well.line}", sys.stderr)
    for warning in report.warnings:
        print_line(f"warning: {warning}", sys.stderr)
