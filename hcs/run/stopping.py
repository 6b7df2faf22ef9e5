"""Asking a run to end before its time, and heeding that where it loops over wells or waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from threading import Event, RLock, Thread
from typing import ParamSpec, TypeVar

from hcs.errors import StoppedError

T = TypeVar("T")
P = ParamSpec("P")

# who waits for something else looks so often whether somebody asked, seconds
_LOOK_S = 0.5


class Stop:
    """Somebody's wish that a run ends soon; uttered once, from any thread, for good."""

    def __init__(self) -> None:
        self._asked = Event()
        self._calls = list[Callable[[], object]]()
        self._one_at_a_time = RLock()

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for the end, and return when those who wanted to be called then were."""
        with self._one_at_a_time, ExitStack() as all_of_them:
            self._asked.set()
            # also where one of them fails
            while self._calls:
                all_of_them.callback(self._calls.pop(0))

    def check(self) -> None:
        """Raise a StoppedError if somebody asked."""
        if self.is_asked:
            raise StoppedError("stopped", hint="run it again to go on")

    def heeded(self, items: Iterable[T]) -> Iterator[T]:
        """Give one item after the other, until somebody asks.

        Raises
        ------
        StoppedError
            Instead of the next item.

        Examples
        --------
        >>> list(Stop().heeded("ab"))
        ['a', 'b']
        """
        for item in items:
            self.check()
            yield item

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until somebody asks; return whether somebody did."""
        return self._asked.wait(seconds)

    def unless_asked(self, function: Callable[[], T]) -> T:
        """Call a function that cannot be ended, and wait for it until somebody asks.

        It is called in another thread, which nobody waits for after that: what it makes then, it
        has to clear away by itself.

        Raises
        ------
        StoppedError
            If somebody asks before it returns.
        Exception
            What the function raises.
        """
        made: Future[T] = Future()
        Thread(target=_call, args=(function, made), name="unless stopped", daemon=True).start()
        while not made.done():
            self.check()
            wait([made], _LOOK_S)
        return made.result()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Have something called, once, when somebody asks inside the block or did before."""
        with self._one_at_a_time:
            self._calls.append(call)
            if self.is_asked:
                self.ask()
        try:
            yield
        finally:
            with self._one_at_a_time:
                if call in self._calls:
                    self._calls.remove(call)


def _call(function: Callable[[], T], made: Future[T]) -> None:
    try:
        made.set_result(function())
    except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
        made.set_exception(error)


# of the work that this thread is at; work in a process of its own is killed instead
_heeded: ContextVar[Stop] = ContextVar("heeded")


def heeding(stop: Stop, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may end between two frames, see `between_frames`."""
    token = _heeded.set(stop)
    try:
        return function(*args, **kwargs)
    finally:
        _heeded.reset(token)


def between_frames(frames: Iterable[T]) -> Iterator[T]:
    """Give one frame after the other, until the run that this thread works for is to end.

    Raises
    ------
    StoppedError
        Instead of the next frame.

    Examples
    --------
    >>> stop = Stop()
    >>> heeding(stop, lambda: list(between_frames("ab")))
    ['a', 'b']
    >>> stop.ask()
    >>> heeding(stop, lambda: list(between_frames("ab")))
    Traceback (most recent call last):
    hcs.errors.StoppedError: stopped (run it again to go on)
    """
    return _heeded.get(Stop()).heeded(frames)
