"""A Prefect server that asks for a password, and what lies on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.canaries import Canaries
from tests.servers import PrefectServer


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def guarded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the server keeps its database and its log."""
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def guarded_server(guarded_home: Path, canaries: Canaries) -> Iterator[PrefectServer]:
    """Yield a server with a password, as deploy/ sets it up."""
    server = PrefectServer(guarded_home)
    password = f"admin:{canaries['prefect']}"
    server.variables |= {
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_API_AUTH_STRING": password,
    }
    server.start()
    yield server
    server.stop()
