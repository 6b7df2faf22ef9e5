"""What holds for the whole process, by threads whose times overlap."""

import logging
from contextlib import ExitStack

import dask
import pytest

from hcs.run.dask_settings import DASK_SET
from hcs.run.log import listen


def state() -> tuple[object, int]:
    known = dask.config.get("distributed.deploy.lost-worker-timeout", None)
    return known, logging.getLogger("hcs").level


@pytest.mark.parametrize("enter", [DASK_SET.inside, listen])
def test_the_first_to_leave_takes_nothing_from_the_other_who_leaves_nothing_behind(enter):
    with enter():
        # what distributed brings along stays
        pass
    before = state()
    first, second = ExitStack(), ExitStack()
    first.enter_context(enter())
    second.enter_context(enter())
    inside = state()
    first.close()
    assert state() == inside != before
    second.close()
    assert state() == before
