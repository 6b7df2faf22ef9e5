"""One night: the plates of a folder that have arrived, one after the other or several at once.

Plates are looked at anew before each round, so that one that arrives while others are analysed is
done in the same night. Knows no Prefect: `run` is how a plate is analysed, `on_plate` hears of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hcs.errors import HcsError, LockedError, PlateError, StoppedError, StorageError
from hcs.plate.arrivals import absolute
from hcs.run.budget import Rates, in_words, next_time, share_of, unattended
from hcs.run.night_look import Ready, is_held, with_quarantine
from hcs.run.night_notes import Notes, leave_summary, overdue
from hcs.run.night_queue import Queue
from hcs.run.night_report import STATES, NightReport, PlateRecord, failed_plate, record_of
from hcs.run.night_run import RunPlate, UnderWay, unwatched
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import Report, failure_of
from hcs.run.stopping import Stop
from hcs.settings import Settings

_log = logging.getLogger(__name__)

# between tries to list a folder, seconds: a file server is mounted, a bucket answers again
_PAUSES_S = (5, 60)
_ORDER = {state: number for number, state in enumerate(STATES)}
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
            here.work()
            if not here.wait():
                break
            here.find()
        if stop.is_asked:
            here.stop()
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
        self._run, self._clock = run, clock
        self._warnings = list[str]()
        self._began = clock.now()
        self._zone = ZoneInfo(night.time_zone) if night.time_zone else None
        self._until = self._last_hour()
        self._rates, self._notes = Rates(folder, clock.now), Notes(folder)
        self._queue = Queue(folder, unattended(given, night.stuck_after_h), night, clock.now, stop)
        self._is_listed = self._is_gone = False
        self._records = dict[str, PlateRecord]()
        self._failure = ""
        self._under_way = dict[str, UnderWay]()
        self._stop = stop
        # who asks for the next plate waits for its look, who tells of one does not
        self._choosing, self._one_at_a_time = threading.Lock(), threading.Lock()

    def find(self) -> None:
        """List the plates that are there; later on, those of the last time serve where that fails.

        Raises
        ------
        HcsError
            They could not be listed the first time.
        """
        for pause in (*_PAUSES_S, 0):
            try:
                self._queue.find()
            except HcsError as error:
                problem = error
            else:
                self._is_listed, self._is_gone = True, False
                return
            if not self._is_listed and not isinstance(problem, StorageError):
                break
            self._clock.sleep(pause, self._stop)
        if not self._is_listed:
            raise problem
        if not self._is_gone:
            self._warn(f"new plates were not looked for at {self._now():%H:%M}: {problem}")
        self._is_gone = True

    def work(self) -> None:
        """Analyse plates, one after the other or several at once, until none is ready."""
        at_once = self._settings.at_once
        if at_once == 1:
            # in this thread, where Ctrl-C is heard
            self._work()
            return
        with ThreadPoolExecutor(at_once, thread_name_prefix="plate") as threads:
            # who watches the night watches the plates
            futures = [threads.submit(copy_context().run, self._work) for _ in range(at_once)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self._stop.ask()
                raise

    def _work(self) -> None:
        while not self._stop.is_asked:
            with self._choosing:
                plate = self._queue.next(self._keep)
            if plate is None:
                return
            self._visit(plate)
            with self._choosing:
                self.find()

    def wait(self) -> bool:
        """Wait for new plates, if there is time; return whether to look again."""
        minutes = self._settings.look_every_min
        if minutes is None or self._until is None:
            return False
        if self._clock.now() + timedelta(minutes=minutes) >= self._until:
            return False
        self._leave_summary()
        self._clock.sleep(minutes * 60, self._stop)
        self._queue.begin_again()
        return True

    def stop(self) -> None:
        """End the night with what was on its way or to be begun."""
        self._stop.ask()
        to_come, others = self._queue.to_come()
        left = [PlateRecord(url, "stopped") for url in to_come]
        with self._one_at_a_time:
            left += [one.record("stopped") for one in self._under_way.values()]
            self._records |= {one.url: _stopped(one) for one in left}
        if others:
            self._warn(f"{others} plates that were finished before were not looked at again")

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
        problem = leave_summary(report)
        return replace(report, warnings=(*report.warnings, *filter(None, [problem])))

    def _leave_summary(self) -> None:
        """Leave beside the plates what the night came to so far."""
        to_come, _ = self._queue.to_come()
        left = {url: PlateRecord(url, "to come") for url in to_come}
        left |= {url: one.record("under way") for url, one in self._under_way.items()}
        report = self._summed_up(self._records | left)
        leave_summary(replace(report, is_over=False))

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

    def _visit(self, plate: Ready) -> None:
        under_way = UnderWay(plate, self._clock.now)
        with self._one_at_a_time:
            self._under_way[plate.url] = under_way
            self._leave_summary()
        try:
            record = self._late(plate) or self._analysed(under_way)
        except Exception as error:  # noqa: BLE001 - one bad plate never stops the others
            record = self._undone(under_way, error)
        record = replace(record, settings_files=plate.own.files)
        self._queue.note(record)
        record = self._keep(record)
        with self._one_at_a_time:
            self._under_way.pop(plate.url)
            self._leave_summary()
            self._tell(record)

    def _keep(self, record: PlateRecord) -> PlateRecord:
        with self._one_at_a_time:
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
        if is_held(plate.url):
            return self._in_use(plate, "another run has it, and no time is left to wait for it")
        return PlateRecord(
            plate.url,
            "no time left",
            f"needs about {in_words(needs)}, {in_words(max(left, 0))} are left",
            "night.priority beside it puts it first; `hcs nightly` without an hour takes it now",
            wells=len(plate.bytes_of),
            done=len(plate.done),
            expected_s=needs,
        )

    def _analysed(self, under_way: UnderWay) -> PlateRecord:
        plate = under_way.plate
        settings = self._settings_of(plate)
        expected = self._rates.seconds(plate.n_bytes, settings)
        self._stop.check()
        run = self._run(plate.url, settings, self._stop, under_way.hear)
        self._measure(under_way, run.report, settings)
        record = replace(record_of(plate.url, run.report), link=run.link, expected_s=expected)
        return replace(with_quarantine(record), seconds=under_way.seconds)

    def _settings_of(self, plate: Ready) -> Settings:
        return share_of(plate.own.settings, self._settings.at_once)

    def _undone(self, under_way: UnderWay, error: Exception) -> PlateRecord:
        # whatever a run says that is stopped from another thread
        if self._stop.is_asked or isinstance(error, StoppedError):
            return _stopped(under_way.record("stopped"))
        plate = under_way.plate
        if isinstance(error, LockedError):
            return self._in_use(plate, error.message, error.hint)
        failed = failed_plate(plate.url, error)
        known = under_way.record(failed.state)
        return replace(known, why=failed.why, hint=failed.hint)

    def _in_use(self, plate: Ready, why: str, hint: str = "") -> PlateRecord:
        why = f"asked for at {self._now():%H:%M}: {why}"
        return PlateRecord(plate.url, "in use", why, hint, wells=len(plate.bytes_of))

    def _measure(self, under_way: UnderWay, report: Report, settings: Settings) -> None:
        done = (one.well for one in report.outcomes if one.state == "done")
        n_bytes = sum(under_way.plate.bytes_of.get(well, 0) for well in done)
        with self._one_at_a_time:
            self._rates.add(under_way.at_work_s or report.seconds, n_bytes, settings)


def _stopped(record: PlateRecord) -> PlateRecord:
    why, hint = "the night was stopped before it was done", "the next night goes on where it was"
    return replace(record, why=why, hint=hint)


def _ignore(record: PlateRecord) -> None:
    """Hear of a plate and do nothing."""
