"""Threads that do calls in this process; one that hangs can be given up, another has its place.

In a `ThreadPoolExecutor` it would keep its place, and the process would wait for it at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Semaphore, Thread
from typing import Any

# what was given up and has not ended, of this process
_hanging = set[Future[Any]]()


class Threads:
    """Threads, so many at work at the same time.

    Parameters
    ----------
    count : int
    name : str
        Of each thread.
    """

    def __init__(self, count: int, name: str) -> None:
        self._name = name
        self._places = Semaphore(count)
        self._waiting, self._at_work = set[Future[Any]](), set[Future[Any]]()
        self._one_at_a_time = Lock()

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Call a function in a thread, once there is a place."""
        future: Future[Any] = Future()
        with self._one_at_a_time:
            self._waiting.add(future)
        # the process does not wait for daemons
        Thread(
            target=self._do, args=(future, function, arguments), name=self._name, daemon=True
        ).start()
        return future

    def give_up(self, future: Future[Any]) -> None:
        """Give the place of a call that does not end to another; it goes on, and nobody waits."""
        if self._left(future):
            _hanging.add(future)
            future.add_done_callback(_hanging.discard)

    def close(self) -> None:
        """Drop what has not begun, and give up what has not ended."""
        with self._one_at_a_time:
            waiting, at_work = tuple(self._waiting), tuple(self._at_work)
        for future in waiting:
            if future.cancel():
                # its thread waits for a place
                self._places.release()
        for future in at_work:
            self.give_up(future)

    def _do(self, future: Future[Any], function: Callable[..., Any], arguments: Any) -> None:  # noqa: ANN401
        self._places.acquire()
        with self._one_at_a_time:
            self._waiting.discard(future)
            begins = future.set_running_or_notify_cancel()
            if begins:
                self._at_work.add(future)
        if not begins:
            return
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
            self._left(future)
            future.set_exception(error)
        else:
            self._left(future)
            future.set_result(result)

    def _left(self, future: Future[Any]) -> bool:
        """Free the place of a call; False where that was done before, or it never had one."""
        with self._one_at_a_time:
            if future not in self._at_work:
                return False
            self._at_work.remove(future)
        self._places.release()
        return True


def is_any_hanging() -> bool:
    """Tell whether a call that was given up, in this process, still goes on.

    Examples
    --------
    >>> is_any_hanging()
    False
    """
    return bool(_hanging)
