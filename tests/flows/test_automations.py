"""The automations of docs/nightly.md, as they stand there: Prefect itself tells of trouble."""

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import State, flow
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed

from tests.runs import HCS, kill_family, wait_for

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "nightly.md"
BLOCKS = re.findall(r"```python\n(from .*?)```", PAGE.read_text(), re.DOTALL)
WITHIN_S = 120


@flow(name="nightly")
def lost() -> None:
    """Fail as a night does that does not even begin."""
    raise RuntimeError("the disk of the plates is gone")


@flow(name="nightly")
def called_off() -> State[Any]:
    """End as a night does that Prefect or somebody cancels."""
    return Cancelled(message="no room for another")


@flow(name="nightly")
def quiet() -> State[Any]:
    """End as a night does that did some of its plates."""
    return Completed(name="Partial", message="1 plate done, 1 partly")


@pytest.fixture
def posted(prefect_api, web_sink) -> Iterator[list[dict]]:
    """Yield what comes out of a web hook, once the automations of the page are there."""
    url, posted = web_sink
    said = {"title": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="screens", url=f"{url}/hook", json_data=said)
    block.save("screens", overwrite=True)
    changed = {
        "notifications import SlackWebhook": "notifications import "
        "CustomWebhookNotificationBlock as SlackWebhook",
        # the least that Prefect takes
        "timedelta(minutes=10)": "timedelta(seconds=10)",
        "timedelta(hours=25)": "timedelta(seconds=10)",
    }
    code = "".join(BLOCKS)
    for old, new in changed.items():
        assert old in code
        code = code.replace(old, new)
    exec(code, {})
    yield posted
    for name in re.findall(r'^    name="(.*)"', code, re.MULTILINE):
        Automation.read(name=name).delete()


def told(posted: list[dict], *titles: str) -> list[str]:
    """Return the texts of the messages that come, one for each pattern of a title."""
    end = time.monotonic() + WITHIN_S
    while len(posted) < len(titles) and time.monotonic() < end:
        time.sleep(0.2)
    texts = dict[str, str]()
    for message in posted:
        (met,) = [title for title in titles if re.fullmatch(title, message["title"])]
        # of one night; a server that answers late is asked again, and tells again
        assert texts.get(met, message["text"]) == message["text"], posted
        assert "/runs/flow-run/" in message["text"]
        texts[met] = message["text"]
    return [texts[title] for title in titles]


def test_a_night_that_fails_or_is_cancelled_is_told_by_prefect_itself(posted):
    with pytest.raises(RuntimeError):
        lost()
    called_off(return_state=True)
    failed, cancelled = told(posted, r"hcs: \S+ Failed", r"hcs: \S+ Cancelled")
    assert "the disk of the plates is gone" in failed
    assert "no room for another" in cancelled


def nobody_takes_up(api: str) -> None:
    """Have a night that should have begun an hour ago."""
    flow_id = httpx.post(f"{api}/flows/", json={"name": "nightly"}, timeout=60).json()["id"]
    due = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
    run = {"flow_id": flow_id, "name": "forgotten", "state": state}
    httpx.post(f"{api}/flow_runs/", json=run, timeout=60).raise_for_status()


def test_nights_that_are_killed_or_never_begin_are_told_by_prefect_itself(
    prefect_api, posted, tmp_path
):
    def has_a_heartbeat() -> bool:
        asked = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        answer = httpx.post(f"{prefect_api}/events/filter", json=asked, timeout=60).json()
        names = [one["resource"]["prefect.resource.name"] for one in answer["events"]]
        return "evening" in names

    # three minutes, says the page
    assert get_current_settings().flows.heartbeat_frequency == 180
    (tmp_path / "evening").mkdir()
    quiet(return_state=True)
    nobody_takes_up(prefect_api)
    # it waits for plates
    until = (datetime.now() + timedelta(hours=3)).strftime("%H:%M")
    waits = ("--until", until, "--set", "night.look_every_min=60")
    night = subprocess.Popen([HCS, "nightly", tmp_path / "evening", *waits])
    try:
        wait_for(has_a_heartbeat, night)
    finally:
        kill_family(night.pid)
        night.wait()
    silence, killed, _late = told(
        posted, "hcs: no night for 25 hours", "hcs: evening Crashed", "hcs: forgotten Late"
    )
    assert "the last that came to its end" in silence
    assert "no heartbeat for ten minutes" in killed
