"""A flow that Prefect serves runs in a process that Prefect starts, from a pickle."""

import subprocess
import sys

import cloudpickle

from flows.analyse import analyse_plate

READ = """
import pickle, sys
flow = pickle.load(sys.stdin.buffer)
given = flow.validate_parameters({"plate": "x.zarr", "settings": {"channel": "dic"}})
print(type(given["settings"]).__module__, given["settings"].channel)
"""


def test_a_served_flow_knows_its_settings_in_a_new_process():
    content = cloudpickle.dumps(analyse_plate)
    read = subprocess.run([sys.executable, "-c", READ], input=content, capture_output=True)
    assert read.returncode == 0, read.stderr.decode()
    assert read.stdout.decode().split() == ["hcs.settings", "dic"]
