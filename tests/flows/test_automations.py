"""The automation of docs/nightly.md, as it stands there: Prefect itself tells of a failure."""

import re
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "nightly.md"
NAMED = "SlackWebhook  # or CustomWebhookNotificationBlock, ..."
WITHIN_S = 120


@flow(name="nightly")
def lost() -> None:
    """Fail as a night does that does not even begin."""
    raise RuntimeError("the disk of the plates is gone")


def test_a_night_that_fails_is_told_by_prefect_itself(prefect_api, web_sink):
    url, posted = web_sink
    said = {"title": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="screens", url=f"{url}/hook", json_data=said)
    block.save("screens", overwrite=True)
    code = re.search(r"```python\n(from prefect.automations.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert NAMED in code
    exec(code.replace(NAMED, "CustomWebhookNotificationBlock as SlackWebhook"), {})
    try:
        with pytest.raises(RuntimeError):
            lost()
        end = time.monotonic() + WITHIN_S
        while not posted and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        Automation.read(name="a night is in trouble").delete()
    (message,) = posted
    assert re.fullmatch(r"hcs: [a-z]+-[a-z]+ Failed", message["title"])
    assert "the disk of the plates is gone" in message["text"]
    assert "/runs/flow-run/" in message["text"]
