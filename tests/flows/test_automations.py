"""The automations of docs/nightly.md, as they stand there: Prefect itself tells of trouble."""

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import get_current_settings

from tests.runs import HCS, kill_family, wait_for

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "nightly.md"
BLOCKS = re.findall(r"```python\n(from .*?)```", PAGE.read_text(), re.DOTALL)
WITHIN_S = 120


@flow(name="nightly")
def lost() -> None:
    """Fail as a night does that does not even begin."""
    raise RuntimeError("the disk of the plates is gone")


@pytest.fixture
def posted(prefect_api, web_sink) -> Iterator[list[dict]]:
    """Yield what comes out of a web hook, once the automations of the page are there."""
    url, posted = web_sink
    said = {"title": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="screens", url=f"{url}/hook", json_data=said)
    block.save("screens", overwrite=True)
    changed = {
        "SlackWebhook  # or CustomWebhookNotificationBlock, ...": "CustomWebhookNotificationBlock "
        "as SlackWebhook",
        # the least that Prefect takes
        "timedelta(minutes=10)": "timedelta(seconds=10)",
    }
    code = "".join(BLOCKS)
    for old, new in changed.items():
        assert old in code
        code = code.replace(old, new)
    exec(code, {})
    yield posted
    for name in re.findall(r'^    name="(.*)"', code, re.MULTILINE):
        Automation.read(name=name).delete()


def told(posted: list[dict]) -> dict:
    """Return the one message that comes."""
    end = time.monotonic() + WITHIN_S
    while not posted and time.monotonic() < end:
        time.sleep(0.2)
    (message,) = posted
    assert "/runs/flow-run/" in message["text"]
    return message


def test_a_night_that_fails_is_told_by_prefect_itself(posted):
    with pytest.raises(RuntimeError):
        lost()
    message = told(posted)
    assert re.fullmatch(r"hcs: [a-z]+-[a-z]+ Failed", message["title"])
    assert "the disk of the plates is gone" in message["text"]


def test_a_night_that_is_killed_outright_is_told_by_prefect_itself(prefect_api, posted, tmp_path):
    def has_a_heartbeat() -> bool:
        asked = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        answer = httpx.post(f"{prefect_api}/events/filter", json=asked, timeout=60).json()
        names = [one["resource"]["prefect.resource.name"] for one in answer["events"]]
        return "evening" in names

    # three minutes, says the page
    assert get_current_settings().flows.heartbeat_frequency == 180
    (tmp_path / "evening").mkdir()
    # it waits for plates
    until = (datetime.now() + timedelta(hours=3)).strftime("%H:%M")
    waits = ("--until", until, "--set", "night.look_every_min=60")
    night = subprocess.Popen([HCS, "nightly", tmp_path / "evening", *waits])
    try:
        wait_for(has_a_heartbeat, night)
    finally:
        kill_family(night.pid)
        night.wait()
    message = told(posted)
    assert message["title"] == "hcs: evening Crashed"
    assert "no heartbeat for ten minutes" in message["text"]
