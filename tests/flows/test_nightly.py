"""A night on a real Prefect server: a sub-flow per plate, a summary as artifact, mail and chat."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.policy import default
from pathlib import Path

import cloudpickle
import httpx
import pytest
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows import cancelling
from flows.night_watcher import NightWatcher
from flows.nightly import nightly, run_nightly
from flows.notify import Apprise, Messenger
from flows.watcher import watching
from hcs.errors import MissingError
from hcs.plate.lock import acquire
from hcs.plate.open import open_plate
from hcs.run.night_report import NightReport, PlateRecord
from hcs.run.night_settings import NightSettings
from hcs.settings import Settings, load_settings
from tests.plates import make_plate, still_ground
from tests.runs import wait_until_heard

pytestmark = [
    pytest.mark.integration,
    # Apprise imports it, for pictures in signed mails
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

FEW = still_ground(0, n_frames=2, side=32)


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


def states(report: NightReport) -> dict[str, str]:
    return {Path(plate.url).stem: plate.state for plate in report.plates}


# what the server shows


class Server:
    """What the server's API answers."""

    def __init__(self, api: str) -> None:
        self._api = api

    def filter(self, what: str, **body: object) -> list[dict]:
        answer = httpx.post(f"{self._api}/{what}/filter", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def last_night(self) -> dict:
        found = self.filter(
            "flow_runs", flows={"name": {"any_": ["nightly"]}}, sort="START_TIME_DESC"
        )
        return found[0]

    def bury(self, run: dict) -> None:
        """Call a run that goes on dead, as an automation does."""
        state = {"state": {"type": "CRASHED"}}
        answer = httpx.post(f"{self._api}/flow_runs/{run['id']}/set_state", json=state, timeout=30)
        assert answer.json()["status"] == "ACCEPT"

    def cancel(self, run: dict) -> None:
        """Do what the UI's button does."""
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        url = f"{self._api}/flow_runs/{run['id']}/set_state"
        httpx.post(url, json=state, timeout=30).raise_for_status()

    def sub_flows(self, run: dict) -> dict[str, str]:
        found = self.filter("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"]]}})
        return {one["name"]: one["state"]["name"] for one in found}

    def artifact(self, run: dict) -> dict:
        only = {"flow_run_id": {"any_": [run["id"]]}}
        (artifact,) = self.filter("artifacts", artifacts=only)
        return artifact


@pytest.fixture
def server(prefect_api: str) -> Server:
    return Server(prefect_api)


@contextmanager
def busy(url: Path) -> Iterator[None]:
    make_plate(url, {"A/01": FEW})
    with acquire(open_plate(url).companion, heartbeat_s=0.2):
        yield


