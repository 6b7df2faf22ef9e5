"""Prefect's server as an operator starts it, to be killed and started again by tests."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.runs import kill_family

# on a machine that others use, too
_WITHIN_S = 300
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class PrefectServer:
    """A server of Prefect with a home, a port and a database of its own, which outlive it."""

    def __init__(self, home: Path) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.api = f"{self.address}/api"
        self.variables = {
            **_QUIET,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_UI_API_URL": self.api,
        }
        self._home, self._port = home, port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which programs find it."""
        return {**os.environ, **self.variables}

    def start(self) -> None:
        """Start, and return when it answers."""
        self._home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)], env=self.environment, stdout=log, stderr=log
            )
        end = time.monotonic() + _WITHIN_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(f"{self.api}/health", timeout=5).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                time.sleep(0.3)
        raise RuntimeError(f"Prefect's server does not start: {self._log.read_text()}")

    def ask(self, what: str, **body: object) -> list[dict[str, Any]]:
        """Return flow runs, artifacts or the like that a filter lets through."""
        answer = httpx.post(f"{self.api}/{what}/filter", json=body, timeout=_WITHIN_S)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def stop(self) -> None:
        """End it as an operator does."""
        if self._process:
            self._process.terminate()
            self._process.wait(_WITHIN_S)

    def kill(self) -> None:
        """Kill it."""
        if self._process:
            kill_family(self._process.pid)
            self._process.wait(_WITHIN_S)

    def hold(self) -> None:
        """Let it take connections, and answer nobody."""
        assert self._process, "it was not started"
        main = psutil.Process(self._process.pid)
        for one in (main, *main.children(recursive=True)):
            one.suspend()

    @property
    def _log(self) -> Path:
        return self._home / "server.log"
