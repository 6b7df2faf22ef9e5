"""How long plates will take by what was measured, and when a clock on the wall shows an hour."""

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.run.budget import NIGHT_FOLDER, Rates, in_words, next_time, share_of
from hcs.settings import Settings, load_settings

ONE, TWO = (load_settings(overrides=[f"run.workers={n}"]) for n in (1, 2))
ZURICH = ZoneInfo("Europe/Zurich")


def test_before_any_measure_twice_the_workers_take_half_the_time(tmp_path):
    rates = Rates(str(tmp_path))
    assert not rates.is_measured(1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx(2 * rates.seconds(1e9, TWO))


def test_a_measured_rate_holds_for_its_kind_of_work_and_for_the_nights_to_come(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(50, 2e9, ONE)
    for one in (rates, Rates(str(tmp_path))):
        assert one.is_measured(1e9, ONE)
        assert one.seconds(1e9, ONE) == 25
        assert not one.is_measured(1e9, TWO)


def test_other_numbers_of_workers_share_what_was_measured(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(50, 1e9, ONE)
    assert rates.seconds(1e9, TWO) == 25
    assert rates.seconds(1e9, load_settings(overrides=["run.workers=5"])) == 10
    # what counts is the largest plate
    rates.add(1, 1e6, load_settings(overrides=["run.workers=3"]))
    assert rates.seconds(1e9, TWO) == 25
    for other in ("run.device=gpu", "run.dask=none", "methods=[ssl,isl]"):
        changed = load_settings(overrides=["run.workers=2", other])
        assert rates.seconds(1e9, changed) == 1e9 * 1e-7 / 2


def test_the_less_is_known_the_shorter_the_work_may_be(tmp_path):
    rates = Rates(str(tmp_path))
    guess = rates.seconds(1e9, TWO)
    assert rates.at_least(1e9, TWO, margin=1.5) == 1.5 * guess / 4
    rates.add(200, 1e9, ONE)
    assert rates.at_least(1e9, TWO, margin=1.5) == 1.5 * 100 / 2
    assert rates.at_least(1e9, ONE, margin=1.5) == 1.5 * 200
    # starting workers weighs on small plates: they keep no large one from being begun
    assert rates.at_least(1e11, TWO, margin=1) == 1e11 * 1e-7 / 2 / 4


def test_a_small_plate_measures_no_large_one(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(60, 1e7, ONE)
    assert rates.is_measured(4e7, ONE)
    assert not rates.is_measured(1e11, ONE)
    rates.add(3600, 1e11, ONE)
    assert rates.is_measured(1e11, ONE)
    assert rates.seconds(1e11, ONE) == pytest.approx(3600, rel=0.02)


def test_what_was_measured_last_counts_most(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(100, 1e9, ONE)
    rates.add(40, 1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx((50 + 40) / 1.5)
    for _ in range(40):
        rates.add(40, 1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx(40, rel=1e-4)


def test_small_plates_do_not_wash_out_what_a_large_one_taught(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(3600, 1e11, ONE)
    for _ in range(50):
        rates.add(60, 1e7, ONE)
    assert rates.seconds(1e11, ONE) < 2 * 3600


def test_a_plate_of_which_nothing_was_done_measures_nothing(tmp_path):
    rates = Rates(str(tmp_path))
    rates.add(100, 0, ONE)
    assert not rates.is_measured(1, ONE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        json.dumps({"ssl": 3}),
        json.dumps({"ssl": {"seconds": 1, "n_bytes": 0, "largest": 1}}),
    ],
)
def test_damaged_rates_are_forgotten(tmp_path, content):
    (tmp_path / NIGHT_FOLDER).mkdir()
    (tmp_path / NIGHT_FOLDER / "rates.json").write_text(content)
    rates = Rates(str(tmp_path))
    rates.add(50, 1e9, ONE)
    assert Rates(str(tmp_path)).seconds(1e9, ONE) == 50


def test_rates_that_cannot_be_kept_hold_for_the_night(tmp_path, caplog):
    Path(tmp_path, NIGHT_FOLDER).write_text("in the way")
    rates = Rates(str(tmp_path))
    rates.add(50, 1e9, ONE)
    assert rates.seconds(1e9, ONE) == 50
    assert "the measured rate is not kept" in caplog.text


def test_plates_at_once_share_the_machine():
    settings = load_settings(overrides=["run.workers=6", "run.dashboard=8787"])
    whole, half = (share_of(settings, at_once).run for at_once in (1, 2))
    assert whole == settings.run
    assert (half.workers, half.dashboard) == (3, None)
    # each worker still has its sixth of the memory
    assert half.memory_per_worker is not None
    elsewhere = load_settings(overrides=["run.dask=tcp://10.0.0.1:8786"])
    assert share_of(elsewhere, 2) == elsewhere
    assert share_of(Settings(), 1000).run.workers == 1


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
)
def test_the_next_hour_is_within_a_day_and_on_the_wall(naive, hour):
    now = naive.replace(tzinfo=UTC)
    when = next_time(hour, now, ZURICH)
    assert timedelta(0) < when - now <= timedelta(hours=25)
    wall = when.astimezone(ZURICH)
    # an hour that is left out in spring shows as the one after it
    assert wall.time() == hour or wall.hour == hour.hour + 1


@pytest.mark.parametrize(
    ("evening", "hours"),
    [((2026, 3, 28), 12), ((2026, 10, 24), 14), ((2026, 11, 21), 13)],
)
def test_the_night_in_which_clocks_change_is_shorter_or_longer(evening, hours):
    now = datetime(*evening, 18, tzinfo=ZURICH)
    left = next_time(time(7), now.astimezone(UTC), ZURICH) - now.astimezone(UTC)
    assert left == timedelta(hours=hours)


def test_without_a_zone_the_clock_is_this_machines(monkeypatch):
    now = datetime(2026, 11, 21, 18, tzinfo=UTC)
    assert next_time(time(7), now, None).astimezone().time() == time(7)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.9, "60 s"), (3599, "1 h 0 min"), (90, "2 min")]
)
def test_times_are_told_in_words(seconds, words):
    assert in_words(seconds) == words