@pytest.fixture
def folder(tiny_plate, analysed_plate, tmp_path) -> Path:
    """Return a folder of a plate for each thing that can become of one."""
    folder = tmp_path / "plates"
    folder.mkdir()
    for suffix in (".zarr", ".hcs"):
        shutil.move(analysed_plate.with_suffix(suffix), folder / f"old{suffix}")
    shutil.move(tiny_plate, folder / "tiny.zarr")
    (folder / "tiny.hcs.yaml").write_text("{wells: [A/01, A/02], night: {priority: 1}}")
    next((folder / "tiny.zarr/A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    make_plate(folder / "bad.zarr", {"A/01": still_ground(0, n_frames=1, side=32)})
    (folder / "new.zarr").mkdir()
    return folder


LINE = "1 plate failed, 1 partly done, 1 in use, 1 still arriving, 1 nothing to do"
BECAME = {
    "bad": "failed",
    "tiny": "partly done",
    "busy": "in use",
    "new": "still arriving",
    "old": "nothing to do",
}


def test_a_night_is_seen_in_the_ui_and_told_by_mail_and_chat(server, folder, web_sink, mail_sink):
    (url, posted), (port, mails) = web_sink, mail_sink
    _save_blocks(url, port)
    night = NightSettings(unchanged_min=0, notify=("custom-webhook/screens", "apprise/screens"))
    heard = []
    with busy(folder / "busy.zarr"):
        report = run_nightly(str(folder), here(), night, lambda one: heard.append(one.state))
    assert states(report) == BECAME
    assert heard == ["partly done", "failed", "in use"]
    assert (report.exit_code, report.warnings) == (2, ())

    run = server.last_night()
    assert (run["name"], run["state"]["name"]) == ("plates", "Partial")
    assert run["state"]["message"] == LINE
    plates = {"tiny.zarr": "Partial", "bad.zarr": "Failed", "busy.zarr": "Failed"}
    assert server.sub_flows(run) == plates

    artifact = server.artifact(run)
    assert (artifact["key"], artifact["type"]) == ("plates-night", "markdown")
    assert artifact["description"] == LINE
    assert "| 2 | 1 | 1 | 1 |" in artifact["data"]
    assert "| tiny.zarr | A02 | damaged data | field A/02/0" in artifact["data"]
    link = report.plates[1].link
    assert link.endswith(f"/{_run_of(server, run, 'tiny.zarr')}")
    assert f"[tiny.zarr]({link})" in artifact["data"]

    (chat,), (mail,) = posted, mails
    assert chat["title"] == f"hcs, plates: {LINE}"
    assert chat["text"].endswith(run["id"])
    assert f"Subject: hcs, plates: {LINE.partition(',')[0]}" in mail
    told = "partly done: tiny.zarr: 1 of 2 wells done, 1 failed, 1 in quarantine, "
    assert told in chat["text"]
    assert f"\n  {link}\n" in chat["text"]
    # text alone: its lines are as they were, and wrap where a screen is narrow
    message = message_from_string(mail, policy=default)
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines()[:-1] == chat["text"].splitlines()


def test_a_night_without_new_plates_starts_no_run_and_disturbs_nobody(server, folder, web_sink):
    for name in ("bad", "tiny", "new"):
        shutil.rmtree(folder / f"{name}.zarr")
    url, posted = web_sink
    _save_blocks(url, 1)
    night = NightSettings(notify=("custom-webhook/screens",), notify_on="work")
    before = _times(folder)
    assert states(run_nightly(str(folder), here(), night)) == {"old": "nothing to do"}
    after = _times(folder)
    changed = {Path(name).parent for name in after if after[name] != before.get(name)}
    assert {str(one) for one in changed} == {"hcs.night", "hcs.night/summaries"}
    assert posted == []
    run = server.last_night()
    assert (run["state"]["name"], server.sub_flows(run)) == ("Completed", {})


def _times(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def _save_blocks(url: str, port: int) -> None:
    CustomWebhookNotificationBlock(
        name="screens", url=f"{url}/hook", json_data={"title": "{{subject}}", "text": "{{body}}"}
    ).save("screens", overwrite=True)
    mail = f"mailto://127.0.0.1:{port}/?from=hcs@example.org&to=screens@example.org"
    Apprise(url=mail).save("screens", overwrite=True)


def _run_of(server: Server, run: dict, name: str) -> str:
    found = server.filter("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"]]}})
    return next(one["id"] for one in found if one["name"] == name)


def test_plates_at_once_are_sub_flows_of_one_night(server, tmp_path):
    for name in ("a", "b"):
        make_plate(tmp_path / f"{name}.zarr", {"A/01": FEW})
    settings = here("run.workers=2")
    night = NightSettings(unchanged_min=0, at_once=2)
    assert set(states(run_nightly(str(tmp_path), settings, night)).values()) == {"done"}
    assert server.sub_flows(server.last_night()) == {"a.zarr": "Completed", "b.zarr": "Completed"}


def test_a_night_that_was_taken_for_dead_goes_on_and_its_end_puts_that_right(server, tmp_path):
    for name in ("a", "b"):
        make_plate(tmp_path / f"{name}.zarr", {"A/01": FEW})

    def bury(plate: PlateRecord) -> None:
        if plate.url.endswith("a.zarr"):
            server.bury(server.last_night())

    report = run_nightly(str(tmp_path), here(), NightSettings(unchanged_min=0), bury)
    assert states(report) == {"a": "done", "b": "done"}
    assert server.last_night()["state"]["name"] == "Completed"
    assert set(server.sub_flows(server.last_night()).values()) == {"Completed"}


