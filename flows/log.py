"""What hcs warns of while a flow runs, repeated in the run's log, where Prefect's UI shows it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from hcs.run.log import is_heard
from hcs.shown import shown


class _Repeater(logging.Handler):
    """Repeats what threads of one flow run say, and those of which Prefect knows nothing.

    What workers say of a well is repeated by the well's own task.
    """

    def __init__(self, run: str | None) -> None:
        super().__init__(logging.WARNING)
        self._run, self._context = run, copy_context()

    def emit(self, record: logging.LogRecord) -> None:
        """Repeat a record."""
        here = FlowRunContext.get()
        if is_heard() or (here and here.flow_run and str(here.flow_run.id) != self._run):
            return
        # threads that the flow knows nothing of speak for it
        context = copy_context() if here else self._context.copy()
        context.run(_repeat, record.levelno, shown(self.format(record)))


def _repeat(level: int, text: str) -> None:
    get_run_logger().log(level, "%s", text)


@contextmanager
def repeating_warnings() -> Iterator[None]:
    """Repeat in this flow run's log what is warned of below ``hcs`` inside the block."""
    log, repeater = logging.getLogger("hcs"), _Repeater(flow_run.id)
    log.addHandler(repeater)
    try:
        yield
    finally:
        log.removeHandler(repeater)
