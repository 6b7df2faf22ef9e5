"""``hcs train``: train a network on frames of plates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hcs.cli.output import JsonOption, local, print_json
from hcs.cli.watched import prepare_prefect
from hcs.errors import SettingsError

if TYPE_CHECKING:
    from hcs.isl.train import Progress
    from hcs.run.prepare import Prepared
    from hcs.run.train import TrainingReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train_command)


def train_command(
    training: Annotated[
        Path | None, typer.Argument(help="YAML file, as `hcs train --explain` prints one")
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=local, help="weights to write, NAME.safetensors"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="any setting, as in recipe.steps=200; again for more"
        ),
    ] = None,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="where it is trained")] = "cpu",
    monitor: Annotated[
        Literal["prefect", "none"], typer.Option(help="who watches the training")
    ] = "prefect",
    explain: Annotated[
        bool, typer.Option("--explain", help="print the settings with their meaning, and end")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a network, or go on where the same training was stopped."""
    from hcs.run.train import look_first
    from hcs.run.training import example_settings, load_training
    from hcs.settings import explain as explained

    if training is None and not explain:
        raise SettingsError(
            "no training was named", hint="`hcs train --explain > training.yaml` begins one"
        )
    settings = load_training(training, set_ or ()) if training else example_settings()
    if explain:
        print(explained(settings), end="")
        return
    if output is None:
        raise SettingsError("no file to write", hint="name one: --output NAME.safetensors")
    prepared = look_first(settings, output, device)
    run = _under_prefect if monitor == "prefect" else _unwatched
    with _bar() as on_progress:
        report = run(prepared, output, device, on_progress)
    if json:
        print_json(_to_json(report))
    else:
        _print(report)


def _unwatched(
    prepared: Prepared,
    output: Path,
    device: Literal["cpu", "gpu"],
    on_progress: Callable[[Progress], None],
) -> TrainingReport:
    from hcs.run.train import train_prepared

    return train_prepared(prepared, output, device, on_progress)


def _under_prefect(
    prepared: Prepared,
    output: Path,
    device: Literal["cpu", "gpu"],
    on_progress: Callable[[Progress], None],
) -> TrainingReport:
    wait_for_server = prepare_prefect()
    from flows.train import run_training

    wait_for_server()
    return run_training(prepared, output, device, on_progress)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Show on a terminal how far the training is; logs get the summary only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from hcs.run.budget import in_words

    console = Console(stderr=True)
    columns = (
        TextColumn("step"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    scores = ""
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def on_progress(progress: Progress) -> None:
            nonlocal scores
            if progress.validation:
                scores = ", " + _listed(progress.validation)
            text = f"loss {progress.loss:.3g}{scores}, {in_words(progress.seconds_left)} left"
            bar.update(task, completed=progress.step, total=progress.steps, description=text)

        yield on_progress


def _print(report: TrainingReport) -> None:
    from hcs.run.budget import in_words
    from hcs.run.train import training_folder

    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    how = f"step {report.card.training.n_steps} was kept, after {in_words(report.seconds)}"
    kept = "was trained already, from the same settings and images"
    print(f"{report.path}: {how if report.state == 'trained' else kept}")
    print(f"scores: {_listed(report.scores) or 'none, no image was left out'}")
    print(f"curves and examples: {training_folder(report.path) / 'index.html'}")


def _listed(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {score:.3f}" for name, score in scores.items())


def _to_json(report: TrainingReport) -> dict[str, Any]:
    return {
        "weights": str(report.path),
        "state": report.state,
        "card": report.card.model_dump(mode="json"),
        "scores": report.scores,
        "curve": [asdict(row) for row in report.curve],
        "warnings": report.warnings,
        "seconds": report.seconds,
    }
