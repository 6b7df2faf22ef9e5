import pytest

from hcs import errors
from hcs.errors import FramesError, HcsError
from hcs.run.outcome import failure_of

KINDS = HcsError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_error_has_a_cause_in_words_that_is_its_own(kind):
    cause = failure_of(kind("what", hint="do")).cause
    assert cause
    assert cause == cause.lower()
    assert "Error" not in cause
    assert [other.cause for other in KINDS].count(cause) == 1


def test_a_failure_has_what_the_error_says():
    failure = failure_of(FramesError("field B/03/0 has 1 frame", hint="SSL needs two"))
    assert failure.cause == "unusable frames"
    assert failure.message == "field B/03/0 has 1 frame"
    assert failure.hint == "SSL needs two"


def test_an_error_that_nobody_expected_names_its_type_in_the_message():
    failure = failure_of(ZeroDivisionError())
    assert failure.cause == errors.UNEXPECTED
    assert failure.message == "ZeroDivisionError: no message"
