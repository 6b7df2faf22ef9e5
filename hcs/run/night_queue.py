"""Which plate of a folder comes next: by priority, and those that may be done already come last.

A plate is looked at when its turn has come, so that a night with hundreds of finished plates begins
its first new one soon; and the folder is listed anew for each, so that what has arrived meanwhile
takes the place that its priority gives it.

A plate in use by another run is asked for again after each other plate that was done meanwhile: in
its place where its lock is free, else once nothing else is ready. Only who asks for a lock finds
out that its holder, on another machine, is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from fnmatch import fnmatch
from itertools import groupby, islice

from hcs.errors import HcsError, StoppedError, StorageError
from hcs.plate.arrivals import find_plates
from hcs.run.night_look import Ready, is_held, look_at, was_finished
from hcs.run.night_memory import Memory
from hcs.run.night_report import PlateRecord, failed_plate
from hcs.run.night_settings import NightSettings
from hcs.run.overrides import settings_of
from hcs.run.stopping import Stop
from hcs.settings import Settings

# looking waits for the disk or the network
_AT_ONCE = 4
# may be another the next time that somebody looks
PASSING = ("still arriving", "unreadable", "in use", "no time left", "no workers")
# a plate that arrives is looked at again before others only if that was so long ago
_AGAIN_AFTER = timedelta(minutes=5)


class Queue:
    """The plates of a folder that a night has not begun.

    Parameters
    ----------
    folder : str
        URL, in full.
    given : Settings
        Before files beside plates change them.
    night : NightSettings
    now : callable
    stop : Stop
    """

    def __init__(
        self,
        folder: str,
        given: Settings,
        night: NightSettings,
        now: Callable[[], datetime],
        stop: Stop,
    ) -> None:
        self._folder, self._given, self._night = folder, given, night
        self._now, self._stop = now, stop
        self._memory = Memory(folder)
        self._names = tuple[str, ...]()
        self._ready = dict[str, Ready]()
        self._finished = dict[str, bool]()
        self._looked = dict[str, datetime]()
        # those that need no look before the night waits, or none any more
        self._put_off = set[str]()
        # when they were asked for last
        self._in_use = set[str]()
        self._closed = set[str]()

    def find(self) -> None:
        """List the plates that are there.

        Raises
        ------
        HcsError
            The folder cannot be listed; those of the last time are still known.
        """
        self._names = find_plates(self._folder, self._night.depth)

    def next(self, on_look: Callable[[PlateRecord], object]) -> Ready | None:
        """Return the next plate to begin; None where none is ready.

        Parameters
        ----------
        on_look : callable
            Hears of plates that are not begun, and why.

        Raises
        ------
        StoppedError
            If somebody asks for it meanwhile.
        """
        try:
            for urls in self._turns():
                if any(url not in self._ready for url in urls):
                    self._look(urls, on_look)
                for url in urls:
                    if ready := self._ready.pop(url, None):
                        self._closed.add(url)
                        return ready
            return None
        finally:
            self._memory.keep(self._names)

    def note(self, record: PlateRecord) -> None:
        """Take note of what became of a plate that was begun.

        One whose run could not begin is looked at again when the night has waited; one in use also
        when another plate is through.
        """
        if record.state in PASSING:
            self._closed.discard(record.url)
            self._put_off.add(record.url)
            if record.state == "in use":
                self._in_use.add(record.url)
        else:
            self._put_off -= self._in_use

    def begin_again(self) -> None:
        """Look at all of them again that may be another now."""
        self._put_off.clear()
        self._looked.clear()

    def to_come(self) -> tuple[list[str], int]:
        """Return the plates that nobody analysed yet, and the number of others not looked at."""
        waiting = [url for url in self._names if self._is_open(url) and url not in self._looked]
        new = [url for url in waiting if url in self._ready or not self._was_finished(url)]
        return new, len(waiting) - len(new)

    def _turns(self) -> Iterator[Sequence[str]]:
        """Give the plates in their order: one, or several to look at together."""
        open_ones = [url for url in self._names if self._is_open(url)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="order") as threads:
            places = dict(zip(open_ones, threads.map(self._place, open_ones), strict=True))
        in_order = sorted(open_ones, key=lambda url: places[url])
        # what is new is not kept waiting by what comes after it
        for is_done, some in groupby(in_order, key=self._was_finished):
            yield from _batched(some, _AT_ONCE if is_done else 1)

    def _place(self, url: str) -> tuple[bool, float, bool, str]:
        looked = self._looked.get(url)
        recent = looked is not None and self._now() - looked < _AGAIN_AFTER
        try:
            priority = settings_of(url, self._folder, self._given).priority
        except Exception:  # noqa: BLE001 - told when the plate is looked at
            priority = 0
        is_last = is_held(url) if url in self._in_use else recent and url not in self._ready
        return is_last, -priority, self._was_finished(url), url

    def _was_finished(self, url: str) -> bool:
        if url not in self._finished:
            try:
                self._finished[url] = was_finished(url)
            except HcsError:
                return False
        return self._finished[url]

    def _is_open(self, url: str) -> bool:
        name = url.rpartition("/")[2]
        if any(fnmatch(name, pattern) for pattern in self._night.exclude):
            return False
        return url not in self._put_off and url not in self._closed

    def _look(self, urls: Sequence[str], on_look: Callable[[PlateRecord], object]) -> None:
        urls = [url for url in urls if url not in self._ready]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look") as threads:
            looked = list(threads.map(self._look_at, urls))
        for url, found in zip(urls, looked, strict=True):
            self._looked[url] = self._now()
            self._in_use.discard(url)
            if isinstance(found, Ready):
                self._ready[url] = found
                continue
            if found is None or found.state not in PASSING:
                self._closed.add(url)
            if found is not None:
                on_look(found)

    def _look_at(self, url: str) -> Ready | PlateRecord | None:
        try:
            return look_at(
                url, self._folder, self._given, self._night, self._now(), self._stop, self._memory
            )
        except StoppedError:
            raise
        except StorageError as error:
            # it may pass: the next look tells
            return PlateRecord(url, "unreadable", error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - one bad plate never stops the others
            return failed_plate(url, error)


def _batched(urls: Iterator[str], size: int) -> Iterator[Sequence[str]]:
    while some := list(islice(urls, size)):
        yield some
