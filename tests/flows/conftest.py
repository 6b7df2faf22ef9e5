"""One Prefect server for the tests of a session, with a home of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
_WITHIN_S = 90


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of the API; this process and those it starts find it by environment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    home: Path = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        for name, value in _QUIET.items():
            environment.setenv(name, value)
        environment.setenv("PREFECT_HOME", str(home))
        log = stack.enter_context((home / "server.log").open("wb"))
        server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
        stack.callback(server.wait, 20)
        stack.callback(server.terminate)
        environment.setenv("PREFECT_API_URL", url)
        _wait_for(url, server, home / "server.log")
        # imported before with other settings, or now with these: both must use this server
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        stack.enter_context(temporary_settings({PREFECT_API_URL: url, PREFECT_HOME: home}))
        yield url
        from prefect.logging.handlers import APILogWorker

        # what is left to say must be said before the server ends
        APILogWorker.drain_all(timeout=5)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=1).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError(f"Prefect's server did not start (pid {os.getpid()}): {log.read_text()}")
