"""Reading, computing and writing at the same time: calls in other threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# one reads or writes, the others wait for the disk or decode
READERS = 4


def in_step(
    function: Callable[[Item], Result], items: Iterable[Item], at_most: int
) -> Iterator[Result]:
    """Yield what a function makes of each item, in order; it runs in other threads.

    To read ahead, put the iterator before the computing; to write behind, after it: items are
    taken in this thread, where an item may be long in the making.

    Parameters
    ----------
    function : callable
    items : iterable
        Taken one by one, while fewer than `at_most` are under way.
    at_most : int
        Items begun and not yielded yet: what memory has to hold.

    Raises
    ------
    Exception
        What the function or the items raise, in order; then nothing more is begun.

    Examples
    --------
    >>> list(in_step(abs, [-3, -1, -2], at_most=2))
    [3, 1, 2]
    """
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(min(at_most, READERS), thread_name_prefix="ahead") as threads:
        try:
            for item in items:
                under_way.append(threads.submit(copy_context().run, function, item))
                if len(under_way) >= at_most:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
