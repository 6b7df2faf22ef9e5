"""A row per well, as people read them."""

from flows.well_rows import table_rows
from hcs.plate.path import WellPath
from hcs.run.outcome import Failure, WellOutcome


def test_a_failed_well_has_its_cause_and_hint_in_the_row():
    failure = Failure("damaged data", "chunk 3 is damaged", "copy it anew")
    outcome = WellOutcome(WellPath.parse("B/03"), "failed", attempts=1, failure=failure)
    (row,) = table_rows([outcome])
    assert (row["well"], row["state"]) == ("B03", "failed")
    told = (row["cause"], row["message"], row["hint"])
    assert told == ("damaged data", "chunk 3 is damaged", "copy it anew")


def test_texts_of_strangers_are_no_markdown():
    failure = Failure(
        "damaged data", "![x](http://evil.example/x.png)", "[log in](http://evil.example)"
    )
    well = WellPath.parse("B/03")
    (row,) = table_rows([WellOutcome(well, "failed", failure=failure, steps=("isl-<b>", "a_b"))])
    assert (row["well"], row["steps"]) == ("B03", r"isl-\<b\>, a_b")
    assert row["message"] == r"\!\[x\](http://evil.example/x.png)"
    assert row["hint"] == r"\[log in\](http://evil.example)"


def test_rows_are_in_the_order_of_the_plate():
    wells = ("A/10", "AA/1", "B/2", "A/9")
    rows = table_rows([WellOutcome(WellPath.parse(well), "done") for well in wells])
    assert [row["well"] for row in rows] == ["A9", "A10", "B2", "AA1"]


def test_of_a_well_that_was_not_visited_nothing_is_counted():
    visited, well = WellPath.parse("A/01"), WellPath.parse("A/02")
    outcomes = [WellOutcome(visited, "done", seconds=3.14, attempts=1), WellOutcome(well, "kept")]
    names = ("state", "seconds", "attempts", "objects")
    rows = [tuple(row[name] for name in names) for row in table_rows(outcomes, {})]
    assert rows == [("done", 3.1, 1, 0), ("kept", "", "", "")]
    (row,) = table_rows([WellOutcome(well, "waiting")], {well: 2.06})
    assert tuple(row[name] for name in names) == ("running", 2.1, "", "")
