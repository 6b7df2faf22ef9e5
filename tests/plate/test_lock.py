import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hcs.errors import LockedError, WriteError
from hcs.plate import lock
from hcs.plate.lock import Lock, acquire, check_token
from hcs.plate.storage import Storage

BEAT_S = 0.1
# of a holder that is dead; one that lives is given more, a beat may take long on a busy machine
STALE_S, PATIENT_S = 0.5, 60.0


@pytest.fixture
def companion(root_url: str) -> Storage:
    return Storage.open(f"{root_url}/demo.hcs")


@pytest.fixture
def local_companion(tmp_path: Path) -> Storage:
    """For what starts processes: on S3 they do the same, and take seconds to import it."""
    return Storage.open(tmp_path / "demo.hcs")


def take(companion: Storage, stale_s: float = PATIENT_S) -> Lock:
    return acquire(companion, heartbeat_s=BEAT_S, stale_s=stale_s)


# holds the lock, says its token, waits for a line, then says whether the token is still good
_HOLDER = """
import sys
from hcs.errors import LockedError
from hcs.plate.lock import acquire
from hcs.plate.storage import Storage
try:
    lock = acquire(Storage.open(sys.argv[1]), heartbeat_s=0.1, stale_s=60.0)
except LockedError as error:
    sys.exit(f"refused: {error}")
print(lock.token, flush=True)
sys.stdin.readline()
try:
    lock.check()
    print("held", flush=True)
except LockedError as error:
    print(error, flush=True)
sys.stdin.readline()
lock.release()
"""

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start(local_companion: Storage) -> Iterator[Start]:
    processes = []

    def run() -> "subprocess.Popen[str]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", _HOLDER, local_companion.url]
        processes.append(subprocess.Popen(command, text=True, **pipes))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_one_run_at_a_time_and_tokens_grow(companion: Storage) -> None:
    for token in (1, 2, 3):
        with take(companion) as held:
            assert held.token == token
            held.check()
            with pytest.raises(LockedError, match=rf"demo is locked by .*process {os.getpid()}\)"):
                take(companion)
        with pytest.raises(LockedError, match=f"no longer held by token {token} .its run has end"):
            check_token(companion, token)
    assert list(companion.sizes("lock")) == ["lock/00000003.json"]


def test_the_error_names_holder_host_and_time(companion: Storage) -> None:
    with take(companion), pytest.raises(LockedError) as caught:
        take(companion)
    for words in (f"on {os.uname().nodename}", "since 20", "UTC", "wait until it has finished"):
        assert words in str(caught.value)


def test_the_lock_is_released_when_the_run_fails(companion: Storage) -> None:
    with pytest.raises(ZeroDivisionError), take(companion):
        raise ZeroDivisionError
    take(companion).release()


