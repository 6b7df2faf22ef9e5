"""Secrets go nowhere: canaries in every place that holds one, and none where anything is told."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hcs.cli.main import main
from hcs.errors import EXIT_FAILED, HcsError, PlateError
from hcs.plate.arrivals import find_plates
from hcs.plate.open import open_plate
from hcs.plate.storage import Storage
from hcs.run.calls import Call, start_call
from hcs.run.log import listen
from hcs.run.outcome import failure_of
from hcs.shown import HIDDEN, hide_in, shown
from tests.plates import make_plate, moving_cells
from tests.runs import HCS
from tests.security.canaries import Canaries, files_below, watched

SECRET = "s3cr3t0123456789"

SAID = [
    (
        "https://bucket.example/a?X-Amz-Signature=SECRET&X-Amz-Date=1",
        "https://bucket.example/a?***",
    ),
    ("GET 'https://me:SECRET@host/a' failed", "GET 'https://***@host/a' failed"),
    ("s3://SECRET@bucket/a", "s3://***@bucket/a"),
    ("/a?X-Amz-Security-Token=SECRET", "/a?X-Amz-Security-Token=***"),
    ("sig=SECRET&se=1", "sig=***&se=1"),
    ("Authorization: Bearer SECRET", "Authorization: Bearer ***"),
    ("https://hooks.slack.com/services/T0/B0/SECRET", "https://hooks.slack.com/services/***"),
    ("https://discord.com/api/webhooks/1/SECRET", "https://discord.com/api/webhooks/***"),
    ("password: SECRET, user: me", "password: ***, user: me"),
    ("{'aws_secret_access_key': 'SECRET'}", "{'aws_secret_access_key': '***'}"),
    ('{"password": "a, SECRET", "user": "me"}', '{"password": "***", "user": "me"}'),
    (r'"{\"password\": \"SECRET\"}"', r'"{\"password\": \"***\"}"'),
    ("{'token': b'SECRET'}", "{'token': '***'}"),
    ("secret='it\"s SECRET' (1)", "secret='***' (1)"),
    ("aws_secret_access_key=SECRET x", "aws_secret_access_key=*** x"),
    ("x-api-key: SECRET", "x-api-key: ***"),
    ("SLURM_JWT=SECRET", "SLURM_JWT=***"),
    ("Authorization: Token SECRET", "Authorization: Token ***"),
    ("Authorization: Other SECRET\nnext", "Authorization: ***\nnext"),
    ("{'Authorization': 'Token SECRET', 'a': 1}", "{'Authorization': 'Token ***', 'a': 1}"),
    ("https://me:i@t'sSECRET@host/a@b", "https://***@host/a@b"),
]


@pytest.mark.parametrize(("text", "expected"), SAID)
def test_what_holds_a_secret_is_hidden_and_the_rest_stays(text, expected):
    assert shown(text.replace("SECRET", SECRET)) == expected
    assert shown(expected) == expected


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_AUTH_STRING", "SMTP_PASSWORD",
        "PREFECT_API_DATABASE_CONNECTION_URL", "SLACK_WEBHOOK_URL", "PREFECT_API_KEY", "SLURM_JWT",
    ],
)  # fmt: skip
def test_values_of_secret_variables_are_hidden_wherever_they_stand(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)
    assert shown(f"a{SECRET}b") == f"a{HIDDEN}b"


def test_a_secret_that_begins_as_another_does_is_hidden_to_its_end(monkeypatch):
    monkeypatch.setenv("A_PASSWORD", SECRET)
    monkeypatch.setenv("B_PASSWORD", f"{SECRET}-tail")
    assert shown(f"{SECRET}-tail, {SECRET}") == f"{HIDDEN}, {HIDDEN}"


def test_a_password_is_hidden_also_without_its_user(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{SECRET}")
    assert shown(f"401 for {SECRET}, admin") == f"401 for {HIDDEN}, admin"


def test_plain_texts_stay_as_they_are(monkeypatch):
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/secrets/token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    plain = "test: s3://plates/a b.zarr/B/03?, token 5 is out, 3 = 1 + 2\n/run/secrets/token µm²"
    assert shown(plain) == plain


REPEATED = [
    "x", "x-amz-", "x-goog-a", "://", "a://a", "://?", "://a@", "://x/services/", "password",
    "password ", "password=", "secret: '", "authorization: ", "Bearer ", "?", "'", "\n",
]  # fmt: skip


@pytest.mark.parametrize("part", REPEATED)
def test_no_text_of_a_million_letters_holds_up_a_process(monkeypatch, part):
    # whole: what is quadratic takes an hour, with the process in its hands
    monkeypatch.setattr("hcs.shown._LONGEST", 2 * 10**6)
    text = part * (10**6 // len(part))
    assert HIDDEN in shown(f"{text} sig={SECRET}")


@pytest.mark.parametrize("end", [f"https://me:{SECRET}@host/a", f"sig={SECRET}", SECRET])
def test_a_text_that_nobody_reads_to_its_end_ends_with_a_whole_word(monkeypatch, end):
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    for left in range(len(end) + 2):
        begun = shown(f"well {'x' * (30_000 - 6 - left)} {end} {'x' * 10**6}")
        assert begun.endswith(" letters)")
        assert len(begun) < 30_100
        assert SECRET[:4] not in begun


def test_a_name_of_a_mega_letter_is_told_shortly(tmp_path):
    make_plate(tmp_path / "p.zarr", {"A/01": moving_cells(0)})
    path = tmp_path / "p.zarr/.zattrs"
    path.write_text(path.read_text().replace("A/01", "x" * 2**20))
    with pytest.raises(PlateError, match=r"letters\)$") as caught:
        open_plate(tmp_path / "p.zarr")
    assert len(str(caught.value)) < 100_000


def test_errors_logs_and_failures_hide_it(monkeypatch):
    import logging

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert SECRET not in str(HcsError(f"key {SECRET}", hint=f"not {SECRET}"))
    assert SECRET not in failure_of(RuntimeError(f"key {SECRET}")).message
    with listen() as lines:
        logging.getLogger("hcs.plate").warning("key %s", SECRET)
    assert lines == ["WARNING key ***"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"https://host/a?sig={SECRET}"),
        OSError(5, f"https://host/a?sig={SECRET}", f"https://host/b?sig={SECRET}"),
        KeyError(f"token={SECRET}"),
    ],
)
def test_errors_of_libraries_hide_it_with_all_that_led_to_them(error):
    outer = ValueError(f"password={SECRET}")
    outer.__cause__ = error
    hide_in(outer)
    assert SECRET not in f"{outer} {error} {error!r}"
    assert HIDDEN in str(error)


def test_a_worker_raises_nothing_that_tells_it(tmp_path):
    from hcs.run.attempts import Attempts

    attempts = Attempts(Storage.open(tmp_path / "a.hcs"), 1, 3)
    with pytest.raises(RuntimeError, match=r"a\?\*\*\*") as caught:
        start_call(Call("A/1/0", _leak, ()), attempts)
    assert SECRET.encode() not in pickle.dumps(caught.value)


def _leak() -> None:
    raise RuntimeError(f"https://host/a?sig={SECRET}")


@pytest.mark.parametrize(
    "url",
    [f"s3://bucket/a.zarr?X-Amz-Signature={SECRET}", f"s3://me:{SECRET}@bucket/a.zarr",
     f"https://host/a.zarr?sig={SECRET}", f"s3://{SECRET}@bucket/a.zarr"],
)  # fmt: skip
def test_urls_of_plates_with_secrets_are_refused_without_telling_them(url):
    for use in (open_plate, Storage.open, find_plates):
        with pytest.raises(PlateError, match="holds no password and no query") as caught:
            use(url)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("command", ["run", "nightly"])
def test_a_url_with_a_secret_is_refused_before_prefect_hears_of_it(command, capsys):
    with pytest.raises(SystemExit, match="1"):
        main([command, f"s3://bucket/a.zarr?X-Amz-Signature={SECRET}"])
    told = capsys.readouterr()
    assert "the URL of a plate holds no password" in told.err
    assert "Prefect" not in told.err
    assert SECRET not in told.out + told.err


def test_a_command_that_ends_unexpectedly_tells_none():
    pytest.importorskip("s3fs")
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://me:{SECRET}@ho st:9/"}
    command = [HCS, "status", "s3://bucket/a.zarr"]
    ended = subprocess.run(command, env=environment, capture_output=True)
    assert ended.returncode == EXIT_FAILED
    assert b"Invalid endpoint: http://***@ho st:9/" in ended.stderr
    assert SECRET.encode() not in ended.stdout + ended.stderr


def test_names_of_files_with_question_marks_are_no_queries(tmp_path):
    assert Storage.open(tmp_path / "what?.zarr").name == "what?"
    assert Storage.open("s3://bucket/what?.zarr").name == "what?"


LEAKY = '''
import logging, os

def segment(frames):
    """Fail as libraries do: with all that they know."""
    said = (
        f"GET https://bucket.example/a?X-Amz-Signature={os.environ['CANARY_SIGNATURE']} failed: "
        f"Authorization: Bearer {os.environ['CANARY_BEARER']}, "
        + ", ".join(f"{k} {v}" for k, v in os.environ.items() if "SECRET" in k or "TOKEN" in k)
        + f" {os.environ['SMTP_PASSWORD']} {os.environ['PREFECT_API_AUTH_STRING']}"
        + f" {os.environ['PREFECT_API_DATABASE_CONNECTION_URL']}"
    )
    logging.getLogger("hcs.leaky").warning("%s", said)
    raise RuntimeError(said)
'''


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Return a folder with an installed segmenter that tells all secrets it can find."""
    folder = tmp_path / "packages"
    about = folder / "leaky-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "leaky.py").write_text(LEAKY)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hcs.segmenters]\nleaky = leaky:segment\n")
    return folder


