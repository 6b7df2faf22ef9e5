"""Several runs at one plate: one proceeds, whatever is killed or stopped, and nothing is lost.

``HCS_FAULTS`` says how often, and ``HCS_FAULTS_SEED`` when.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from threading import Barrier

import psutil
import pytest

from hcs.errors import LockedError
from hcs.plate.commit import sweep
from hcs.plate.create import create_plate
from hcs.plate.lock import Holding, acquire, look
from hcs.plate.metadata import PlateLayout
from hcs.plate.open import open_plate
from hcs.run import analyse as story
from hcs.run.analyse import analyse
from hcs.settings import load_settings
from tests.deaths import Changes, begin, end, halt
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import (
    HCS,
    WITHIN_S,
    Identity,
    halt_family,
    identity,
    log_of,
    start,
    starts_of,
    wait_for,
    workers_of,
)

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
RACERS = 3
RACE_WITHIN_S = 100
RACES = 2 * N if N > 10 else 20
# the longest that a plate stays with a holder that was killed or stopped
TAKEN_OVER_WITHIN_S = 60
long = pytest.mark.skipif(N < 3, reason="waits for half a minute: HCS_FAULTS=3")
# quick beats, so that who is stopped is soon taken for dead
BEAT_S, STALE_S = 0.1, 1.0
quickly = partial(acquire, heartbeat_s=BEAT_S, stale_s=STALE_S)


def race(url: str, rounds: int, barrier: Barrier, told: "Queue[tuple[int, int, str]]") -> None:
    """Race for the lock of a plate again and again; tell of each round how it went.

    In every fifth round the holder is gone without a word: the next one races for a takeover.
    """
    plate, witness = open_plate(url), Path(os.environ["HCS_WITNESS"])
    for number in range(rounds):
        barrier.wait(RACE_WITHIN_S)
        try:
            held = quickly(plate.companion)
        except LockedError as error:
            held, outcome = None, error.message
        else:
            sweep(plate)
        # all have tried, so that all who hold it do so at the same time
        barrier.wait(RACE_WITHIN_S)
        if held:
            try:
                held.check()
                (witness / str(number)).touch(exist_ok=False)
                outcome = "won"
            except LockedError as error:
                outcome = error.message
            except FileExistsError:
                outcome = "there were two"
        told.put((number, held.token if held else 0, outcome))
        barrier.wait(RACE_WITHIN_S)
        if held and number % 5 == 4:
            held._end.set()
            held._heart.join()
        elif held:
            held.release()


@pytest.fixture
def raced(root_url) -> str:
    url = f"{root_url}/{uuid.uuid4().hex}.zarr"
    create_plate(url, PlateLayout("raced", "0.4", ("A",), ("01",), ()))
    return url


def test_a_sweep_leaves_those_alone_that_try_for_the_lock(tmp_path):
    plate = create_plate(tmp_path / "raced.zarr", PlateLayout("raced", "0.4", ("A",), ("01",), ()))
    names = ("lock/.00000002.json.0.partial", "A/01/.ssl.json.0.partial")
    plate.companion.write_unflushed(dict.fromkeys(names, b""))
    assert sweep(plate) == [f"{plate.companion.url}/{names[1]}"]
    assert list(plate.companion.sizes()) == [names[0]]


def test_of_many_that_race_for_the_lock_one_wins_each_time(raced, tmp_path, monkeypatch):
    monkeypatch.setenv("HCS_WITNESS", str(tmp_path))
    context = get_context("spawn")
    told, barrier = context.Queue(), context.Barrier(RACERS)
    racers = [
        context.Process(target=race, args=(raced, RACES, barrier, told)) for _ in range(RACERS)
    ]
    with ExitStack() as stack:
        for racer in racers:
            racer.start()
            stack.callback(racer.join, RACE_WITHIN_S)
            stack.callback(racer.kill)
        outcomes = [told.get(timeout=RACE_WITHIN_S) for _ in range(RACES * RACERS)]
    won = [(number, token) for number, token, outcome in outcomes if outcome == "won"]
    assert Counter(number for number, _ in won) == dict.fromkeys(range(RACES), 1)
    tokens = [token for _, token in sorted(won)]
    assert tokens == sorted(set(tokens))
    lost = {outcome for *_, outcome in outcomes if outcome != "won"}
    assert all(re.search(r"is locked by .*process \d|was taken over by", one) for one in lost), lost


HERE = ("run.dask=none", "run.workers=1")
# what the run is asked for that takes over
OTHER = (*HERE, "split.h=0.9")
PLACES = ("tiny.zarr", "tiny.hcs/A")


def run_and_halt(url: Path, place: str, at: int | None) -> None:
    """Analyse a plate in this process, which stops before a change; note how many there were."""
    story.acquire = quickly
    changes = Changes(str(url.parent / place), at, halt)
    sys.addaudithook(changes)
    try:
        code = analyse(str(url), load_settings(overrides=HERE)).exit_code
    except LockedError as error:
        (url.parent / "words").write_text(str(error))
        sys.exit(error.exit_code)
    (url.parent / "changes").write_text(str(changes.count))
    sys.exit(code)


def wait_until_stopped(pid: int) -> None:
    until = time.monotonic() + RACE_WITHIN_S
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < until, "it never came to this change"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2, 96)})
    return url


@pytest.fixture(scope="module")
def undisturbed(fresh, tmp_path_factory) -> dict[str, bytes]:
    url = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("undisturbed") / "tiny.zarr"))
    assert analyse(str(url), load_settings(overrides=OTHER)).exit_code == 0
    return results_of(url)


@pytest.mark.parametrize("place", PLACES)
def test_who_is_stopped_and_wakes_up_after_a_takeover_changes_nothing(
    fresh, undisturbed, place, tmp_path, monkeypatch
):
    monkeypatch.setattr(story, "acquire", quickly)
    whole = Path(shutil.copytree(fresh, tmp_path / "whole" / "tiny.zarr"))
    assert end(begin(run_and_halt, whole, place, None)) == 0
    count = int((whole.parent / "changes").read_text())
    for at in range(count // N, count, max(1, 2 * count // N)):
        url = Path(shutil.copytree(fresh, tmp_path / str(at) / "tiny.zarr"))
        stopped = begin(run_and_halt, url, place, at)
        wait_until_stopped(stopped.pid)
        assert analyse(str(url), load_settings(overrides=OTHER)).exit_code == 0
        assert results_of(url) == undisturbed
        os.kill(stopped.pid, signal.SIGCONT)
        assert end(stopped) == LockedError.exit_code, f"{at} of {count}"
        assert "plate tiny was taken over by" in (url.parent / "words").read_text()
        assert results_of(url) == undisturbed, f"{at} of {count}"
        assert not list(url.parent.rglob("*.partial")), f"{at} of {count}"


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    """Return a plate that keeps two workers busy for a while."""
    url = tmp_path_factory.mktemp("several") / "tiny.zarr"
    make_plate(url, {f"A/{column:02d}": moving_cells(column) for column in range(1, 5)})
    return url


# `hcs`, whose heart beats as quickly as those above
IN_NO_TIME = (
    sys.executable,
    "-c",
    "from functools import partial; import hcs.run.analyse as story; "
    f"story.acquire = partial(story.acquire, heartbeat_s={BEAT_S}, stale_s={STALE_S}); "
    "from hcs.cli.main import main; main()",
)


@contextmanager
def stopped_at_work(
    url: Path, program: Sequence[str | Path], pause_s: float
) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """Start a run with two workers, and stop all its processes in the middle of their work."""
    companion = open_plate(url).companion
    with start(url, program=program) as run:
        wait_for(lambda: bool(starts_of(url)), run)
        time.sleep(pause_s)
        family = halt_family(run.pid)
        assert look(companion).state == "held"
        yield run, family


def wake_and_check(url: Path, run: subprocess.Popen[bytes], family: list[psutil.Process]) -> None:
    """Let a run go on that was taken over meanwhile: it says so, and changes nothing."""
    before = all_but_notes(url)
    wake(family)
    assert run.wait(WITHIN_S) == LockedError.exit_code, log_of(url)
    assert "plate tiny was taken over by" in log_of(url)
    # no error of ours; Dask's worker may log that its scheduler left it while it was stopped
    assert not re.search(r"hcs/\w+/\w+\.py", log_of(url)), log_of(url)
    assert all_but_notes(url) == before


def all_but_notes(url: Path) -> dict[Path, Identity]:
    """Return every file of a plate and its companion but the notes of what the first run began."""
    own = url.with_suffix(".hcs") / "attempts" / "00000001"
    found = (path for top in (url, url.with_suffix(".hcs")) for path in top.rglob("*"))
    return {path: identity(path) for path in found if path.is_file() and own not in path.parents}


def test_who_is_stopped_with_all_workers_and_wakes_up_after_a_takeover_changes_nothing(
    several, tmp_path, monkeypatch
):
    monkeypatch.setattr(story, "acquire", quickly)
    url = Path(shutil.copytree(several, tmp_path / "tiny.zarr"))
    with stopped_at_work(url, IN_NO_TIME, random.Random(SEED).uniform(0.0, 0.5)) as stopped:
        assert analyse(str(url), load_settings(overrides=OTHER)).exit_code == 0
        wake_and_check(url, *stopped)


@long
def test_another_run_takes_over_from_one_that_is_stopped_within_a_minute(several, tmp_path):
    whole = Path(shutil.copytree(several, tmp_path / "whole" / "tiny.zarr"))
    assert analyse(str(whole), load_settings(overrides=OTHER)).exit_code == 0
    dice = random.Random(SEED)
    for number in range(max(2, N // 5)):
        url = Path(shutil.copytree(several, tmp_path / str(number) / "tiny.zarr"))
        companion = open_plate(url).companion
        with stopped_at_work(url, (HCS,), dice.uniform(0.0, 0.5)) as stopped:
            began = time.monotonic()
            with start(url, "--set", OTHER[-1]) as other:
                wait_for(lambda: look(companion).token == 2, other)  # noqa: B023 - called at once
                assert time.monotonic() - began < TAKEN_OVER_WITHIN_S
                if number % 2:
                    # while the other is at work
                    wake(stopped[1])
                assert other.wait(WITHIN_S) == 0, log_of(url)
            wake_and_check(url, *stopped)
        assert results_of(url) == results_of(whole)


def wake(family: Sequence[psutil.Process]) -> None:
    """Let processes go on, those that are still there."""
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.resume()


def move_elsewhere(url: Path, holding: Holding) -> None:
    """Make a claim one of another machine: its holder is known by its heart alone."""
    claim = replace(holding.claim, process=f"another {holding.claim.process}")
    path = url.with_suffix(".hcs") / f"lock/{holding.token:08d}.json"
    path.write_text(json.dumps(asdict(claim)))
    assert look(open_plate(url).companion).state == "held"


@pytest.mark.parametrize("where", ["here", pytest.param("elsewhere", marks=long)])
@pytest.mark.parametrize("many", (2, 5) if N > 10 else (2,))
def test_of_runs_begun_at_once_one_proceeds_and_when_it_is_killed_another(many, where, tmp_path):
    wells = {f"A/{column:02d}": moving_cells(column) for column in (1, 2)}
    make_plate(tmp_path / "whole" / "tiny.zarr", wells)
    url = Path(shutil.copytree(tmp_path / "whole", tmp_path / "run") / "tiny.zarr")
    companion = open_plate(url).companion
    with ExitStack() as stack:
        runs = [stack.enter_context(start(url, workers=1)) for _ in range(many)]
        wait_for(lambda: look(companion).state == "held", runs[0])
        claim = look(companion).claim
        (holder,) = [run for run in runs if f"(process {run.pid})" in claim.holder]
        wait_for(lambda: bool(starts_of(url)), holder)
        # its work stands still until the others were told; its heart beats
        workers = workers_of(holder)
        for worker in workers:
            worker.suspend()
        others = [run for run in runs if run is not holder]
        assert [run.wait(WITHIN_S) for run in others] == [LockedError.exit_code] * len(others)
        holder.kill()
        killed = time.monotonic()
        wake(workers)
        holder.wait(WITHIN_S)
    told = f"plate tiny is locked by {claim.holder} on {claim.host} since {claim.since}"
    assert log_of(url).count(told) == len(others)
    assert "Traceback" not in log_of(url)
    before = look(companion)
    assert before.state == "dead"
    if where == "elsewhere":
        move_elsewhere(url, before)
    with start(url, workers=1) as run:
        wait_for(lambda: look(companion).token > before.token, run)
        assert time.monotonic() - killed < TAKEN_OVER_WITHIN_S
        assert run.wait(WITHIN_S) == 0, log_of(url)
    assert f"took over plate tiny from {claim.holder}" in log_of(url)
    whole = tmp_path / "whole" / "tiny.zarr"
    assert analyse(str(whole), load_settings(overrides=HERE)).exit_code == 0
    assert results_of(url) == results_of(whole)
