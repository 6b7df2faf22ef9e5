"""Who started a flow from this process, hears of its wells, and gets its report.

Apart from the flow itself: Prefect sends a served flow to a new process with all that its function
names, and a context variable cannot travel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from hcs.run.outcome import OnOutcome, Report
from hcs.run.stopping import Stop
from hcs.shown import hide_in


@dataclass
class Watcher:
    """What the flow tells the one who started it here, and who may stop it.

    A flow that Prefect never began may be done without Prefect; one that began is never done twice.
    """

    on_outcome: OnOutcome | None = None
    report: Report | None = None
    error: BaseException | None = None
    stop: Stop = field(default_factory=Stop)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Note what the flow raises inside the block, of which Prefect keeps a state only.

        Its text goes into that state, and into the log: without secrets.
        """
        try:
            yield
        except BaseException as error:
            hide_in(error)
            self.error = error
            raise


_current: ContextVar[Watcher] = ContextVar("watcher")


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let flows that are started inside the block tell this watcher."""
    token = _current.set(watcher)
    try:
        yield
    finally:
        _current.reset(token)


def current_watcher() -> Watcher:
    """Return who watches; in a process that Prefect started, one that nobody asks."""
    return _current.get(Watcher())
