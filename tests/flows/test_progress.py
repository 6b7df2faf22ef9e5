"""What the artifacts say."""

from itertools import count
from uuid import uuid4

import httpx
import pytest

from flows import progress
from flows.progress import Progress, artifact_key, table_rows
from hcs.plate.path import WellPath
from hcs.run.outcome import Failure, WellOutcome


@pytest.mark.parametrize(("name", "key"), [("Plate 7", "plate-7"), ("__", "plate"), ("éa", "a")])
def test_keys_hold_lower_case_letters_digits_and_dashes_only(name, key):
    assert artifact_key(name) == key


def test_a_failed_well_has_its_cause_and_hint_in_the_row():
    failure = Failure("damaged data", "chunk 3 is damaged", "copy it anew")
    outcome = WellOutcome(WellPath.parse("B/03"), "failed", attempts=1, failure=failure)
    (row,) = table_rows([outcome])
    assert (row["well"], row["state"]) == ("B03", "failed")
    told = (row["cause"], row["message"], row["hint"])
    assert told == ("damaged data", "chunk 3 is damaged", "copy it anew")


def test_the_bar_moves_once_a_second_however_many_wells_end_in_it_and_to_its_end(monkeypatch):
    shares = []
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_: uuid4())
    monkeypatch.setattr(progress, "create_table_artifact", lambda *_: uuid4())
    monkeypatch.setattr(
        progress, "update_progress_artifact", lambda _, share, __: shares.append(share)
    )
    now = [0.0]
    watched = Progress("p", lambda: now[0])
    watched.start()
    for through in range(1, 101):
        watched.move(WellOutcome(WellPath("A", f"{through:03d}"), "done"), through, 100)
        # fifty wells a second, two seconds: at the first, after one second, at the last
        now[0] += 0.02
    assert shares == [1.0, 51.0, 100.0]


def test_while_a_plate_is_worked_on_the_time_left_and_a_row_per_well_are_told(monkeypatch):
    told = []

    def hear(*arguments):
        told.append(arguments)
        return uuid4()

    for name in ("create_progress_artifact", "update_progress_artifact", "create_table_artifact"):
        monkeypatch.setattr(progress, name, hear)
    monkeypatch.setattr(progress, "replace_artifact", hear)
    seconds = count(0, 20)
    watched = Progress("p", lambda: next(seconds))
    watched.start()
    # two wells were done before this run
    for through, well in enumerate(("A/01", "A/02", "A/03"), start=3):
        watched.move(WellOutcome(WellPath.parse(well), "done"), through, 6)
    texts = [arguments[2] for arguments in told if isinstance(arguments[1], float)]
    assert [text.split(";")[0] for text in texts] == [
        "3 of 6 wells, 1 min left",
        "4 of 6 wells, 40 s left",
        "5 of 6 wells, 20 s left",
    ]
    tables = [
        arguments
        for arguments in told
        if "wells" in str(arguments[-1]) and "left" not in str(arguments)
    ]
    assert len(tables) > 1
    assert [row["well"] for row in tables[-1][1]] == ["A01", "A02", "A03"]


def test_rows_are_in_the_order_of_the_plate():
    wells = ("A/10", "AA/1", "B/2", "A/9")
    rows = table_rows([WellOutcome(WellPath.parse(well), "done") for well in wells])
    assert [row["well"] for row in rows] == ["A9", "A10", "B2", "AA1"]


def test_an_api_in_trouble_is_left_alone_for_a_while_and_hears_the_end(monkeypatch, caplog):
    now, asked, is_there = [0.0], [], [False]

    def answer(*arguments):
        asked.append(arguments)
        if not is_there[0]:
            # it hangs before it fails
            now[0] += 20
            raise httpx.ReadTimeout("no answer")
        return uuid4()

    for name in ("create_progress_artifact", "update_progress_artifact", "create_table_artifact"):
        monkeypatch.setattr(progress, name, answer)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watched = Progress("p", lambda: now[0])
    watched.start()
    # ten times what it let us wait, it is not asked
    for through in range(1, 10):
        now[0] += 20
        watched.move(WellOutcome(WellPath("A", f"{through:02d}"), "done"), through, 12)
    assert len(asked) == 1
    is_there[0] = True
    now[0] += 20
    watched.move(WellOutcome(WellPath("A", "10"), "done"), 10, 12)
    assert [arguments[1] for arguments in asked[1:2]] == ["p-progress"]
    is_there[0] = False
    now[0] += 20
    watched.move(WellOutcome(WellPath("A", "11"), "done"), 11, 12)
    is_there[0] = True
    watched.stop()
    assert [row["well"] for row in asked[-1][0]] == [f"A{k:02d}" for k in range(1, 12)]
    assert caplog.text.count("Prefect's API does not answer") == 1
