"""One night: the plates of a folder that have arrived, one after the other or several at once.

Plates are looked at anew before each round, so that one that arrives while others are analysed is
done in the same night. Knows no Prefect: `run` is how a plate is analysed, `on_plate` hears of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from zoneinfo import ZoneInfo

from hcs.errors import HcsError, LockedError, PlateError, StoppedError, StorageError
from hcs.plate.arrivals import absolute, find_plates
from hcs.run.budget import Rates, in_words, next_time, share_of, unattended
from hcs.run.night_look import Ready, look_at, with_quarantine
from hcs.run.night_notes import Notes, overdue
from hcs.run.night_report import STATES, NightReport, PlateRecord, failed_record, record_of
from hcs.run.night_run import RunPlate, unwatched
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import Report, failure_of
from hcs.run.stopping import Stop
from hcs.settings import Settings

_log = logging.getLogger(__name__)

# looking waits for the disk or the network
_LOOKS_AT_ONCE = 4
# between tries to list a folder, seconds: a file server is mounted, a bucket answers again
_PAUSES_S = (5, 60)
_ORDER = {state: number for number, state in enumerate(STATES)}
# may be another the next time that somebody looks
_PASSING = ("still arriving", "unreadable", "in use", "no time left")
# nights remember since when
_WAITING = ("still arriving", "in use")

OnPlate = Callable[[PlateRecord], None]


@dataclass(frozen=True)
class Clock:
    """What time it is, UTC, how to let it pass or until somebody says stop, and when to begin.

    `scheduled` is when the night should have begun; None for when it does.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float, Stop], object] = lambda seconds, stop: stop.wait(seconds)
    scheduled: datetime | None = None


def run_night(
    folder: str,
    settings: Settings | None = None,
    night: NightSettings | None = None,
    *,
    run: RunPlate | None = None,
    on_plate: OnPlate | None = None,
    clock: Clock | None = None,
    stop: Stop | None = None,
) -> NightReport:
    """Analyse the plates that have arrived in a folder and are not done, and sum up.

    Parameters
    ----------
    folder : str
        A local path, ``s3://bucket`` or ``s3://bucket/prefix``.
    settings : Settings or None
        For all plates; files beside them change them, see `hcs.run.overrides`.
    night : NightSettings or None
    run : RunPlate or None
        None for a night that nobody watches.
    on_plate : callable or None
        Hears of every plate that was to be analysed, when it is through.
    clock : Clock or None
    stop : Stop or None
        Asked from another thread, it ends the night, and the plates on their way, as Ctrl-C does.

    Returns
    -------
    NightReport
        Also where plates failed: none stops the others; where the folder could not be listed later
        on; and where Ctrl-C stopped the night.

    Raises
    ------
    MissingError, PlateError, StorageError
        There is no such folder, it is a plate, or it cannot be listed when the night begins.
    """
    place = absolute(folder)
    if place.endswith(".zarr"):
        raise PlateError(
            f"{place} is a plate, not a folder of plates",
            hint="name the folder that it lies in; one plate alone is analysed by `hcs run`",
        )
    settings, night = settings or Settings(), night or NightSettings()
    stop, clock = stop or Stop(), clock or Clock()
    here = _Night(place, settings, night, run or unwatched, clock, stop)
    here.on_plate = on_plate or _ignore
    here.find()
    try:
        while not stop.is_asked:
            if ready := here.look():
                here.start(ready)
            elif not here.wait():
                break
            here.find()
    except (KeyboardInterrupt, StoppedError):
        # Slurm sends it too, before a job's time is over: the morning wants its summary
        here.stop()
    except Exception as error:  # noqa: BLE001 - whatever happens, the morning wants its summary
        here.break_off(error)
    return here.report()


