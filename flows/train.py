"""The training of one network as a Prefect flow: a bar with the time that is left, its pictures.

The flow only shows what `hcs.run.train` does; a checkpoint on disk says how far it is. Runs from
Python, from ``hcs train``, and as a deployment::

    from flows.train import train_network

    train_network.serve(name="train")  # parameters: settings, output, device

Annotations are real here, not postponed: Prefect sends a served flow to a new process, where it
reads them without the names of this module.
"""

from pathlib import Path
from typing import Any, Literal

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.curves import Curves
from flows.progress import API_ERRORS, Artifacts
from flows.trainee import Trainee, current_trainee
from flows.watcher import watching
from hcs.errors import HcsError
from hcs.run.prepare import Prepared
from hcs.run.train import OnProgress, TrainingReport, look_first, train_prepared
from hcs.run.training import TrainingSettings
from hcs.shown import hide_in


def run_training(
    prepared: Prepared,
    output: Path,
    device: Literal["cpu", "gpu"] = "cpu",
    on_progress: OnProgress | None = None,
) -> TrainingReport:
    """Train a network under Prefect, and return the report even where Prefect fails.

    Parameters
    ----------
    prepared : Prepared
        Of `hcs.run.train.look_first`: what is wrong is said before Prefect is asked for anything.
    output : Path
    device : {"cpu", "gpu"}
    on_progress : callable or None
        As in `hcs.run.train.train_prepared`.

    Raises
    ------
    HcsError
        As `hcs.run.train.train_prepared` does.
    """
    trainee = Trainee(on_progress=on_progress, prepared=prepared)
    try:
        with watching(trainee):
            train_network(prepared.settings, str(output), device, return_state=True)
    except API_ERRORS as error:
        Artifacts("").warn(error)
    if trainee.error:
        raise trainee.error
    # the API was gone before the flow could begin, or ended it on the way
    return trainee.trained or train_prepared(prepared, output, device, on_progress)


def _run_name() -> str:
    return Path(str(flow_run.parameters.get("output", "network"))).name


@flow(name="train", flow_run_name=_run_name, retries=0)
def train_network(
    settings: TrainingSettings, output: str, device: Literal["cpu", "gpu"] = "cpu"
) -> State[Any]:
    """Train one network.

    Parameters
    ----------
    settings : TrainingSettings
        Those of ``hcs train --explain``; paths are those of the machine that trains.
    output : str
        The weights file to write.
    device : {"cpu", "gpu"}
    """
    trainee = current_trainee()
    curves = Curves(settings.name, Path(output))

    def on_progress(progress: Any) -> None:  # noqa: ANN401 - its type would load torch
        curves.move(progress)
        if trainee.on_progress:
            trainee.on_progress(progress)

    try:
        prepared = trainee.prepared or look_first(settings, Path(output), device)
        with curves.showing():
            report = train_prepared(prepared, Path(output), device, on_progress)
    except HcsError as error:
        trainee.error = error
        return Failed(message=str(error))
    except Exception as error:
        # Prefect tells of it
        hide_in(error)
        raise
    trainee.trained = report
    curves.finish(report)
    return Completed(message=f"{report.path.name} {report.state}")
