"""What may be set of a night, and what is refused."""

from datetime import time

import pytest
import yaml
from pydantic import ValidationError

from hcs.errors import SettingsError
from hcs.run.night_settings import NightSettings, check_night
from hcs.settings import problems_of


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("7:00", time(7)),
        ("07:00", time(7)),
        ("18:30", time(18, 30)),
        ("'0:05'", time(0, 5)),
        ("'23:59'", time(23, 59)),
        ("7", time(7)),
        ("'18'", time(18)),
    ],
)
def test_an_hour_is_what_it_looks_like_though_yaml_counts_to_base_60(text, hour):
    assert NightSettings.model_validate(yaml.safe_load(f"until: {text}")).until == hour


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"time_zone": "Mars/Olympus"}, "no time zone 'Mars/Olympus' is known"),
        ({"time_zone": "../etc/passwd"}, "no time zone '../etc/passwd' is known"),
        ({"sentinel": "../{plate}.done"}, "leaves the plate"),
        ({"notify": ["facility"]}, "facility: a block is named type/name"),
        ({"look_every_min": 30}, "look_every_min needs until"),
        ({"until": "25:00"}, "until"),
        ({"until": 3000}, "until"),
        ({"until": 30}, "until"),
        ({"until": "evening"}, "not 'evening'"),
        ({"depth": 0}, "depth"),
    ],
)
def test_what_makes_no_sense_is_told(given, problem):
    with pytest.raises(ValidationError) as refused:
        NightSettings.model_validate(given)
    assert problem in "; ".join(problems_of(refused.value))


def test_all_problems_are_told_at_once_and_where():
    told = "x.yaml: night.depth: .*; night.hour is no setting"
    with pytest.raises(SettingsError, match=told):
        check_night({"depth": 0, "hour": 7}, "x.yaml")
    assert check_night(None) == NightSettings()


def test_every_setting_says_what_it_means():
    assert all(field.description for field in NightSettings.model_fields.values())
