"""``hcs status``, ``verify`` and ``prune``: look after a plate that was, is or will be analysed."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hcs.cli.options import Plate, Wells
from hcs.cli.output import JsonOption, print_json, print_line, print_rows

if TYPE_CHECKING:
    from hcs.run.history import RunRecord
    from hcs.run.prune import Pruning
    from hcs.run.status import PlateStatus, WellStatus
    from hcs.run.verify import Damage, Verified


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status_command)
    app.command("verify")(verify_command)
    app.command("prune")(prune_command)


def status_command(plate: Plate, *, json: JsonOption = False) -> None:
    """Say how a plate stands, also while it is worked on: wells, steps, who holds it, last run."""
    from hcs.plate.open import open_plate
    from hcs.run.status import plate_status

    status = plate_status(open_plate(plate))
    if json:
        print_json(_status_to_json(status))
        return
    counted = Counter(well.state for well in status.wells)
    told = ", ".join(f"{number} {state}" for state, number in counted.items())
    print_line(f"{plate}: {told or 'no wells'}")
    if status.marked:
        print_line(f"steps: {', '.join(status.marked)}")
    print_line(_lock_line(status))
    if status.run:
        print_line(_run_line(status.run, counted["done"]))
    rows = [_status_row(well) for well in status.wells if well.state != "done"]
    if rows:
        print_rows(rows)
    if status.quarantine:
        print_rows(status.quarantine, "quarantine:")
    if status.problem:
        print_line(f"quarantine: {status.problem}")


def verify_command(
    plate: Plate,
    *,
    well: Wells = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="let hcs run make anew what is damaged: withdraw its markers"
        ),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Read everything back: what was written against its digests, the input's chunks decoded."""
    from hcs.plate.lock import acquire
    from hcs.plate.open import open_plate
    from hcs.run.plan import select_wells
    from hcs.run.verify import verify_plate, withdraw

    opened = open_plate(plate)
    wells = select_wells(opened, tuple(well or ()))
    if repair:
        with acquire(opened.companion) as lock:
            found = verify_plate(opened, wells, lock.token)
            found = replace(found, withdrawn=withdraw(opened, found.damages, lock.token))
    else:
        found = verify_plate(opened, wells)
    rows = [_damage_row(one, one.left_to_do if repair else one.cure) for one in found.damages]
    if json:
        told = {"plate": found.url, "wells": list(map(str, found.wells)), "damages": rows}
        told |= {"withdrawn": [{"well": w and str(w), "step": step} for w, step in found.withdrawn]}
        print_json(told | {"warnings": found.warnings, "exit_code": found.exit_code})
        return found.exit_code
    for warning in found.warnings:
        print_line(f"warning: {warning}", sys.stderr)
    hurt = {damage.well for damage in found.damages if damage.well}
    print_line(f"{plate}: {len(found.wells)} wells read back, {len(hurt)} with damage")
    if rows:
        print_rows(rows)
    if repair:
        print_line(_repair_line(plate, found))
    return found.exit_code


def prune_command(
    plate: Plate,
    *,
    step: Annotated[
        list[str] | None, typer.Option("--step", help="as `hcs status` names it; again for more")
    ] = None,
    well: Wells = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and stop")] = False,
    json: JsonOption = False,
) -> None:
    """Remove what steps made: label images, tables, predicted stains, markers; never the input."""
    from hcs.plate.lock import acquire
    from hcs.plate.open import open_plate
    from hcs.run.plan import select_wells
    from hcs.run.prune import check_found, check_named, plan_pruning, prune

    opened, steps = open_plate(plate), step or ()
    check_named(opened, steps)
    wells = select_wells(opened, tuple(well or ()))
    if dry_run:
        pruning = plan_pruning(opened, wells, steps)
    else:
        with acquire(opened.companion) as lock:
            pruning = plan_pruning(opened, wells, steps)
            prune(opened, pruning, lock.token)
    check_found(opened, pruning)
    if json:
        told = {"plate": plate, "dry_run": dry_run, "stale": pruning.stale}
        rows = [asdict(r) | {"well": str(r.well), "field": str(r.field)} for r in pruning.removals]
        print_json(told | {"removals": rows})
        return
    print_rows(_removal_rows(pruning), f"{plate}: {'would remove' if dry_run else 'removed'}")
    if pruning.stale:
        print_line(f"to be done again by the next run: {', '.join(pruning.stale)}")


def _removal_rows(pruning: Pruning) -> list[dict[str, Any]]:
    rows = dict[tuple[str, str], dict[str, Any]]()
    for one in pruning.removals:
        empty = {"step": one.step, "what": one.what, "fields": 0, "files": 0, "MB": 0.0}
        row = rows.setdefault((one.step, one.what), empty)
        row["fields"] += one.field is not None
        row["files"] += one.n_files
        row["MB"] += one.n_bytes / 1e6
    return list(rows.values())


def _repair_line(plate: str, found: Verified) -> str:
    from hcs.plate.problems import some

    if not found.withdrawn:
        return "nothing withdrawn: no step is damaged"
    n, names = len(found.withdrawn), [f"{well or 'plate'} {step}" for well, step in found.withdrawn]
    cures = dict.fromkeys(one.left_to_do for one in found.damages if one.part == "step")
    now = ", ".join(cures).replace("hcs run", f"hcs run {plate}")
    return f"{n} step{'s' if n > 1 else ''} withdrawn: {some(names)}; now: {now}"


def _damage_row(damage: Damage, cure: str) -> dict[str, Any]:
    return {
        "well": str(damage.well) if damage.well else None,
        "field": str(damage.field) if damage.field else None,
        "of": damage.name or damage.part,
        "what": damage.what,
        "cure": cure,
    }


def _lock_line(status: PlateStatus) -> str:
    claim = status.lock.claim
    if claim is None:
        return "nobody works on it"
    who = f"{claim.holder} on {claim.host} since {claim.since}"
    if status.lock.state == "dead":
        return f"{who} was killed; the next run goes on"
    return f"held by {who}"


def _run_line(run: RunRecord, done_now: int) -> str:
    if run.ended is None:
        return f"the latest run: begun {run.begun}, no end"
    told = f"the latest run: begun {run.begun}, {run.ended.seconds:.0f} s"
    told += f", exit code {run.ended.exit_code}, {run.ended.done} wells done"
    if done_now < run.ended.done:
        told += " then; results were taken back since"
    return f"{told}; tables: {run.ended.failure}" if run.ended.failure else told


def _status_row(well: WellStatus) -> dict[str, Any]:
    why = f"{well.failure.message} ({well.failure.hint})" if well.failure else None
    return {"well": str(well.well), **well.steps, "why": why}


def _status_to_json(status: PlateStatus) -> dict[str, Any]:
    run = status.run
    return {
        "plate": status.url,
        "lock": asdict(status.lock),
        "run": asdict(run) | {"ended": run.ended and run.ended.model_dump()} if run else None,
        "steps": status.steps,
        "wells": [
            {
                "well": str(well.well),
                "state": well.state,
                "steps": well.steps,
                "failure": asdict(well.failure) if well.failure else None,
            }
            for well in status.wells
        ],
        "tables_finished": status.finished,
        "quarantine": status.quarantine,
        "problem": status.problem,
    }
