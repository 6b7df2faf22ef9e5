"""How long plates will take, and until when they may.

The planner knows how many bytes of pixels the steps to be done decode. How many seconds a byte
takes depends on methods and workers; it is measured on every plate, and remembered beside them.
Older plates count the less, the more was done since; and a rate that nothing confirmed for long is
doubted: by it alone plates are not begun, and what is not begun measures nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from hcs.errors import HcsError, SettingsError
from hcs.plate.storage import Storage
from hcs.run.cluster import gpus_here, worker_memory
from hcs.settings import Settings

_log = logging.getLogger(__name__)

# beside the plates: rates and the last summary
NIGHT_FOLDER = "hcs.night"
_KEY = "rates.json"
# of one worker, before anything was measured: within a factor of 2 for SSL on processors
_GUESS_S_PER_BYTE = 1e-7
# by what is not measured, a plate may take so many times less, and is begun; the first of its kind
# is the measurement, and a wrong guess shall not keep it from being one
_GUESS_DOUBT, _SCALED_DOUBT = 4.0, 2.0
# days in which the doubt of a rate doubles
_DOUBLED_IN = 7.0
# starting workers weighs more on a small plate: it tells nothing of one that is so much larger
_LARGER = 4


@dataclass(frozen=True)
class Rate:
    """Work of one kind that was measured.

    Parameters
    ----------
    seconds : float
        Wall time.
    n_bytes : float
        Decoded pixels, more than 0.
    largest : float
        Of one plate, decoded bytes, more than 0.
    at : datetime
        When it was measured last, with a time zone.
    """

    seconds: float
    n_bytes: float
    largest: float
    at: datetime


_reader = TypeAdapter(dict[str, Rate])


class Rates:
    """The measured rates of a folder of plates.

    Parameters
    ----------
    folder : str
        URL of the folder that is watched, in full.
    now : callable, optional
        What time it is, with a time zone.
    """

    def __init__(
        self, folder: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._storage = Storage.open(f"{folder}/{NIGHT_FOLDER}")
        self._now = now
        self._rates = _read(self._storage)

    def is_measured(self, n_bytes: float, settings: Settings) -> bool:
        """Tell whether work of this kind and about this size was measured."""
        rate = self._rates.get(kind_of(settings))
        return rate is not None and n_bytes <= _LARGER * rate.largest

    def seconds(self, n_bytes: float, settings: Settings) -> float:
        """Return how long so many decoded bytes will take, seconds.

        By the rate of this kind of work; of the same with another number of workers; or a guess.
        """
        guess = n_bytes * _GUESS_S_PER_BYTE / (workers_of(settings) or 1)
        rate = self._rate(settings)
        if rate is None:
            return guess
        seconds = n_bytes * rate.seconds / rate.n_bytes
        return seconds if n_bytes <= _LARGER * rate.largest else min(seconds, guess)

    def at_least(self, n_bytes: float, settings: Settings, margin: float) -> float:
        """Return in how many seconds the work may be done, at best; with a margin, if measured."""
        seconds = margin * self.seconds(n_bytes, settings)
        rate = self._rate(settings)
        if rate is None or n_bytes > _LARGER * rate.largest:
            return seconds / _GUESS_DOUBT if workers_of(settings) else 0.0
        doubt = 1.0 if self.is_measured(n_bytes, settings) else _SCALED_DOUBT
        days = max(0.0, (self._now() - rate.at) / timedelta(days=1))
        return seconds / doubt / 2 ** (days / _DOUBLED_IN)

    def _rate(self, settings: Settings) -> Rate | None:
        """Return the rate of this kind, or what is known of it with other numbers of workers."""
        if rate := self._rates.get(kind_of(settings)):
            return rate
        kind, workers = _kind(settings), workers_of(settings)
        if workers is None:
            return None
        scaled = [
            replace(rate, seconds=rate.seconds * there / workers)
            # another plate may be adding its own
            for name, rate in tuple(self._rates.items())
            if (there := _workers_in(name, kind))
        ]
        return max(scaled, key=lambda rate: rate.largest, default=None)

    def add(self, seconds: float, n_bytes: float, settings: Settings) -> None:
        """Remember what a plate took; where that cannot be written, for this night only."""
        if n_bytes <= 0:
            return
        kind = kind_of(settings)
        now = self._now()
        before = self._rates.get(kind, Rate(0, 0, n_bytes, now))
        # another plate as large as the largest halves what was known
        kept = 0.5 ** (n_bytes / before.largest)
        self._rates[kind] = Rate(
            kept * before.seconds + seconds,
            kept * before.n_bytes + n_bytes,
            max(before.largest, n_bytes),
            now,
        )
        try:
            self._storage.write(_KEY, _reader.dump_json(self._rates, indent=1))
        except HcsError as error:
            _log.warning("the measured rate is not kept: %s", error)


def kind_of(settings: Settings) -> str:
    """Return what the rate of a run depends on, in words.

    Examples
    --------
    >>> kind_of(Settings.model_validate({"run": {"workers": 4}}))
    'ssl, cpu, local, 4 workers'
    """
    workers = workers_of(settings)
    return f"{_kind(settings)}, {'those that are there' if workers is None else workers} workers"


def workers_of(settings: Settings) -> int | None:
    """Return how many workers there will be; None for those of a scheduler that nobody counted.

    Examples
    --------
    >>> workers_of(Settings.model_validate({"run": {"dask": "tls://scheduler:8786"}}))
    """
    run = settings.run
    is_known = run.workers or run.adaptive or "://" not in run.dask
    return run.n_workers if is_known else None


def _kind(settings: Settings) -> str:
    return ", ".join(("+".join(settings.methods), settings.run.device, settings.run.dask))


def _workers_in(name: str, kind: str) -> int:
    """Return with how many workers work was done, if it was of this kind; else 0."""
    before, _, words = name.rpartition(", ")
    number = words.removesuffix(" workers")
    return int(number) if before == kind and number.isdecimal() else 0


def unattended(settings: Settings, stuck_after_h: float | None) -> Settings:
    """Return settings with which no piece of work hangs for ever.

    Examples
    --------
    >>> unattended(Settings(), stuck_after_h=6).run.timeout_s
    21600.0
    """
    if settings.run.timeout_s is not None or stuck_after_h is None:
        return settings
    run = settings.run.model_copy(update={"timeout_s": stuck_after_h * 3600.0})
    return settings.model_copy(update={"run": run})


def share_of(settings: Settings, at_once: int) -> Settings:
    """Return the settings of one plate of several that are analysed at once.

    Each has workers of its own, here, on Slurm and on Kubernetes; those that are at an address are
    shared by their scheduler, and nothing changes.

    Raises
    ------
    SettingsError
        If the plates would share GPUs of this machine: their networks fill the memory of one.

    Examples
    --------
    >>> share_of(Settings.model_validate({"run": {"workers": 6}}), at_once=2).run.workers
    3
    """
    run, memory = settings.run, worker_memory(settings.run)
    if at_once == 1 or "://" in run.dask:
        return settings
    if memory is not None and gpus_here(run):
        raise SettingsError(
            f"{at_once} plates at once would share the GPUs of this machine",
            hint="night.at_once: 1; or run.device: cpu",
        )
    fewest, most = run.bounds
    part = max(1, most // at_once)
    share: dict[str, object] = {
        "gpu_workers": max(1, run.gpu_workers // at_once),
        "dashboard": None,
    }
    if fewest < most:
        share |= {"workers": None, "adaptive": (fewest // at_once, part)}
    else:
        share["workers"] = part
    if memory is not None:
        share["memory_per_worker"] = run.memory_per_worker or f"{memory}B"
    return settings.model_copy(update={"run": run.model_copy(update=share)})


def next_time(hour: time, now: datetime, zone: ZoneInfo | None) -> datetime:
    """Return when a clock on the wall will next show an hour.

    Parameters
    ----------
    hour : time
    now : datetime
        With a time zone.
    zone : ZoneInfo or None
        Of the clock; None for this machine's.

    Returns
    -------
    datetime
        Later than `now`, in UTC: differences between local times forget that clocks are changed.

    Examples
    --------
    >>> next_time(time(7), datetime(2026, 10, 24, 18, tzinfo=UTC), ZoneInfo("Europe/Zurich"))
    datetime.datetime(2026, 10, 25, 6, 0, tzinfo=datetime.timezone.utc)
    """
    today = now.astimezone(zone).date()
    walls = (datetime.combine(today + timedelta(days=days), hour) for days in range(3))
    # without a zone of its own, a local time is this machine's
    moments = (wall.replace(tzinfo=zone).astimezone(UTC) for wall in walls)
    return next(moment for moment in moments if moment > now)


def in_words(seconds: float) -> str:
    """Return a time that passes, for people.

    Examples
    --------
    >>> in_words(41), in_words(600), in_words(11_520)
    ('41 s', '10 min', '3 h 12 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _read(storage: Storage) -> dict[str, Rate]:
    try:
        rates = _reader.validate_json(storage.read(_KEY))
    except FileNotFoundError:
        return {}
    except (HcsError, ValidationError) as error:
        _log.warning("measured rates are forgotten: %s/%s: %s", storage.url, _KEY, error)
        return {}
    return {
        name: rate
        for name, rate in rates.items()
        if min(rate.seconds, rate.n_bytes, rate.largest) > 0
    }
