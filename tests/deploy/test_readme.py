"""deploy/README.md and docs/nightly.md: files that are there, commands that hcs takes."""

import re
import shlex

import pytest
from typer.main import get_command

from hcs.cli.main import build_app
from hcs.run.night_report import STATES
from hcs.run.night_settings import NightSettings
from hcs.simulate.settings import settings_for
from tests.deployed import DEPLOY, ROOT

README = (DEPLOY / "README.md").read_text()
NIGHTLY = (ROOT / "docs/nightly.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README + NIGHTLY, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
# whatever starts it: a path, docker compose exec, kubectl exec
HCS = re.compile(r"(?:^|[ /])hcs (nightly|simulate|run)( .*)")
COMMANDS = sorted({found.group(1, 2) for line in LINES if (found := HCS.search(line))})


def test_there_are_commands_to_look_at():
    assert {name for name, _ in COMMANDS} == {"nightly", "simulate"}
    assert len(COMMANDS) > 6


@pytest.mark.parametrize(("name", "rest"), COMMANDS)
def test_hcs_takes_the_commands(name, rest):
    arguments = shlex.split(rest.partition("\n")[0], comments=True)
    command = get_command(build_app()).commands[name]
    taken = command.make_context(name, arguments).params
    if name == "simulate":
        assert taken["wells"] == 6
        assert settings_for({key: taken[key] for key in ("frames", "size")}).size == 256


@pytest.mark.parametrize("text", [README, NIGHTLY], ids=["deploy/README.md", "docs/nightly.md"])
def test_links_lead_somewhere(text):
    folder = DEPLOY if text is README else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (folder / target).exists(), target


def test_files_that_are_named_are_there():
    named = set(re.findall(r"(?<!hcs/)((?:dask|slurm|kubernetes)/[\w./-]+)", README))
    assert len(named) > 8
    assert [name for name in named if not (DEPLOY / name.rstrip("./")).exists()] == []


def test_services_and_deployments_that_are_named_are_there():
    compose = (DEPLOY / "compose.yaml").read_text()
    for service in set(re.findall(r"compose (?:--profile s3 )?(?:exec|logs) ([a-z0-9-]+)", README)):
        assert f"\n  {service}:\n" in compose, service
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