def test_what_stops_a_night_is_raised_shown_and_sent(server, tmp_path, web_sink):
    url, posted = web_sink
    _save_blocks(url, 1)
    night = NightSettings(notify=("custom-webhook/screens",))
    with pytest.raises(MissingError, match="there is no folder"):
        run_nightly(str(tmp_path / "nowhere"), here(), night)
    assert server.last_night()["state"]["name"] == "Failed"
    assert posted[0]["title"].startswith("hcs: no night in ")


def test_a_deployment_passes_settings_as_plain_values(prefect_api, tmp_path):
    given = {"folder": str(tmp_path), "night": {"until": "07:00"}, "settings": {"channel": "dic"}}
    parameters = nightly.validate_parameters(given)
    assert parameters["night"].until.hour == 7
    assert nightly(**parameters, return_state=True).is_completed()
    assert cloudpickle.loads(cloudpickle.dumps(nightly)).name == "nightly"


def test_a_night_that_was_scheduled_earlier_keeps_its_hour(prefect_api, tmp_path):
    make_plate(tmp_path / "a.zarr", {"A/01": FEW})
    hour = datetime.now() - timedelta(minutes=30)
    night = NightSettings(unchanged_min=0, until=hour.strftime("%H:%M"))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            nightly,
            parameters={},
            state=Scheduled(scheduled_time=hour.astimezone(UTC) - timedelta(hours=3)),
        )
    given = {"folder": str(tmp_path), "night": night, "settings": here()}
    watcher = NightWatcher()
    with watching(watcher):
        run_flow(nightly, run, given, return_type="state")
    assert states(watcher.night) == {"a": "no time left"}


def test_an_api_that_is_gone_costs_no_plate(prefect_api, tmp_path, monkeypatch):
    def gone(*_arguments: object, **_options: object) -> None:
        raise ConnectionError("all connection attempts failed")

    make_plate(tmp_path / "a.zarr", {"A/01": FEW})
    night = NightSettings(unchanged_min=0)
    monkeypatch.setattr("flows.nightly.run_from_command", gone)
    report = run_nightly(str(tmp_path), here(), night)
    assert states(report) == {"a": "done"}
    assert report.warnings[0].startswith("Prefect's API did not answer: ")
    assert report.warnings[0] in (tmp_path / "hcs.night/summary.md").read_text()
    monkeypatch.undo()
    monkeypatch.setattr("flows.nightly.analyse_plate", gone)
    monkeypatch.setattr("flows.nightly.create_markdown_artifact", gone)
    settings = here("ssl.min_area_px=9")
    assert states(run_nightly(str(tmp_path), settings, night)) == {"a": "done"}


# messages


def test_who_was_away_when_the_night_began_sends_its_message_all_the_same(
    prefect_api, tmp_path, web_sink, monkeypatch
):
    def gone(*_arguments: object, **_options: object) -> None:
        raise ConnectionError("all connection attempts failed")

    url, posted = web_sink
    _save_blocks(url, 1)
    make_plate(tmp_path / "a.zarr", {"A/01": FEW})
    night = NightSettings(unchanged_min=0, notify=("custom-webhook/screens",))
    with monkeypatch.context() as away:
        away.setattr("flows.nightly.run_from_command", gone)
        (warning,) = run_nightly(str(tmp_path), here(), night).warnings
    assert warning == "Prefect's API did not answer: this night is not seen there"
    assert warning in posted[-1]["text"]
    # the flow begins, and then it is away for a moment
    load, looks = Block.load, []

    def away_at_first(name: str) -> Block:
        looks.append(name)
        return gone() if len(looks) == 1 else load(name)

    monkeypatch.setattr("flows.notify.Block.load", away_at_first)
    assert run_nightly(str(tmp_path), here(), night).warnings == ()
    assert len(posted) == 2


