"""Settings of the SSL room."""

import pytest
from pydantic import ValidationError

from hcs.ssl.settings import SslSettings


def test_every_setting_says_what_it_means():
    assert all(field.description for field in SslSettings.model_fields.values())


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SslSettings.model_validate({"treshold": 1})


def test_black_reference_without_the_paper_ladder_is_refused():
    with pytest.raises(ValidationError, match="no temporal change to learn from"):
        SslSettings(flow_reference="black")


def test_area_limits_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="min_area_px 600 is above max_min_area_px 550"):
        SslSettings(min_area_px=600)
