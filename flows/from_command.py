"""Flows that a command starts, as runs of a deployment.

Prefect's UI lets people cancel runs of deployments only: the button of any other run is grey.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Pending

_NAME = "command-line"
_ABOUT = (
    "Runs that somebody started by `hcs`. They can be cancelled here, and not be started: nobody "
    "would take them up."
)


def run_from_command(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    """Run a flow in this thread; its state, whatever it is, is shown and not raised.

    Parameters
    ----------
    flow : Flow
    parameters : dict
        Of the flow, as Python has them.

    Raises
    ------
    PrefectException, httpx.HTTPError, OSError, RuntimeError
        If Prefect's API does not answer.
    """
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(flow), _NAME, description=_ABOUT)
        run = client.create_flow_run_from_deployment(
            deployment, parameters=flow.serialize_parameters(parameters), state=Pending()
        )
    run_flow(flow, run, parameters, return_type="state")
