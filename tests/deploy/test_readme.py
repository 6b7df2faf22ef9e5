"""deploy/README.md and docs/nightly.md: what they name is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hcs.plate.open import open_plate
from hcs.run.night_report import STATES
from hcs.run.night_settings import NightSettings
from tests.deployed import DEPLOY, ROOT, in_containers, load

README = (DEPLOY / "README.md").read_text()
NIGHTLY = (ROOT / "docs/nightly.md").read_text()


def test_files_that_are_named_are_there():
    named = set(re.findall(r"(?<!hcs/)((?:dask|slurm|kubernetes)/[\w./-]+)", README))
    assert len(named) > 8
    assert [name for name in named if not (DEPLOY / name.rstrip("./")).exists()] == []


def test_services_and_deployments_that_are_named_are_there():
    services = set(
        re.findall(r"compose (?:--profile \w+ )?(?:exec|logs) (?:-T )?([a-z0-9-]+)", README)
    )
    assert len(services) > 2
    assert services <= set(load("compose.yaml")["services"])
    flows = (DEPLOY / "prefect.yaml").read_text()
    for flow, deployment in re.findall(r"deployment run (\w+)/(\w+)", README):
        assert f"entrypoint: flows.{flow}.{flow}\n" in flows
        assert f"- name: {deployment}\n" in flows


def test_settings_and_states_that_are_named_are_there():
    for name in set(re.findall(r"`night\.(\w+)`", README + NIGHTLY)):
        assert name in {*NightSettings.model_fields, "priority"}, name
    told = set(re.findall(r"`((?:still|in|no|nothing) [a-z ]+)`", README + NIGHTLY))
    assert told
    assert told <= set(STATES)


def test_deployments_are_sent_from_the_file_that_people_change():
    lines = [line for line in README.splitlines() if "prefect --no-prompt deploy" in line]
    assert len(lines) == 5
    ends = {re.search(r"(?:compose exec -T|exec -i) .*' < (\S+)$", line)[1] for line in lines}
    # compose's steps run in deploy/, the others in the root
    assert ends == {"prefect.yaml", "deploy/prefect.yaml"}


@pytest.mark.integration
def test_a_plate_to_see_that_it_works_with_is_made_where_the_nights_look(s3_bucket):
    """Containers that have plates on S3 have no folder for them."""
    simulate = {line for line in README.splitlines() if "exec" in line and "hcs simulate" in line}
    assert len(simulate) == 2
    (command,) = in_containers("hcs simulate")
    making = set(re.findall(r'exec .* python -c "(import s3fs.*?)"', README))
    (bucket,) = {code.replace("'plates'", "'plates-of-the-readme'") for code in making}
    subprocess.run([sys.executable, "-c", bucket], check=True, timeout=120)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HCS_PLATES": "s3://plates-of-the-readme"}
    subprocess.run(["sh", "-c", command], env=environment, check=True, timeout=300)
    assert len(open_plate("s3://plates-of-the-readme/try.zarr").layout.wells) == 6


def test_a_new_version_reaches_dask_on_kubernetes_before_it_is_asked_for_a_night():
    """Its operator changes no pod that is there: the cluster goes first, with all its own."""
    (steps,) = re.findall(r"^# Kubernetes: build.*?```", README, re.MULTILINE | re.DOTALL)
    order = [
        "delete daskcluster hcs --ignore-not-found --cascade=foreground",
        "apply -k $OVERLAY",
        "rollout status deploy/prefect-server && ",
        "rollout status deploy/prefect-worker\n",
        "deploy --all",
    ]
    assert [steps.count(step) for step in order] == [1] * len(order)
    assert sorted(order, key=steps.index) == order
    # by hand in one place, for whichever overlay
    assert re.findall(r"apply -k (\S+)", README) == ["$OVERLAY", "$OVERLAY"]
