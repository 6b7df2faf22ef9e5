"""How often a piece of work was started in this run, kept beside the plate.

A worker writes down that it starts before it does anything, so that the count is right however the
worker ends: an error, SIGKILL, or a scheduler that starts the work again on its own. Work that only
waited in the queue of a worker that died is not charged.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass

from hcs.errors import WorkerError
from hcs.plate.storage import Storage


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
        note = {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
        content = json.dumps(note).encode()
        for number in range(1, self.limit + 1):
            if self.companion.create(self._key(name, number), content):
                return number
        raise WorkerError(
            f"{name} was started {self.limit} times and its worker died each time",
            hint="most often the memory: see `hcs plan`, or give each worker more with --memory",
        )

    def count(self, name: str) -> int:
        """Return how often the work was started."""
        numbers = range(1, self.limit + 1)
        return sum(self.companion.exists(self._key(name, number)) for number in numbers)

    def most(self, name: str) -> int:
        """Return the highest number of starts of any work below a name.

        Of a well that was cut into spans, that is the span that was hardest.
        """
        keys = self.companion.sizes(f"attempts/{self.token:08d}/{name}")
        numbers = [int(key.rpartition("/")[2].removesuffix(".json")) for key in keys]
        return max(numbers, default=0)

    def _key(self, name: str, number: int) -> str:
        return f"attempts/{self.token:08d}/{name}/{number}.json"
