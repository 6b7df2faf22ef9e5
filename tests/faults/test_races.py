"""Several runs at one plate: one proceeds, whatever is killed or stopped, and nothing is lost.

``HCS_FAULTS`` says how often.
"""

import os
import re
import uuid
from collections import Counter
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from threading import Barrier

import pytest

from hcs.errors import LockedError
from hcs.plate.commit import sweep
from hcs.plate.create import create_plate
from hcs.plate.lock import acquire
from hcs.plate.metadata import PlateLayout
from hcs.plate.open import open_plate

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
RACERS = 3
RACE_WITHIN_S = 100
RACES = 2 * N if N > 10 else 20
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
