"""deploy/README.md and docs/nightly.md: what they name is there."""

import re

from hcs.run.night_report import STATES
from hcs.run.night_settings import NightSettings
from tests.deployed import DEPLOY, ROOT, load

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
