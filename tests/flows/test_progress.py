"""What the artifacts say."""

import pytest

from flows.progress import artifact_key, table_rows
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
    assert (row["cause"], row["hint"]) == ("chunk 3 is damaged", "copy it anew")