class _Night:
    """Plates on their way through a night."""

    def __init__(
        self,
        folder: str,
        given: Settings,
        night: NightSettings,
        run: RunPlate,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self.on_plate: OnPlate = _ignore
        self._folder, self._settings = folder, night
        self._given = unattended(given, night.stuck_after_h)
        self._run, self._clock = run, clock
        self._warnings = list[str]()
        self._began = clock.now()
        self._zone = ZoneInfo(night.time_zone) if night.time_zone else None
        self._until = self._last_hour()
        self._rates, self._notes = Rates(folder), Notes(folder, self._began.astimezone(self._zone))
        self._names: tuple[str, ...] | None = None
        self._records = dict[str, PlateRecord]()
        self._failure = ""
        self._put_off = set[str]()
        self._left = dict[str, Ready]()
        self._under_way = set[str]()
        self._stop = stop
        self._one_at_a_time = threading.Lock()

    def find(self) -> None:
        """List the plates that are there; later on, those of the last time serve where that fails.

        Raises
        ------
        HcsError
            They could not be listed the first time.
        """
        for pause in (*_PAUSES_S, 0):
            try:
                self._names = find_plates(self._folder, self._settings.depth)
            except HcsError as error:
                problem = error
            else:
                return
            if self._names is None and not isinstance(problem, StorageError):
                break
            self._clock.sleep(pause, self._stop)
        if self._names is None:
            raise problem
        self._warn(f"new plates were not looked for at {self._now():%H:%M}: {problem}")

    def look(self) -> list[Ready]:
        """Look at every plate that is not through, and return those to begin, the first first."""
        urls = [url for url in self._names or () if self._is_open(url)]
        with ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="look") as threads:
            looked = list(threads.map(self._look_at, urls))
        for one in looked:
            if isinstance(one, PlateRecord):
                self._keep(one)
        ready = [one for one in looked if isinstance(one, Ready)]
        return sorted(ready, key=lambda one: (-one.own.priority, one.url))

    def start(self, ready: Sequence[Ready]) -> None:
        """Analyse plates, in order, and return when all are through."""
        self._left = {one.url: one for one in ready}
        at_once = self._settings.at_once
        if at_once == 1:
            # in this thread, where Ctrl-C is heard
            for one in ready:
                self._visit(one)
            return
        with ThreadPoolExecutor(at_once, thread_name_prefix="plate") as threads:
            # who watches the night watches the plates
            futures = [threads.submit(copy_context().run, self._visit, one) for one in ready]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self._stop.ask()
                raise

    def wait(self) -> bool:
        """Wait for new plates, if there is time; return whether to look again."""
        minutes = self._settings.look_every_min
        if minutes is None or self._until is None:
            return False
        if self._clock.now() + timedelta(minutes=minutes) >= self._until:
            return False
        self._leave_summary()
        self._clock.sleep(minutes * 60, self._stop)
        self._put_off.clear()
        return True

    def stop(self) -> None:
        """End the night with what was on its way or to be begun."""
        self._stop.ask()
        for plate in self._left.values():
            self._records[plate.url] = _stopped(plate)

    def break_off(self, error: Exception) -> None:
        """End the night because of an error that nobody thought of."""
        _log.error("the night in %s ends", self._folder, exc_info=error)
        self._failure = f"the night ended before its time: {failure_of(error).message}"
        self._warn(self._failure)
        self.stop()

    def report(self) -> NightReport:
        """Sum up, and leave the summary beside the plates."""
        report = self._summed_up(self._records)
        if not report.stopped:
            self._notes.end(report.plates)
        warning = self._notes.leave(report)
        return replace(report, warnings=(*report.warnings, *filter(None, [warning])))

    def _leave_summary(self) -> None:
        """Leave beside the plates what the night came to so far."""
        left = {
            url: PlateRecord(
                url,
                "under way" if url in self._under_way else "to come",
                wells=len(plate.bytes_of),
            )
            for url, plate in self._left.items()
        }
        report = self._summed_up(self._records | left)
        self._notes.leave(replace(report, is_over=False))

    def _summed_up(self, records: Mapping[str, PlateRecord]) -> NightReport:
        return NightReport(
            self._folder,
            self._began.astimezone(self._zone),
            self._now(),
            self._until and self._until.astimezone(self._zone),
            tuple(sorted(records.values(), key=lambda one: (_ORDER[one.state], one.url))),
            warnings=tuple(self._warnings),
            stopped=self._stop.is_asked and not self._failure,
            failure=self._failure,
        )

    def _last_hour(self) -> datetime | None:
        """Return until when to work: the hour after the night should have begun, if that was late.

        By a night that begins at 7:05 instead of 18:00, the next 7:00 is not meant.
        """
        hour, longest_h = self._settings.until, self._settings.longest_h
        if hour is None:
            return None
        scheduled = self._clock.scheduled or self._began
        until = next_time(hour, min(scheduled, self._began), self._zone)
        if longest_h is not None and until - self._began > timedelta(hours=longest_h):
            until = next_time(hour, self._began - timedelta(days=1), self._zone)
        if until <= self._began:
            self._warn(f"it is {self._now():%H:%M}, the night should be over by {hour:%H:%M}")
        return until

    def _now(self) -> datetime:
        return self._clock.now().astimezone(self._zone)

    def _warn(self, text: str) -> None:
        _log.warning("%s", text)
        self._warnings.append(text)

    def _is_open(self, url: str) -> bool:
        name = url.rpartition("/")[2]
        if any(fnmatch(name, pattern) for pattern in self._settings.exclude):
            return False
        known = self._records.get(url)
        return url not in self._put_off and (known is None or known.state in _PASSING)

    def _look_at(self, url: str) -> Ready | PlateRecord | None:
        try:
            now = self._clock.now()
            return look_at(url, self._folder, self._given, self._settings, now, self._stop)
        except StoppedError:
            raise
        except StorageError as error:
            # it may pass: the next look tells
            return PlateRecord(url, "unreadable", error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - one bad plate never stops the others
            return _failed(url, error)

    def _visit(self, plate: Ready) -> None:
        begun = self._clock.now()
        with self._one_at_a_time:
            self._under_way.add(plate.url)
            self._leave_summary()
        try:
            record = self._late(plate) or self._analysed(plate)
        except Exception as error:  # noqa: BLE001 - one bad plate never stops the others
            record = self._undone(plate, error)
        took = (self._clock.now() - begun).total_seconds()
        wells, files = record.wells or len(plate.bytes_of), plate.own.files
        record = replace(record, wells=wells, seconds=took, settings_files=files)
        with self._one_at_a_time:
            record = self._keep(record)
            self._left.pop(plate.url)
            self._under_way.remove(plate.url)
            if record.state in _PASSING:
                self._put_off.add(plate.url)
            self._leave_summary()
            self._tell(record)

    def _keep(self, record: PlateRecord) -> PlateRecord:
        if record.state in _WAITING:
            now = self._clock.now()
            since = self._notes.since(record.url, record.state, now)
            late = overdue(since, now, self._settings.overdue_after_h)
            record = replace(record, since=since.astimezone(self._zone), overdue=late)
        self._records[record.url] = record
        return record

    def _tell(self, record: PlateRecord) -> None:
        try:
            self.on_plate(record)
        except Exception as error:  # noqa: BLE001 - who watches never stops the night
            _log.warning("plate %s was not told of", record.url, exc_info=error)

    def _late(self, plate: Ready) -> PlateRecord | None:
        """Return the record of a plate that cannot be done in time; None for one that can."""
        if self._until is None:
            return None
        settings = self._settings_of(plate)
        left = (self._until - self._clock.now()).total_seconds()
        needs = self._rates.seconds(plate.n_bytes, settings) * self._settings.margin
        if left > max(0, self._rates.at_least(plate.n_bytes, settings, self._settings.margin)):
            return None
        return PlateRecord(
            plate.url,
            "no time left",
            f"needs about {in_words(needs)}, {in_words(max(left, 0))} are left",
            "night.priority beside it puts it first; `hcs nightly` without an hour takes it now",
            expected_s=needs,
        )

    def _analysed(self, plate: Ready) -> PlateRecord:
        settings = self._settings_of(plate)
        expected = self._rates.seconds(plate.n_bytes, settings)
        self._stop.check()
        run = self._run(plate.url, settings, self._stop)
        self._measure(plate, run.report, settings)
        record = replace(record_of(plate.url, run.report), link=run.link, expected_s=expected)
        return with_quarantine(record)

    def _settings_of(self, plate: Ready) -> Settings:
        return share_of(plate.own.settings, self._settings.at_once)

    def _undone(self, plate: Ready, error: Exception) -> PlateRecord:
        # whatever a run says that is stopped from another thread
        if self._stop.is_asked or isinstance(error, StoppedError):
            return _stopped(plate)
        if isinstance(error, LockedError):
            return PlateRecord(plate.url, "in use", error.message, error.hint)
        return _failed(plate.url, error)

    def _measure(self, plate: Ready, report: Report, settings: Settings) -> None:
        done = (one.well for one in report.outcomes if one.state == "done")
        n_bytes = sum(plate.bytes_of.get(well, 0) for well in done)
        with self._one_at_a_time:
            self._rates.add(report.seconds, n_bytes, settings)


def _failed(url: str, error: Exception) -> PlateRecord:
    if not isinstance(error, HcsError):
        _log.error("plate %s", url, exc_info=error)
    return failed_record(url, error)


def _stopped(plate: Ready) -> PlateRecord:
    return PlateRecord(
        plate.url,
        "stopped",
        "the night was stopped before it was done",
        "the next night goes on where it was",
        wells=len(plate.bytes_of),
    )


def _ignore(record: PlateRecord) -> None:
    """Hear of a plate and do nothing."""
