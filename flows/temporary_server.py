"""Prefect's server for the length of one command, where none is configured.

Prefect would start one by itself, in the middle of things, and leave it behind where the command
is killed. This one is started first, so that it comes up while other things are imported, and it
holds the end of a pipe whose other end only the command holds: it ends when the command does,
however that comes about, and not before. Slurm's `scancel` and a machine that goes down send their
SIGTERM to every process, and the command has to tell this one yet what became of the run.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

# a laptop that was asleep takes long
_WITHIN_S = 60.0
_END_S = 10.0


def has_server() -> bool:
    """Return whether Prefect's settings, wherever they stand, name a server."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def start_server() -> Callable[[], None]:
    """Start a server that lives as long as this process, and tell Prefect of it.

    Returns
    -------
    callable
        To be called before Prefect is asked for anything. It returns when the server answers, or
        is not expected to any more: then Prefect fails as with any server that is gone.
    """
    from prefect.context import refresh_global_settings_context

    # held from here on: nobody else gets the port while the server starts
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _spawn(listener)
        port = listener.getsockname()[1]
    # after Prefect's own threads, which end before and have something left to say
    atexit.register(_end, server)
    api = f"http://127.0.0.1:{port}/api"
    # it shows nothing, and a link to it would lead nowhere in the morning
    os.environ |= {"PREFECT_API_URL": api, "PREFECT_UI_URL": ""}
    refresh_global_settings_context()
    return lambda: _wait_for(f"{api}/health", server)


def _spawn(listener: socket.socket) -> subprocess.Popen[bytes]:
    number = listener.fileno()
    # -P: a folder named flows where the user stands is not ours
    command = [sys.executable, "-P", "-m", "flows.temporary_server", str(number)]
    # not reached by Ctrl-C
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=[number]
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.stdin:
        server.stdin.close()
    try:
        server.wait(_END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    import httpx

    end = time.monotonic() + _WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(url, timeout=_WITHIN_S).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)


def _serve(listener: socket.socket) -> None:
    """Be the server, until the one who started it is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    import uvicorn

    # its UI takes long to start
    os.environ |= {"PREFECT_SERVER_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="critical",
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    # it takes signals only in the main thread
    serving = threading.Thread(target=server.run, args=([listener],), daemon=True)
    serving.start()
    serving.join()


def _end_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(_END_S)
    # its services did not end
    os._exit(1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
