"""How often a piece of work was started in this run, kept beside the plate.

A worker writes down that it starts before it does anything, so that the count is right however the
worker ends: an error, SIGKILL, or a scheduler that starts the work again on its own. Work that only
waited in the queue of a worker that died is not charged, nor is work whose worker was retired.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from hcs.errors import StorageError, WorkerError, WriteError
from hcs.plate.storage import Storage

_log = logging.getLogger(__name__)

_Kind = Literal["json", "back", "retired"]
_NOT_CHARGED: tuple[_Kind, ...] = ("back", "retired")


@dataclass(frozen=True)
class _Note:
    """Who starts a piece of work, and when."""

    host: str
    process: int
    time: float


_note_reader = TypeAdapter(_Note)


@dataclass(frozen=True)
class Attempts:
    """The starts of this run.

    Parameters
    ----------
    companion : Storage
        The folder beside the plate.
    token : int
        Of the lock that the run holds; a later run counts anew.
    limit : int
        Starts allowed for one piece of work.
    """

    companion: Storage
    token: int
    limit: int

    def start(self, name: str) -> int:
        """Write down one more start, and return its number, from 1.

        Raises
        ------
        WorkerError
            If the work was started as often as allowed and never came back.
        """
        note = _Note(socket.gethostname(), os.getpid(), time.time())
        content = json.dumps(asdict(note)).encode()
        charged = 0
        for number in count(1):
            if self.companion.create(self._key(name, number), content):
                return number
            charged += not any(
                self.companion.exists(self._key(name, number, kind)) for kind in _NOT_CHARGED
            )
            if charged == self.limit:
                break
        raise WorkerError(
            f"{name} was started {self.limit} times and its worker died each time",
            hint="most often the memory: see `hcs plan`, or give each worker more with --memory",
        )

    def end(self, name: str, number: int) -> None:
        """Write down that a start came to its end, whatever the end: it is not charged.

        What it found can still be lost with its worker, which a neighbour may kill.
        """
        try:
            self.companion.create(self._key(name, number, "back"), b"")
        except (WriteError, StorageError) as error:
            # the work is done, or has its own error to tell
            _log.warning("start %d of %s counts as one whose worker died: %s", number, name, error)

    def retire(self, name: str, number: int) -> None:
        """Write down that a worker was retired in the middle of a start, which does not count."""
        self.companion.create(self._key(name, number, "retired"), b"")

    def count(self, name: str) -> int:
        """Return how often the work was started, not counting workers that were retired."""
        numbers = self._numbers(name)
        return len(numbers["json"]) - len(numbers["retired"])

    def most(self, name: str) -> int:
        """Return the highest number of starts of any work below a name.

        Of a well that was cut into spans, that is the span that was hardest.
        """
        return max(self._numbers(name)["json"], default=0)

    def under_way(self, name: str) -> int:
        """Return the number of the latest start; 0 for none, or one whose worker was retired."""
        numbers = self._numbers(name)
        latest = max(numbers["json"], default=0)
        return 0 if latest in numbers["retired"] else latest

    def latest_worker(self, name: str) -> str:
        """Return host and process of the latest start of any work below a name; empty for none."""
        keys = self.companion.sizes(f"attempts/{self.token:08d}/{name}")
        notes = [_read_note(self.companion.read(key)) for key in keys if key.endswith(".json")]
        told = [note for note in notes if note]
        latest = max(told, key=lambda note: note.time, default=None)
        return f"{latest.host}:{latest.process}" if latest else ""

    def _numbers(self, name: str) -> Mapping[str, list[int]]:
        """Return the numbers of starts below a name by the kind of file that notes them."""
        numbers = defaultdict[str, list[int]](list)
        for key in self.companion.sizes(f"attempts/{self.token:08d}/{name}"):
            number, _, kind = key.rpartition("/")[2].rpartition(".")
            if number.isdecimal():
                numbers[kind].append(int(number))
        return numbers

    def _key(self, name: str, number: int, kind: _Kind = "json") -> str:
        return f"attempts/{self.token:08d}/{name}/{number}.{kind}"


def _read_note(content: bytes) -> _Note | None:
    """Return a note; None of one that is damaged, or half written where there are no links."""
    try:
        return _note_reader.validate_json(content)
    except ValidationError:
        return None
