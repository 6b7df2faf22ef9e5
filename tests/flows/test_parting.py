"""Processes end, whether Prefect's API listens or not."""

import os
import socket
import subprocess
import sys

import pytest

# something is left to tell, and each time it is tried for two minutes
HURRIED = """
import sys
from prefect.events import emit_event
from hcs.cli import main, watched

for number in range(100):
    emit_event("hcs.told", resource={"prefect.resource.id": str(number)})
watched._PARTING_S = 1.0
sys.argv = ["hcs", "settings"]
main.main()
"""


@pytest.mark.integration
def test_a_command_ends_though_the_api_hangs(tmp_path):
    with socket.socket() as listener:
        # takes connections, and answers nobody
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        api = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        variables = {"PREFECT_API_URL": api, "PREFECT_HOME": str(tmp_path)}
        ended = subprocess.run(
            [sys.executable, "-c", HURRIED],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert ended.returncode == 0, ended.stderr
    assert "methods:" in ended.stdout
    assert "Prefect's API did not listen to the end" in ended.stderr