def test_a_night_that_is_cancelled_tells_itself_how_far_it_was(
    server, tmp_path, web_sink, monkeypatch
):
    url, posted = web_sink
    _save_blocks(url, 1)
    make_plate(tmp_path / "a.zarr", dict.fromkeys(("A/01", "A/02", "A/03"), FEW))
    make_plate(tmp_path / "b.zarr", {"A/01": FEW})
    monkeypatch.setattr(cancelling, "_LOOK_S", 0.2)
    cancelled = []

    def cancel(*_outcome: object) -> None:
        # after the first well
        if not cancelled:
            cancelled.append(server.cancel(server.last_night()))
            wait_until_heard()

    monkeypatch.setattr("flows.progress.Progress.move", cancel)
    night = NightSettings(unchanged_min=0, notify=("custom-webhook/screens",))
    report = run_nightly(str(tmp_path), here("run.wells_in_flight=1"), night)
    a, b = report.plates
    assert (a.state, a.done, a.wells) == ("stopped", 1, 3)
    assert (b.state, b.done, b.wells) == ("stopped", None, None)
    assert server.last_night()["state"]["type"] == "CANCELLED"
    (message,) = posted
    assert message["title"].endswith(": 2 plates stopped")
    assert "stopped: a.zarr: 1 of 3 wells done, " in message["text"]


@pytest.mark.parametrize(
    ("notify_on", "overdue_after_h", "expected"),
    [("always", 72, 1), ("trouble", 72, 0), ("trouble", 0, 1)],
)
def test_quiet_nights_are_told_only_where_that_is_wanted(
    prefect_api, tmp_path, web_sink, notify_on, overdue_after_h, expected
):
    url, posted = web_sink
    _save_blocks(url, 1)
    (tmp_path / "new.zarr").mkdir()
    night = NightSettings(
        notify=("custom-webhook/screens",), notify_on=notify_on, overdue_after_h=overdue_after_h
    )
    run_nightly(str(tmp_path), here(), night)
    assert len(posted) == expected


def test_every_summary_warns_of_who_is_not_told(server, tmp_path, web_sink):
    url, posted = web_sink
    _save_blocks(url, 1)
    CustomWebhookNotificationBlock(name="x", url=f"{url}/refuse", json_data={}).save(
        "refused", overwrite=True
    )
    names = ("slack-webhook/nix", "custom-webhook/refused", "custom-webhook/screens")
    night = NightSettings(notify=names, notify_on="trouble")
    missing = "Prefect has no notification block slack-webhook/nix, or it is damaged"
    refused = "custom-webhook/refused could not send the summary: HTTPStatusError 403"
    assert run_nightly(str(tmp_path), here(), night).warnings == (missing, refused)
    # a warning is trouble, which the blocks that are there tell of
    assert f"warning: {missing}" in posted[-1]["text"]
    newest = (tmp_path / "hcs.night/summary.md").read_text()
    (dated,) = (tmp_path / "hcs.night/summaries").iterdir()
    for text in (newest, dated.read_text(), server.artifact(server.last_night())["data"]):
        assert f"- warning: {missing}\n- warning: {refused}\n" in text


def test_a_message_that_cannot_be_sent_is_a_warning_that_tells_no_secret(
    prefect_api, web_sink, mail_sink
):
    url, posted = web_sink
    token = "s3cr3t-t0ken"
    CustomWebhookNotificationBlock(
        name="x", url=f"{url}/refuse/{token}", json_data={"text": "{{body}}"}
    ).save("refused", overwrite=True)
    Apprise(url=f"mailto://ann:{token}@127.0.0.1:1/?from=a@b.org&to=a@b.org").save(
        "dead", overwrite=True
    )
    Secret(value=token).save("mute", overwrite=True)
    names = ("custom-webhook/refused", "apprise/dead", "secret/mute", "slack-webhook/none")
    messenger = Messenger(names)
    assert messenger.warnings == [
        "block secret/mute sends no messages: name a notification block",
        "Prefect has no notification block slack-webhook/none, or it is damaged",
    ]
    failed = messenger.send("subject", "text")
    assert len(posted) == 1
    assert failed == [
        "custom-webhook/refused could not send the summary: HTTPStatusError 403",
        "apprise/dead could not send the summary: NotificationError",
    ]
    assert token not in str(Block.load("apprise/dead"))
