"""What the rooms say while a well is worked on, kept so that it can be shown elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# more would be no small record
_AT_MOST_LINES = 200


class _Listener(logging.Handler):
    """Keeps what one thread says: others may work on other wells."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self.lines) < _AT_MOST_LINES:
            self.lines.append(f"{record.levelname} {record.getMessage()}")


@contextmanager
def listen() -> Iterator[list[str]]:
    """Collect the lines that this thread logs below ``hcs``.

    Examples
    --------
    >>> with listen() as lines:
    ...     logging.getLogger("hcs.plate").warning("a chunk is missing")
    >>> lines
    ['WARNING a chunk is missing']
    """
    log, listener = logging.getLogger("hcs"), _Listener()
    level = log.level
    log.addHandler(listener)
    log.setLevel(min(logging.INFO, log.getEffectiveLevel()))
    try:
        yield listener.lines
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
