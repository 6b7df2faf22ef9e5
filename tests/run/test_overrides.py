"""Which settings hold for a plate: its own file over its folder's over those given."""

from pathlib import Path

import pytest

from hcs.errors import PlateError, SettingsError
from hcs.run.overrides import settings_of
from hcs.settings import Settings, load_settings


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def settings(folder: Path, plate: str = "may/screen.zarr", given: Settings | None = None):
    return settings_of(str(folder / plate), str(folder), given or Settings())


def test_without_files_the_given_settings_hold(tmp_path):
    given = load_settings(overrides=["channel=dic", "run.workers=3"])
    own = settings(tmp_path, given=given)
    assert (own.settings, own.priority, own.files) == (given, 0, ())


def test_what_is_nearer_the_plate_wins(tmp_path):
    write(tmp_path / "hcs.yaml", "{channel: a, plane: 1, ssl: {min_area_px: 11}}")
    write(tmp_path / "may/hcs.yaml", "{channel: b, plane: 2}")
    write(tmp_path / "may/screen.hcs.yaml", "{channel: c}")
    write(tmp_path / "may/other.hcs.yaml", "{channel: d}")
    own = settings(tmp_path, given=load_settings(overrides=["wells=[A/01]", "ssl.min_area_px=5"]))
    assert (own.settings.channel, own.settings.plane) == ("c", 2)
    assert (own.settings.ssl.min_area_px, own.settings.wells) == (11, ("A/01",))
    names = ("hcs.yaml", "may/hcs.yaml", "may/screen.hcs.yaml")
    assert own.files == tuple(f"{tmp_path}/{name}" for name in names)


def test_no_file_above_the_watched_folder_counts(tmp_path):
    write(tmp_path / "hcs.yaml", "{channel: a}")
    assert settings(tmp_path / "plates").settings.channel is None


def test_plates_with_a_higher_priority_say_so_beside_them(tmp_path):
    write(tmp_path / "hcs.yaml", "{night: {priority: 2}}")
    assert settings(tmp_path).priority == 2
    write(tmp_path / "may/screen.hcs.yaml", "{night: {priority: 7}}")
    assert settings(tmp_path).priority == 7
    assert settings(tmp_path).settings == Settings()


def test_a_null_in_a_nearer_file_takes_a_setting_back(tmp_path):
    write(tmp_path / "hcs.yaml", "{channel: a}")
    write(tmp_path / "may/hcs.yaml", "{channel: null}")
    assert settings(tmp_path).settings.channel is None


def test_a_plate_may_lower_what_it_costs_and_not_raise_it(tmp_path):
    limits = ("workers=4", "attempts=3", "gpu_workers=2", "wells_in_flight=5", "timeout_s=60")
    given = load_settings(overrides=[f"run.{limit}" for limit in limits])
    write(tmp_path / "hcs.yaml", "run: {workers: 2, attempts: 9, device: cpu, span_frames: 7}")
    own = settings(tmp_path, given=given).settings.run
    assert (own.workers, own.attempts, own.timeout_s, own.span_frames) == (2, 3, 60, 7)
    more = "{workers: 9999, gpu_workers: 99, wells_in_flight: 99, timeout_s: 1000}"
    write(tmp_path / "may/hcs.yaml", f"run: {more}")
    own = settings(tmp_path, given=given).settings.run
    lower = {"attempts": 3, "span_frames": 7}
    assert own == given.run.model_copy(update=lower)
    # nor does it get rid of a limit
    write(tmp_path / "may/hcs.yaml", "run: {workers: null, wells_in_flight: null, timeout_s: null}")
    assert settings(tmp_path, given=given).settings.run == given.run.model_copy(update=lower)


def test_without_a_number_of_workers_a_plate_has_no_more_than_the_night_would_start(tmp_path):
    write(tmp_path / "hcs.yaml", "run: {workers: 9999, wells_in_flight: 9999}")
    for given in (load_settings(overrides=[f"run.dask={dask}"]) for dask in ("local", "slurm")):
        own = settings(tmp_path, given=given).settings.run
        most = given.run.n_workers
        assert (own.n_workers, own.wells_in_flight) == (most, 2 * most)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{chanel: a, ssl: {x: 1}}", r"may/hcs.yaml: ssl.x is no setting; chanel is no setting"),
        ("[1, 2]", r"may/hcs.yaml holds a list, not `key: value` lines"),
        ("a: [", r"may/hcs.yaml is not YAML: "),
        ("a: &x [1]\nb: [*x, *x]", r"may/hcs.yaml refers to itself with \*"),
        ("[" * 5000, r"may/hcs.yaml is nested too deeply to be settings"),
        ("- " * 5000, r"may/hcs.yaml is nested too deeply to be settings"),
        ("{night: {until: 7}}", r"may/hcs.yaml: night holds {'until': 7} \(beside a plate"),
        ("{night: {priority: high}}", r"night.priority is 'high', not a number"),
        ("{run: {dask: 'tcp://10.0.0.1:1'}}", r"run.dask is not a plate's to say"),
        ("{run: {adaptive: [0, 9999]}}", r"run.adaptive is not a plate's to say"),
        ("{run: {dashboard: 80, memory_per_worker: 1TB}}", r"run.dashboard, run.memory_per_worker"),
        ("{run: {device: gpu}}", r"run.device is not a plate's to say"),
        ("!!python/object/apply:os.system [ls]", r"may/hcs.yaml is not YAML"),
        ("channel: 2001-99-99", r"may/hcs.yaml is not YAML: month must be in 1..12"),
        ("channel: !!bool x", r"may/hcs.yaml is not YAML: a value is not what its !! says"),
        ("{night: {priority: 0x" + "f" * 400 + "}}", r"not YAML: a number has 402 characters"),
        ("{night: {priority: .nan}}", r"night.priority is nan, not a number"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path, text, told):
    write(tmp_path / "may/hcs.yaml", text)
    with pytest.raises(SettingsError, match=told):
        settings(tmp_path)


def test_what_is_no_settings_file_by_its_size_is_not_read(tmp_path):
    write(tmp_path / "may/hcs.yaml", "#" * 100_000)
    with pytest.raises(PlateError, match="has 100000 bytes"):
        settings(tmp_path)
