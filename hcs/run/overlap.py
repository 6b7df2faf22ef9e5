"""Changes of the whole process, by threads whose times overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock


class Overlapping:
    """A context that several threads are in at once: the first enters it, the last leaves it.

    For what holds for the whole process, such as Dask's settings: were each thread to enter and
    leave by itself, the first to leave would take it from the others, and the last bring it back.

    Parameters
    ----------
    enter : callable
        Returns the context, anew each time that nobody is in it.

    Examples
    --------
    >>> @contextmanager
    ... def light():
    ...     print("on")
    ...     yield
    ...     print("off")
    >>> room = Overlapping(light)
    >>> with room.inside(), room.inside():
    ...     print("two are in")
    on
    two are in
    off
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[object]]) -> None:
        self._enter = enter
        self._inside = 0
        self._one_at_a_time = Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the context while the block lasts."""
        with self._one_at_a_time:
            if not self._inside:
                self._context = self._enter()
                self._context.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._one_at_a_time:
                self._inside -= 1
                if not self._inside:
                    self._context.__exit__(None, None, None)
