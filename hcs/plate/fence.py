"""What keeps a run that was taken over from changing anything more.

A run that is stopped (SIGSTOP, a virtual machine that pauses) and wakes up after a takeover would
go on with the change that it was about to make, over what its successor made meanwhile and
vouches for. So each change asks for leave when nothing but itself is left to do. It is answered
from memory for a moment, since who wakes up was away for longer: the lock is taken over from those
only that gave no sign of life for many times as long.

Between the answer and a rename there is a moment left, in which a stop does no harm: the successor
sweeps the temporary file. A stop in the middle of the removal of a folder may still do some. So
may one before a request to S3, which nobody sweeps; there markers are put on condition that no
other run wrote theirs (`hcs.plate.s3`).
"""

from __future__ import annotations

import math
import time

from hcs.plate.lock import check_token
from hcs.plate.storage import Storage

LOOK_EVERY_S = 0.5
# goes on while the machine sleeps, where the system has such a clock
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Fence:
    """Lets the changes of one holder pass while it holds the plate.

    Parameters
    ----------
    companion : Storage
    token : int
        Of the holder's lock.
    """

    def __init__(self, companion: Storage, token: int) -> None:
        self._companion = companion
        self._token = token
        self._seen_s = -math.inf

    def check(self) -> None:
        """Raise LockedError when another run has taken over."""
        now_s = time.clock_gettime(_CLOCK)
        if now_s - self._seen_s > LOOK_EVERY_S:
            check_token(self._companion, self._token)
            self._seen_s = now_s
