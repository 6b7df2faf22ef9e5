"""How long plates will take by what was measured, and when a clock on the wall shows an hour."""

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs.errors import SettingsError
from hcs.run.budget import NIGHT_FOLDER, Rates, in_words, next_time, share_of
from hcs.settings import Settings, load_settings

ONE, TWO = (load_settings(overrides=[f"run.workers={n}"]) for n in (1, 2))
NOW = datetime(2026, 11, 21, 18, tzinfo=UTC)
ZURICH = ZoneInfo("Europe/Zurich")


def test_before_any_measure_twice_the_workers_take_half_the_time(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    assert not rates.is_measured(1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx(2 * rates.seconds(1e9, TWO))


def test_a_measured_rate_holds_for_its_kind_of_work_and_for_the_nights_to_come(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(50, 2e9, ONE)
    for one in (rates, Rates(str(tmp_path), lambda: NOW)):
        assert one.is_measured(1e9, ONE)
        assert one.seconds(1e9, ONE) == 25
        assert not one.is_measured(1e9, TWO)


def test_other_numbers_of_workers_share_what_was_measured(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
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
    rates = Rates(str(tmp_path), lambda: NOW)
    guess = rates.seconds(1e9, TWO)
    assert rates.at_least(1e9, TWO, margin=1.5) == 1.5 * guess / 4
    rates.add(200, 1e9, ONE)
    assert rates.at_least(1e9, TWO, margin=1.5) == 1.5 * 100 / 2
    assert rates.at_least(1e9, ONE, margin=1.5) == 1.5 * 200
    # starting workers weighs on small plates: they keep no large one from being begun
    assert rates.at_least(1e11, TWO, margin=1) == 1e11 * 1e-7 / 2 / 4


def test_a_rate_is_doubted_the_more_the_longer_nothing_confirmed_it(tmp_path):
    now = [NOW]
    rates = Rates(str(tmp_path), lambda: now[0])
    rates.add(200, 1e9, ONE)
    for days, part in ((0, 1), (7, 2), (14, 4)):
        now[0] = NOW + timedelta(days=days)
        assert rates.seconds(1e9, ONE) == 200
        assert rates.at_least(1e9, ONE, margin=1.5) == 1.5 * 200 / part
        assert rates.at_least(1e9, TWO, margin=1.5) == 1.5 * 100 / 2 / part
    rates.add(200, 1e9, ONE)
    assert rates.at_least(1e9, ONE, margin=1.5) == 1.5 * 200


def test_workers_at_an_address_that_nobody_counted_are_not_this_machines(tmp_path, monkeypatch):
    there = load_settings(overrides=["run.dask=tls://scheduler:8786"])
    for processors in (4, 64):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=processors: set(range(n)))
        folder = tmp_path / str(processors)
        rates = Rates(str(folder), lambda: NOW)
        # the first plate is the measurement, however long it may take
        assert rates.at_least(1e15, there, margin=1.5) == 0
        Rates(str(tmp_path), lambda: NOW).add(3600, 1e12, there)
        assert Rates(str(tmp_path), lambda: NOW).at_least(1e12, there, margin=1) == 3600
    counted = load_settings(overrides=["run.dask=tls://scheduler:8786", "run.workers=8"])
    assert rates.at_least(1e9, counted, margin=1) == 1e9 * 1e-7 / 8 / 4


def test_a_small_plate_measures_no_large_one(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(60, 1e7, ONE)
    assert rates.is_measured(4e7, ONE)
    assert not rates.is_measured(1e11, ONE)
    rates.add(3600, 1e11, ONE)
    assert rates.is_measured(1e11, ONE)
    assert rates.seconds(1e11, ONE) == pytest.approx(3600, rel=0.02)


def test_what_was_measured_last_counts_most(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(100, 1e9, ONE)
    rates.add(40, 1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx((50 + 40) / 1.5)
    for _ in range(40):
        rates.add(40, 1e9, ONE)
    assert rates.seconds(1e9, ONE) == pytest.approx(40, rel=1e-4)


def test_small_plates_do_not_wash_out_what_a_large_one_taught(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(3600, 1e11, ONE)
    for _ in range(50):
        rates.add(60, 1e7, ONE)
    assert rates.seconds(1e11, ONE) < 2 * 3600


def test_a_plate_of_which_nothing_was_done_measures_nothing(tmp_path):
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(100, 0, ONE)
    assert not rates.is_measured(1, ONE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        json.dumps({"ssl": 3}),
        json.dumps({"ssl": {"seconds": 1, "n_bytes": 0, "largest": 1, "at": NOW.isoformat()}}),
    ],
)
def test_damaged_rates_are_forgotten(tmp_path, content):
    (tmp_path / NIGHT_FOLDER).mkdir()
    (tmp_path / NIGHT_FOLDER / "rates.json").write_text(content)
    rates = Rates(str(tmp_path), lambda: NOW)
    rates.add(50, 1e9, ONE)
    assert Rates(str(tmp_path), lambda: NOW).seconds(1e9, ONE) == 50


def test_rates_that_cannot_be_kept_hold_for_the_night(tmp_path, caplog):
    Path(tmp_path, NIGHT_FOLDER).write_text("in the way")
    rates = Rates(str(tmp_path), lambda: NOW)
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


@pytest.mark.parametrize("where", ["slurm", "kubernetes"])
def test_plates_at_once_share_what_is_asked_for_elsewhere(where):
    asked = [f"run.dask={where}", "run.device=gpu", "run.gpu_workers=2"]
    shared = {
        given: share_of(load_settings(overrides=[*asked, *given]), 2).run
        for given in ((), ("run.workers=16",), ("run.adaptive=[4, 16]",), ("run.adaptive=[4, 4]",))
    }
    assert [run.bounds for run in shared.values()] == [(0, 16), (8, 8), (2, 8), (2, 2)]
    assert {run.gpu_workers for run in shared.values()} == {1}
    assert {run.memory_per_worker for run in shared.values()} == {None}


def test_plates_at_once_do_not_share_a_gpu_of_this_machine(monkeypatch):
    monkeypatch.setattr("hcs.isl.device.count_gpus", lambda: 1)
    settings = load_settings(overrides=["run.device=any", "run.workers=2"])
    assert share_of(settings, 1) == settings
    with pytest.raises(SettingsError, match="2 plates at once would share the GPUs"):
        share_of(settings, 2)
    on_processors = load_settings(overrides=["run.workers=2"])
    assert share_of(on_processors, 2).run.workers == 1


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
