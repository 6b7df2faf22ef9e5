"""What a night remembers of plates that were done, so that it need not look at each well again.

Remembered is a digest of all that the look depended on: settings, methods, every file of the input
and every marker, by name, size and time. Where one of them changed, the plate is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from hcs import __version__
from hcs.errors import HcsError
from hcs.plate.arrivals import state_of
from hcs.plate.commit import JSON, fingerprint
from hcs.plate.storage import Storage
from hcs.run import finish
from hcs.run.budget import NIGHT_FOLDER
from hcs.run.night_report import PlateRecord
from hcs.run.segmenters import find_segmenter
from hcs.run.steps import ALGORITHM, Step, steps_of
from hcs.settings import Settings

_log = logging.getLogger(__name__)

_KEY = "done.json"


@dataclass(frozen=True)
class _Seen:
    digest: str
    record: PlateRecord


_reader = TypeAdapter(dict[str, _Seen])


class Memory:
    """The plates of a folder that had nothing to do when a night looked at them.

    Parameters
    ----------
    folder : str
        URL, in full.
    """

    def __init__(self, folder: str) -> None:
        self._storage = Storage.open(f"{folder}/{NIGHT_FOLDER}")
        self._seen = _read(self._storage)
        self._is_new = False

    def recall(self, url: str, digest: str) -> PlateRecord | None:
        """Return what was told of a plate, if all is as it was then."""
        seen = self._seen.get(url)
        return seen.record if seen and seen.digest == digest else None

    def remember(self, record: PlateRecord, digest: str) -> None:
        """Remember a plate that has nothing to do, as it was before that was found."""
        self._seen[record.url] = _Seen(digest, record)
        self._is_new = True

    def keep(self, urls: Iterable[str]) -> None:
        """Write down what is remembered of these plates, if that is more than before."""
        if not self._is_new:
            return
        self._seen = {url: self._seen[url] for url in urls if url in self._seen}
        try:
            self._storage.write(_KEY, _reader.dump_json(self._seen, indent=1))
        except HcsError as error:
            _log.warning("what is done is not remembered: %s", error)
        self._is_new = False


def digest_of(url: str, settings: Settings) -> str:
    """Return a digest of all that decides whether something of a plate is to be done.

    Raises
    ------
    HcsError
        The plate cannot be listed, or the settings name methods that are not there.
    """
    decides = settings.model_dump(mode="json", exclude={"run"})
    steps: list[JSON] = [_version_of(step) for step in steps_of(settings)]
    versions: list[JSON] = [__version__, finish.ALGORITHM]
    return fingerprint(
        {"settings": decides, "steps": steps, "versions": versions, "files": state_of(url)}
    )


def _version_of(step: Step) -> JSON:
    plugin = find_segmenter(step.method).version if step.kind == "segmenter" else ""
    return [step.name, ALGORITHM[step.kind], step.model.digest if step.model else "", plugin]


def _read(storage: Storage) -> dict[str, _Seen]:
    try:
        return _reader.validate_json(storage.read(_KEY))
    except FileNotFoundError:
        return {}
    except (HcsError, ValidationError) as error:
        _log.warning("what is done is looked at again: %s/%s: %s", storage.url, _KEY, error)
        return {}
