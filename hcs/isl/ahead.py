"""Batches are read and cut while the network learns from those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], at_most: int) -> Generator[Item, None, None]:
    """Yield the same items in the same order, made in another thread, some of them beforehand.

    Close it where not all items are taken (`contextlib.closing`), then nothing more is made.

    Parameters
    ----------
    items : iterable
        None of them is None.
    at_most : int
        Items made and not taken yet: what memory has to hold.

    Raises
    ------
    Exception
        What making an item raises, when it would have been its turn.

    Examples
    --------
    >>> list(ahead(iter([3, 1, 2]), at_most=2))
    [3, 1, 2]
    """
    source = iter(items)
    made: deque[Future[Item | None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        try:
            made.extend(thread.submit(next, source, None) for _ in range(at_most))
            while (item := made.popleft().result()) is not None:
                made.append(thread.submit(next, source, None))
                yield item
        finally:
            for future in made:
                future.cancel()
