"""The summary of a night says all that somebody needs in the morning, and nothing that bites."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hcs.plate.path import WellPath
from hcs.run.night_report import STATES, NightReport, PlateRecord
from hcs.run.night_summary import to_json, to_markdown, to_text
from hcs.run.outcome import Failure, WellOutcome

EVENING = datetime(2026, 11, 21, 18, tzinfo=UTC)
BROKEN = WellOutcome(
    WellPath.parse("B/03"),
    "failed",
    failure=Failure("damaged data", "chunk 0/0 is damaged", "copy the plate again"),
)
DONE = PlateRecord(
    "/p/a.zarr", "done", wells=24, done=24, quarantined=0, seconds=3600, link="http://ui/run/1"
)
PARTLY = PlateRecord(
    "/p/b.zarr",
    "partly done",
    why="damaged data (1)",
    wells=24,
    done=23,
    failed=(BROKEN,),
    quarantined=2,
    seconds=90,
)
LATE = PlateRecord("/p/c.zarr", "no time left", why="needs about 3 h", hint="tomorrow", wells=96)


def night(*plates: PlateRecord, **more: object) -> NightReport:
    ended = EVENING + timedelta(hours=9, minutes=10)
    return NightReport("/p", EVENING, ended, EVENING + timedelta(hours=13), plates, **more)


def rows(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_a_row_per_plate_says_wells_time_and_why():
    text = to_markdown(night(PARTLY, LATE, DONE))
    assert text.startswith("# 1 plate partly done, 1 no time left, 1 done\n")
    assert "/p, 21 Nov 2026 18:00 to 22 Nov 2026 03:10 (9 h 10 min), to be done by 07:00" in text
    head, _, *found = rows(text)
    assert head == ["plate", "state", "wells", "done", "failed", "quarantined", "time", "why"]
    assert found[0] == ["b.zarr", "partly done", "24", "23", "1", "2", "2 min", "damaged data (1)"]
    assert found[1][-1] == "needs about 3 h (tomorrow)"
    assert found[2][0] == "[a.zarr](http://ui/run/1)"


def test_what_nobody_counted_is_left_empty_and_null_for_programs():
    opened = PlateRecord("/p/d.zarr", "in use", why="locked", wells=24)
    other = PlateRecord("/p/e.zarr", "unreadable", why="no JSON")
    report = night(other, opened)
    unknown, known = rows(to_markdown(report))[2:]
    assert unknown == ["e.zarr", "unreadable", "", "", "", "", "", "no JSON"]
    assert known == ["d.zarr", "in use", "24", "", "", "", "", "locked"]
    assert to_text(report).splitlines()[1:] == [
        "unreadable: e.zarr: no JSON",
        "in use: d.zarr: locked",
    ]
    told = to_json(report)["plates"]
    assert [(one["wells"], one["done"], one["seconds"]) for one in told] == [
        (None, None, None),
        (24, None, None),
    ]


def test_each_well_that_is_not_done_has_its_cause_and_what_to_do():
    text = to_markdown(night(PARTLY))
    told = ["b.zarr", "B03", "damaged data", "chunk 0/0 is damaged", "copy the plate again"]
    assert rows(text)[-1] == told
    assert "## Wells that are not done" not in to_markdown(night(DONE))


def test_plates_that_rest_or_arrive_take_a_line():
    arriving = PlateRecord("/p/d.zarr", "still arriving", why="its pixels changed 5 min ago")
    rest = [PlateRecord(f"/p/old{n}.zarr", "nothing to do") for n in range(23)]
    for text in (to_markdown(night(arriving, *rest)), to_text(night(arriving, *rest))):
        assert "still arriving: d.zarr: its pixels changed 5 min ago" in text
        assert "old19.zarr and 3 more" in text
        assert "old20" not in text


def test_text_for_a_chat_has_a_line_per_plate_and_ends_with_the_link():
    done = replace(DONE, url="/p/may/a.zarr")
    lines = to_text(
        night(PARTLY, LATE, done, warnings=("disk nearly full",)), "http://ui/7"
    ).splitlines()
    assert lines[1:] == [
        "partly done: b.zarr: 23 of 24 wells done, 1 failed, 2 in quarantine, 2 min; "
        "damaged data (1)",
        "  B/03 failed: chunk 0/0 is damaged (copy the plate again)",
        "no time left: c.zarr: needs about 3 h (tomorrow)",
        "done: may/a.zarr: 24 of 24 wells done, 1 h 0 min",
        "warning: disk nearly full",
        "http://ui/7",
    ]


def test_text_for_a_chat_tells_of_few_wells_and_where_to_look_at_the_others():
    plate = replace(PARTLY, failed=(BROKEN,) * 90, link="http://ui/run/2")
    lines = to_text(night(plate)).splitlines()
    assert lines[2:5] == [f"  {BROKEN.line}"] * 3
    assert lines[5:] == ["  http://ui/run/2"]


def test_plates_of_one_name_are_told_by_their_folder():
    plates = [replace(PARTLY, url=f"/p/{month}/a.zarr") for month in ("may", "june")]
    text = to_markdown(night(*plates))
    assert [row[0] for row in rows(text)[2:4]] == ["may/a.zarr", "june/a.zarr"]
    assert "| june/a.zarr | B03 | damaged data |" in text


def test_text_for_a_chat_is_never_too_long_for_one():
    text = to_text(night(*[DONE] * 200), "http://ui/7")
    assert len(text) < 3100
    assert text.endswith("... and more in the summary\nhttp://ui/7")


def test_names_are_shown_and_never_obeyed():
    name = "a|b\n# [x](javascript:alert(1)) <script>.zarr"
    record = PlateRecord(f"/p/{name}", "failed", why="*boom*", link="javascript:alert(1)")
    text = to_markdown(night(record))
    cell = r"a\|b \# \[x\](javascript:alert(1)) \<script\>.zarr"
    assert f"| {cell} | failed |" in text
    assert "javascript:alert(1))\n" not in text
    assert r"\*boom\*" in text
    assert "\n# [x]" not in to_text(night(record))


def test_names_call_nobody_in_a_chat_and_hide_no_link():
    name = "<!channel> @everyone <https://evil|done> [done](https://evil)"
    text = to_text(night(PlateRecord(f"/p/{name}.zarr", "failed", why=name)))
    assert not any(markup in text for markup in ("<", ">", "@everyone", "]("))


def test_programs_get_all_of_it():
    found = json.loads(json.dumps(to_json(night(PARTLY, LATE, DONE)), default=str))
    assert found["exit_code"] == 2
    assert [plate["state"] for plate in found["plates"]] == ["partly done", "no time left", "done"]
    assert found["plates"][0]["failed"] == [
        {
            "well": "B/03",
            "failure": {
                "cause": "damaged data",
                "message": "chunk 0/0 is damaged",
                "hint": "copy the plate again",
            },
        }
    ]


def test_a_summary_of_a_night_that_goes_on_says_so_and_when():
    plates = [PlateRecord(f"/p/{n}.zarr", "to come") for n in range(23)]
    report = night(DONE, PlateRecord("/p/b.zarr", "under way", wells=24), *plates, is_over=False)
    text = to_markdown(report)
    assert text.startswith("# so far: 1 plate done, 1 under way, 23 to come\n")
    assert "the night goes on: as of 22 Nov 2026 03:10" in text
    assert [row[:3] for row in rows(text)[3:]] == [["b.zarr", "under way", "24"]]
    assert "19.zarr and 3 more" in text
    assert to_json(report)["over"] is False


def test_exit_codes_are_those_of_a_run():
    codes = {state: night(PlateRecord("x", state)).exit_code for state in STATES}
    assert {state for state, code in codes.items() if code == 0} == {
        "in use",
        "done",
        "under way",
        "to come",
        "still arriving",
        "nothing to do",
    }
    assert codes["partly done"] == 2
    assert codes["failed"] == codes["unreadable"] == codes["no time left"] == 1
    assert codes["stopped"] == 1
    assert night(LATE, DONE).exit_code == 2
    assert night(DONE, stopped=True).exit_code == 130
    assert night().exit_code == 0
    assert night().line == "no plates"