BLOCKS = """
import sys
from flows.notify import Apprise
from prefect.blocks.notifications import CustomWebhookNotificationBlock
mail, dead, web, token = sys.argv[1:]
Apprise(url=mail).save("mail")
Apprise(url=dead).save("dead")
data = {"text": "{{subject}}: {{body}}"}
# as docs/nightly.md has it: Prefect tells the address itself in its feed of events
hook = {"url": web + "/hook/{{token}}", "secrets": {"token": token}}
CustomWebhookNotificationBlock(name="x", json_data=data, **hook).save("hook")
"""
MESSAGES = "night.notify=[apprise/mail, apprise/dead, custom-webhook/hook]"


@pytest.fixture
def environment(guarded_server, canaries: Canaries, leaky: Path) -> dict[str, str]:
    """Return what an operator's shell holds: all the secrets there are."""
    path = os.pathsep.join([str(leaky), os.environ.get("PYTHONPATH", "")])
    return {**guarded_server.environment, **canaries.environment(), "PYTHONPATH": path}


@pytest.fixture
def messages(environment, canaries, web_sink, mail_sink) -> tuple[list[str], list[dict]]:
    """Return the mails and posts that come in at addresses that only Prefect's blocks know."""
    (web, posts), (port, mails) = web_sink, mail_sink
    mail = f"mailto://127.0.0.1:{port}/?from=a@b.org&to=a@b.org"
    dead = f"mailto://ann:{canaries['mail']}@127.0.0.1:1/?from=a@b.org&to=a@b.org"
    command = [sys.executable, "-c", BLOCKS, mail, dead, web, canaries["webhook"]]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return mails, posts