def test_a_heart_that_beats_keeps_the_lock(companion: Storage) -> None:
    with take(companion) as held:
        before, end = companion.read("lock/00000001.json"), time.monotonic() + PATIENT_S
        while companion.read("lock/00000001.json") == before:
            assert time.monotonic() < end
            time.sleep(BEAT_S)
        held.check()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let who waits for the lock do so by a clock that only its sleeping moves."""
    naps = list[float]()

    def sleep(seconds: float) -> None:
        assert len(naps) < 1000
        naps.append(seconds)

    clock = SimpleNamespace(monotonic=lambda: sum(naps), sleep=sleep)
    monkeypatch.setattr(lock, "time", clock)
    return naps


def test_a_dead_holder_is_taken_over_within_a_minute_wherever_it_was(
    companion: Storage, naps: list[float]
) -> None:
    assert max(lock.STALE_S, 3 * lock.HEARTBEAT_S) + lock.HEARTBEAT_S < 60
    silent = lock.Claim("somebody", "elsewhere", "yesterday", "", lock.HEARTBEAT_S)
    companion.write("lock/00000001.json", lock._to_json(silent))
    acquire(companion).release()
    assert lock.STALE_S <= sum(naps) < 60


def test_a_holder_sweeps_what_was_left_beside_older_claims_only(local_companion: Storage) -> None:
    for token in (1, 2):
        with take(local_companion):
            left = f"lock/.{token:08d}.json.killed.partial"
            Path(local_companion.url, left).touch()
    assert sorted(local_companion.sizes("lock")) == [left, "lock/00000002.json"]


def test_a_holder_sweeps_what_one_left_that_was_killed_just_before_its_claim(
    local_companion: Storage,
) -> None:
    local_companion.write("lock/.00000001.json.killed.partial", b"")
    with take(local_companion) as held:
        assert (held.token, list(local_companion.sizes("lock"))) == (1, ["lock/00000001.json"])


def test_who_loses_its_temporary_file_to_a_faster_one_is_told_who_that_is(
    companion: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(itself: Storage, key: str, content: bytes) -> bool:
        itself.write(key, content.replace(b'"holder": "', b'"holder": "a faster '))
        raise WriteError(f"cannot write {key}: No such file or directory")

    monkeypatch.setattr(type(companion), "create", too_late)
    with pytest.raises(LockedError, match="is locked by a faster "):
        take(companion)


def test_a_full_disk_is_told_of_as_such(
    companion: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise WriteError("no space left to write lock/00000001.json")

    monkeypatch.setattr(type(companion), "create", full)
    with pytest.raises(WriteError, match="no space left"):
        take(companion)


def test_a_claim_that_is_taken_away_is_noticed(companion: Storage) -> None:
    with take(companion) as held:
        companion.delete("lock")
        with pytest.raises(LockedError, match="no longer held by token 1"):
            held.check()


def test_a_damaged_claim_is_taken_over_when_it_is_stale(
    companion: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "_UNKNOWN", lock.Claim("an unknown process", "", "", "", BEAT_S))
    companion.write("lock/00000007.json", b"{")
    with caplog.at_level(logging.WARNING), take(companion, STALE_S) as held:
        assert held.token == 8
    assert "took over plate demo from an unknown process, which is dead" in caplog.text


@pytest.mark.parametrize("heartbeat_s", ["1e9", "1e400", "NaN", "-1", "0", "1e-300"])
def test_a_claim_whose_heart_beats_never_or_without_rest_is_a_damaged_one(
    companion: Storage, naps: list[float], heartbeat_s: str
) -> None:
    claim = lock._to_json(lock.Claim("somebody", "elsewhere", "yesterday", "", 123))
    companion.write("lock/00000007.json", claim.replace(b"123", heartbeat_s.encode()))
    with acquire(companion) as held:
        assert held.token == 8
    assert lock.STALE_S <= sum(naps) < 60


def test_a_file_that_is_numbered_in_other_digits_is_no_claim(companion: Storage) -> None:
    companion.write("lock/\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}.json", b"{}")
    companion.write("lock/\N{ARABIC-INDIC DIGIT NINE}.json", b"{}")
    with take(companion) as held:
        assert held.token == 1


def test_a_claim_without_end_is_a_damaged_one(
    companion: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_UNKNOWN", lock.Claim("an unknown process", "", "", "", BEAT_S))
    companion.write("lock/00000007.json", b" " * 100_000)
    with take(companion, STALE_S) as held:
        assert held.token == 8


@pytest.mark.parametrize("process", ["a b ../../tmp/x d", "a b 1;2 d", "a b \N{SUPERSCRIPT TWO} d"])
def test_a_claim_names_no_file_as_its_process(
    process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[Path]()
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: looked.append(path) or read(path))
    lock._process_name(process.split()[2])
    assert looked == []


def test_a_number_that_was_swept_free_is_not_taken_for_the_highest(
    companion: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with take(companion) as first:
        pass
    # between our look and our claim, others came and went: 2 is gone, 3 is held
    seen = iter([first.token, 3])
    monkeypatch.setattr(lock, "_highest", lambda companion: next(seen, 3))
    companion.write("lock/00000003.json", b"{}")
    with pytest.raises(LockedError, match="locked by an unknown process"):
        take(companion)
    assert "lock/00000002.json" not in companion.sizes("lock")


def test_a_claim_that_is_swept_while_it_is_read_gives_way_to_the_next(
    companion: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(companion).release()
    # the next one comes and sweeps just after the list was read, each time that we look
    seen = iter([2, 1])
    monkeypatch.setattr(lock, "_highest", lambda companion: next(seen, 2))
    companion.write("lock/00000002.json", companion.read("lock/00000001.json"))
    companion.delete("lock/00000001.json")
    with pytest.raises(LockedError, match=rf"locked by .* \(process {os.getpid()}\)"):
        take(companion)


@pytest.mark.integration
def test_of_many_processes_exactly_one_wins(start: Start) -> None:
    processes = [start() for _ in range(4)]
    tokens = []
    for process in processes:
        assert process.stdout
        tokens.append(process.stdout.readline().strip())
        if not tokens[-1]:
            assert process.stderr
            assert "refused: plate demo is locked by" in process.stderr.read()
    assert sorted(tokens) == ["", "", "", "1"]


@pytest.mark.integration
def test_a_killed_holder_is_taken_over_at_once(local_companion: Storage, start: Start) -> None:
    process = start()
    assert process.stdout
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with acquire(local_companion, heartbeat_s=BEAT_S, stale_s=600) as held:
        assert held.token == 2
    assert time.monotonic() - began < 30


@pytest.mark.integration
def test_a_killed_holder_elsewhere_is_taken_over_when_stale(
    local_companion: Storage, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    assert process.stdout
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(lock, "_process_name", lambda pid: "")
    began = time.monotonic()
    with take(local_companion, STALE_S) as held:
        assert held.token == 2
    assert time.monotonic() - began >= STALE_S


@pytest.mark.integration
def test_a_stopped_holder_wakes_up_and_finds_itself_out(
    local_companion: Storage, start: Start
) -> None:
    process = start()
    assert process.stdout
    assert process.stdin
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGSTOP)
    with take(local_companion, STALE_S) as held:
        assert held.token == 2
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert "plate demo was taken over by" in process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(60) == 0
        held.check()


def test_a_release_that_finds_no_room_is_a_warning(
    companion: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise WriteError("no space left to write lock/00000001.json")

    lock = take(companion)
    with monkeypatch.context() as disk:
        disk.setattr(type(companion), "write", full)
        lock.release()
    assert "the plate's lock stays until this process ends: no space left" in caplog.text
