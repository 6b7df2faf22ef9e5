"""What a night leaves beside the plates: its summary, now and dated, and who waits since when."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from hcs.errors import HcsError
from hcs.plate.commit import EVERYTHING
from hcs.plate.storage import Storage
from hcs.run.budget import NIGHT_FOLDER
from hcs.run.night_report import NightReport, PlateRecord
from hcs.run.night_summary import to_markdown

_log = logging.getLogger(__name__)

_NOW, _DATED, _WAITING = "summary.md", "summaries", "waiting.json"
# two months of nights
_KEPT = 60
# another night may be writing beside this one, which takes it a moment
_DEAD_S = 3600.0
_reader = TypeAdapter(dict[str, AwareDatetime])


class Notes:
    """The notes of one night.

    Parameters
    ----------
    folder : str
        URL of the folder that is watched, in full.
    """

    def __init__(self, folder: str) -> None:
        self._storage = Storage.open(f"{folder}/{NIGHT_FOLDER}")
        self._waiting = _read(self._storage)

    def since(self, url: str, state: str, now: datetime) -> datetime:
        """Return since when a plate has been in a state, as far as nights know."""
        return self._waiting.setdefault(f"{state}: {url}", now)

    def end(self, records: Iterable[PlateRecord]) -> None:
        """Remember since when plates wait, for the nights to come.

        Drop old summaries, and the temporary files of nights that were killed.
        """
        waiting = {f"{one.state}: {one.url}": one.since for one in records if one.since}
        try:
            if waiting or self._storage.exists(_WAITING):
                self._storage.write(_WAITING, _reader.dump_json(waiting, indent=1))
            left = self._storage.leftovers(EVERYTHING, rested_s=_DEAD_S)
            for key in (*left, *sorted(self._storage.sizes(_DATED))[:-_KEPT]):
                self._storage.delete(key)
        except HcsError as error:
            _log.warning("the notes of the night are not complete: %s", error)


def leave_summary(report: NightReport) -> str:
    """Write the summary as it is now; return why that is not possible, else nothing.

    It lies there twice: as the newest, and named after when the night began.
    """
    storage = Storage.open(f"{report.folder}/{NIGHT_FOLDER}")
    try:
        for key in (_NOW, f"{_DATED}/{report.began:%Y-%m-%d_%H-%M-%S}.md"):
            storage.write(key, to_markdown(report).encode())
    except HcsError as error:
        return f"the summary is not left beside the plates: {error}"
    return ""


def with_warnings(report: NightReport, warnings: Sequence[str]) -> NightReport:
    """Return a report with more warnings, and have the summary that was left tell of them."""
    if not warnings:
        return report
    report = replace(report, warnings=(*report.warnings, *warnings))
    if (problem := leave_summary(report)) and problem not in report.warnings:
        return replace(report, warnings=(*report.warnings, problem))
    return report


def overdue(since: datetime | None, now: datetime, after_h: float | None) -> bool:
    """Tell whether a plate has waited for too long.

    Examples
    --------
    >>> evening = datetime(2026, 11, 21, 18)
    >>> overdue(evening, evening + timedelta(hours=72), 72), overdue(evening, evening, 72)
    (True, False)
    """
    return since is not None and after_h is not None and now - since >= timedelta(hours=after_h)


def _read(storage: Storage) -> dict[str, datetime]:
    try:
        return _reader.validate_json(storage.read(_WAITING))
    except FileNotFoundError:
        return {}
    except (HcsError, ValidationError) as error:
        _log.warning("since when plates wait is forgotten: %s/%s: %s", storage.url, _WAITING, error)
        return {}
