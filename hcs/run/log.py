"""What the rooms say while a well is worked on, kept so that it can be shown elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hcs.shown import shown

# more would be no small record
_AT_MOST_LINES = 200


# threads that work for the one that listens have a copy of its context (`hcs.run.ahead`)
_listening: ContextVar[logging.Handler | None] = ContextVar("listening", default=None)


class _Listener(logging.Handler):
    """Keeps what one well's threads say: others may work on other wells."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _listening.get() is self and len(self.lines) < _AT_MOST_LINES:
            self.lines.append(f"{record.levelname} {shown(record.getMessage())}")


@contextmanager
def listen() -> Iterator[list[str]]:
    """Collect the lines that this thread, and those that work for it, log below ``hcs``.

    Examples
    --------
    >>> with listen() as lines:
    ...     logging.getLogger("hcs.plate").warning("a chunk is missing")
    >>> lines
    ['WARNING a chunk is missing']
    """
    log, listener = logging.getLogger("hcs"), _Listener()
    level = log.level
    token = _listening.set(listener)
    log.addHandler(listener)
    log.setLevel(min(logging.INFO, log.getEffectiveLevel()))
    try:
        yield listener.lines
    finally:
        _listening.reset(token)
        log.removeHandler(listener)
        log.setLevel(level)
