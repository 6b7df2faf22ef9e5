"""What the rooms say while a well is worked on, kept so that it can be shown elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hcs.run.overlap import Overlapping
from hcs.shown import shown

# more would be no small record
_AT_MOST_LINES = 200
# of an error: what was said before it; goes with it from process to process
_HEARD = "hcs_heard"


# threads that work for the one that listens have a copy of its context (`hcs.run.ahead`)
_listening: ContextVar[_Listener | None] = ContextVar("listening", default=None)


class _Listener(logging.Handler):
    """Keeps what one well's threads say: others may work on other wells."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _listening.get() is self:
            self.hear(f"{record.levelname} {shown(record.getMessage())}")

    def hear(self, line: str) -> None:
        if len(self.lines) < _AT_MOST_LINES:
            self.lines.append(line)


@contextmanager
def listen() -> Iterator[list[str]]:
    """Collect the lines that this thread, and those that work for it, log below ``hcs``.

    An error takes them along, see `heard`.

    Examples
    --------
    >>> with listen() as lines:
    ...     logging.getLogger("hcs.plate").warning("a chunk is missing")
    >>> lines
    ['WARNING a chunk is missing']
    """
    log, listener = logging.getLogger("hcs"), _Listener()
    token = _listening.set(listener)
    log.addHandler(listener)
    try:
        with _TALKATIVE.inside():
            yield listener.lines
    except Exception as error:
        vars(error)[_HEARD] = [*listener.lines, *heard(error)]
        raise
    finally:
        _listening.reset(token)
        log.removeHandler(listener)


@contextmanager
def _telling_all() -> Iterator[None]:
    log = logging.getLogger("hcs")
    level = log.level
    log.setLevel(min(logging.INFO, log.getEffectiveLevel()))
    try:
        yield
    finally:
        log.setLevel(level)


_TALKATIVE = Overlapping(_telling_all)


def is_heard() -> bool:
    """Tell whether somebody listens to this thread.

    Examples
    --------
    >>> with listen():
    ...     is_heard()
    True
    """
    return _listening.get() is not None


def heard(error: BaseException) -> tuple[str, ...]:
    """Return what was said before an error, wherever that was.

    Examples
    --------
    >>> try:
    ...     with listen():
    ...         logging.getLogger("hcs.plate").warning("a chunk is missing")
    ...         raise ValueError
    ... except ValueError as error:
    ...     heard(error)
    ('WARNING a chunk is missing',)
    """
    return tuple(vars(error).get(_HEARD, ()))


def repeat(lines: Iterable[str]) -> None:
    """Let the one who listens to this thread hear lines that were said elsewhere.

    Examples
    --------
    >>> with listen() as lines:
    ...     repeat(["WARNING a chunk is missing"])
    >>> lines
    ['WARNING a chunk is missing']
    """
    if listener := _listening.get():
        for line in lines:
            listener.hear(line)
