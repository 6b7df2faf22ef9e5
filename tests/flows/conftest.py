"""One Prefect server for the tests of a session, with a home of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import PrefectServer


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Yield a server; this process and those it starts find it by environment."""
    home: Path = tmp_path_factory.mktemp("prefect")
    server = PrefectServer(home)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        for name, value in server.variables.items():
            environment.setenv(name, value)
        stack.callback(server.stop)
        server.start()
        # imported before with other settings, or now with these: both must use this server
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        settings = {PREFECT_API_URL: server.api, PREFECT_HOME: home}
        stack.enter_context(temporary_settings(settings))
        yield server
        from prefect.logging.handlers import APILogWorker

        # what is left to say must be said before the server ends
        APILogWorker.drain_all(timeout=5)


@pytest.fixture
def prefect_api(prefect_server: PrefectServer) -> str:
    """Return the URL of the API."""
    return prefect_server.api
