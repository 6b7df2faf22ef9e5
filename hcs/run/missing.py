"""Workers that others start, and that may not be there: told from time to time, then given up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hcs.errors import NoWorkersError
from hcs.run.workers import has

_log = logging.getLogger(__name__)

# between two messages that work waits, seconds
_SAY_AGAIN_S = 600.0
# who waits looks every few seconds: after a longer pause nobody waited, and waiting begins anew
_PAUSE_S = 60.0


@dataclass
class _Wait:
    """Since when workers are waited for, when somebody last looked, when that is told next."""

    since: float
    looked: float
    told_next: float


class Missing:
    """Watches a scheduler whose workers may all go, and come back or not.

    Parameters
    ----------
    client : distributed.Client
    whose : str
        What is to have workers, as sentences begin with it.
    hint : str
        What to do where it has none.
    """

    # until workers that are waited for are given up, seconds
    patience_s = 3600.0

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - distributed has no types
        whose: str,
        hint: str = "start some",
    ) -> None:
        self._client, self._whose, self._hint = client, whose, hint
        self._waits = dict[str, _Wait]()
        self._one_at_a_time = threading.Lock()

    def look(self, resources: Mapping[str, float]) -> None:
        """Look whether a worker with the resources is there, for work that waits.

        Raises
        ------
        NoWorkersError
            If none has come for so long that none is to be hoped for.
        """
        workers = self._client.scheduler_info(n_workers=-1).get("workers") or {}
        there = any(has(worker["resources"], resources) for worker in workers.values())
        which = _in_words(resources)
        with self._one_at_a_time:
            if there:
                self._waits.pop(which, None)
            else:
                self._wait(which, time.monotonic())

    def _wait(self, which: str, now: float) -> None:
        wait = self._waits.get(which)
        if wait is None or now - wait.looked > _PAUSE_S:
            wait = self._waits[which] = _Wait(now, now, now)
        wait.looked = now
        if now - wait.since > self.patience_s:
            raise NoWorkersError(
                f"{self._whose} has had no {which} for {self.patience_s:g} s",
                hint=f"{self._hint}, and run again: what is finished is kept",
            )
        if now >= wait.told_next:
            wait.told_next = now + _SAY_AGAIN_S
            _log.warning("%s has no %s: waiting for them; %s", self._whose, which, self._hint)


def _in_words(resources: Mapping[str, float]) -> str:
    """Return what workers are called that have these resources.

    Examples
    --------
    >>> _in_words({}), _in_words({"GPU": 1})
    ('workers', 'workers with GPU')
    """
    return " with ".join(["workers", *filter(None, [", ".join(resources)])])
