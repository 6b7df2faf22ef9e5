"""Settings: one model from a file, from flags and from a program."""

import pytest
import yaml
from dask.utils import parse_bytes

from hcs.errors import SettingsError
from hcs.settings import Settings, explain, load_settings


def test_what_is_printed_reads_back_as_the_defaults(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(explain(Settings()))
    assert load_settings(path) == Settings()


def test_every_setting_is_explained():
    lines = explain(Settings()).splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if not line.strip().startswith("#") and not before.strip().startswith("#")
    ]
    assert bare == []


def test_a_flag_wins_over_the_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("ssl: {min_area_px: 20, em_rounds: 2}\nchannel: phase\n")
    settings = load_settings(path, ["ssl.min_area_px=30", "wells=[B/03]"])
    assert (settings.ssl.min_area_px, settings.ssl.em_rounds) == (30, 2)
    assert (settings.channel, settings.wells) == ("phase", ("B/03",))


def test_all_problems_come_in_one_message(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"chanel": "phase", "ssl": {"em_rounds": -1, "flow": 1}}))
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    message = caught.value.message
    assert "chanel is no setting" in message
    assert "ssl.flow is no setting" in message
    assert "ssl.em_rounds: input should be greater than or equal to 0, not -1" in message
    assert caught.value.exit_code == 64


@pytest.mark.parametrize("memory", ["4GB", "0.5 gib", "2.5g", "512Mi", "1e9", "4000000000B"])
def test_amounts_of_memory_are_those_that_dask_reads(memory):
    settings = load_settings(overrides=[f"run.memory_per_worker='{memory}'"])
    assert parse_bytes(settings.run.memory_per_worker) > 0


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(SettingsError, match="goes with thresholds: paper only") as caught:
        load_settings(overrides=["ssl.flow_reference=black"])
    assert "Value error" not in caught.value.message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("channel", "'channel' is not key=value"),
        ("=3", "'=3' is not key=value"),
        ("channel=[x", r"'channel=\[x' is not YAML: "),
        ("channel=2001-99-99", "'channel=2001-99-99' is not YAML: month must be in 1..12"),
        ("run.memory_per_worker=lots", "run.memory_per_worker: 'lots' is no amount of memory"),
        ("run.memory_per_worker=0.0GB", "'0.0GB' is no amount of memory: write it as 4GB"),
    ],
)
def test_a_flag_that_is_no_setting_is_refused(override, words):
    with pytest.raises(SettingsError, match=words):
        load_settings(overrides=[override])


def test_a_flag_that_goes_through_a_value_is_refused():
    with pytest.raises(SettingsError, match="channel is 'phase', which holds no settings"):
        load_settings(overrides=["channel=phase", "channel.name=phase"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[a, b]", "holds a list, not `key: value` lines"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, words):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=words):
        load_settings(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2001-99-99", "month must be in 1..12"),
        ("2001-01-01T00:00:00+99:99", "offset must be"),
        ("!!int x", "invalid literal"),
        ("9" * 60_000, "a number has 60000 characters"),
        ("0x" + "f" * 60_000, "a number has 60002 characters"),
        ("!!bool x", "a value is not what its !! says"),
        ("!!timestamp x", "a value is not what its !! says"),
        ("!!float ''", "a value is not what its !! says"),
        ("[" * 5000, "nested too deeply"),
    ],
    ids=lambda text: text[:12],
)
def test_a_value_that_yaml_stumbles_over_is_told_with_the_file(tmp_path, value, words):
    path = tmp_path / "settings.yaml"
    path.write_text(f"channel: {value}")
    with pytest.raises(SettingsError, match=rf"settings\.yaml is .*{words}"):
        load_settings(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(
        SettingsError, match=r"cannot read .*\.yaml: No such file.* \(relative paths"
    ):
        load_settings(tmp_path / "nowhere.yaml")