@pytest.mark.integration
def test_no_secret_of_a_night_is_told_anywhere(
    environment, messages, canaries, guarded_home, s3_bucket, tmp_path
):
    folder = f"{s3_bucket}/{tmp_path.name}"
    url = f"{folder}/good.zarr"
    make_plate(url, {"A/01": moving_cells(0), "A/02": moving_cells(1)})
    options = ["night.unchanged_min=0", MESSAGES, "methods=[leaky]", "run.workers=1"]
    command = [HCS, "nightly", folder, *(part for one in options for part in ("--set", one))]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environment, **output) as run, watched(run.pid) as seen:
        told, _ = run.communicate(timeout=500)
    assert run.returncode == EXIT_FAILED, told.decode()
    mails, posts = messages
    status = subprocess.run([HCS, "status", url, "--json"], env=environment, capture_output=True)
    table = open_plate(url).table("quarantine").to_json().encode()
    places = {"terminal": told, "arguments": "\n".join(seen.arguments).encode()}
    places |= {"mails": "".join(mails).encode(), "posts": json.dumps(posts).encode()}
    places |= {"status": status.stdout + status.stderr, "quarantine": table}
    places |= {f"Prefect's {name}": part for name, part in files_below(guarded_home).items()}
    for storage in (Storage.open(url), Storage.open(url).sibling(".hcs")):
        places |= {f"{storage.url}/{key}": storage.read(key) for key in storage.sizes()}
    assert canaries.found(places) == {}
    # that these are the places where such errors are told
    database = b"".join(part for name, part in places.items() if name.startswith("Prefect"))
    assert b"GET https://bucket.example/a?***" in database
    assert b"GET https://bucket.example/a?***" in places["status"]
    assert b"unexpected error" in places["quarantine"]
    assert b"dead could not send" in told
    assert b"1 plate failed" in places["mails"] + places["posts"]


BREAKING = """
import os, sys
import hcs.run.analyse
from hcs.cli.main import main

step = sys.argv.pop(1)

def breaks(*_, **__):
    url = f"https://bucket.example/{step}?X-Amz-Signature="
    raise RuntimeError(f"GET {url}{os.environ['CANARY_SIGNATURE']} failed")

setattr(hcs.run.analyse, step, breaks)
main()
"""


@pytest.mark.integration
@pytest.mark.parametrize("step", ["make_plan", "finish"])
def test_no_secret_is_told_where_a_run_breaks_outside_its_workers(
    environment, canaries, guarded_home, tmp_path, step
):
    url = tmp_path / f"{step}.zarr"
    make_plate(url, {"A/01": moving_cells(0)})
    command = [sys.executable, "-c", BREAKING, step, "run", url, "--dask", "none"]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert ended.returncode == EXIT_FAILED, ended.stderr.decode()
    places = {"stdout": ended.stdout, "stderr": ended.stderr, **files_below(guarded_home)}
    assert canaries.found(places) == {}
    # that these are the places where such an error is told
    words = f"RuntimeError: GET https://bucket.example/{step}?*** failed".encode()
    assert words in ended.stderr
    assert any(words in content for content in files_below(guarded_home).values())
