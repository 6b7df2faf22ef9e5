"""The small records that a worker sends back, and what a whole run came to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hcs.errors import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, UNEXPECTED, HcsError
from hcs.plate.path import WellPath
from hcs.shown import shown

# kept: nothing was to be done; waiting: needs the plate's pooled model before it can go on
WellState = Literal["done", "kept", "waiting", "failed"]


@dataclass(frozen=True)
class Failure:
    """Why a well failed.

    Parameters
    ----------
    cause : str
        The kind of error in words, as `hcs.errors` declares them.
    message, hint : str
        What is wrong, and what to do about it.

    Examples
    --------
    >>> failure_of(HcsError("field B/03/0 has 1 frame", hint="SSL needs two")).message
    'field B/03/0 has 1 frame'
    """

    cause: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class WellOutcome:
    """What became of one well.

    Parameters
    ----------
    well : WellPath
    state : {"done", "kept", "waiting", "failed"}
    steps : tuple of str
        Those that were done now, in order.
    n_objects : int
        Objects of all label images, counted once per frame, in the steps done now.
    seconds : float
        Wall time on the worker.
    attempts : int
        How often the well was started in this run.
    worker : str
        Host and process that finished it.
    failure : Failure or None
    log : tuple of str
        What the worker had to say, one line each.
    """

    well: WellPath
    state: WellState
    steps: tuple[str, ...] = ()
    n_objects: int = 0
    seconds: float = 0.0
    attempts: int = 0
    worker: str = ""
    failure: Failure | None = None
    log: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the worker warned of, naming the well.

        Examples
        --------
        >>> log = ("INFO ssl, not done yet", "WARNING frame 3 has no chunk")
        >>> WellOutcome(WellPath.parse("B/03"), "done", log=log).warnings
        ('B/03: frame 3 has no chunk',)
        """
        prefix = "WARNING "
        lines = (line.removeprefix(prefix) for line in self.log if line.startswith(prefix))
        return tuple(f"{self.well}: {line}" for line in lines)

    @property
    def line(self) -> str:
        """The outcome in one line, with the cause and the hint of a failure.

        Examples
        --------
        >>> broken = Failure("damaged data", "chunk 0/0 is damaged", "copy the plate again")
        >>> WellOutcome(WellPath.parse("B/03"), "failed", failure=broken).line
        'B/03 failed: chunk 0/0 is damaged (copy the plate again)'
        """
        if self.failure is None:
            return f"{self.well} {self.state}"
        hint = f" ({self.failure.hint})" if self.failure.hint else ""
        return f"{self.well} {self.state}: {self.failure.message}{hint}"


@dataclass(frozen=True)
class Report:
    """What a run of a plate came to; its truth is the markers on disk.

    Parameters
    ----------
    plate : str
        URL.
    done : tuple of WellPath
        Selected wells whose markers say that every step is done.
    outcomes : tuple of WellOutcome
        Of this run, in the order of the plate; wells with nothing to do included.
    outputs : tuple of str
        Where results lie.
    warnings : tuple of str
    failure : Failure or None
        Why the plate's own tables could not be written.
    seconds : float
    """

    plate: str
    done: tuple[WellPath, ...]
    outcomes: tuple[WellOutcome, ...]
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def failed(self) -> tuple[WellOutcome, ...]:
        """The wells that are not done."""
        done = set(self.done)
        return tuple(outcome for outcome in self.outcomes if outcome.well not in done)

    @property
    def exit_code(self) -> int:
        """0 every well and the plate's tables done, 2 some, 1 none."""
        if not self.failed and not self.failure:
            return EXIT_DONE
        return EXIT_PARTIAL if self.done else EXIT_FAILED


# outcome of a well, wells that are through, wells in all
OnOutcome = Callable[[WellOutcome, int, int], None]


def combine(outcomes: Sequence[WellOutcome]) -> WellOutcome:
    """Return several visits to one well as one outcome: the last one's state, the sum of the work.

    Examples
    --------
    >>> well = WellPath.parse("B/03")
    >>> first = WellOutcome(well, "waiting", steps=("ssl-statistics",), seconds=2.0)
    >>> combine([first, WellOutcome(well, "done", steps=("ssl",), seconds=1.5)]).seconds
    3.5
    """
    last = outcomes[-1]
    return replace(
        last,
        steps=tuple(dict.fromkeys(step for one in outcomes for step in one.steps)),
        n_objects=max(one.n_objects for one in outcomes),
        seconds=sum(one.seconds for one in outcomes),
        attempts=max(one.attempts for one in outcomes),
        log=tuple(line for one in outcomes for line in one.log),
    )


def worker_name() -> str:
    """Return host and number of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def failure_of(error: BaseException) -> Failure:
    """Return what an error says, whatever its kind."""
    if isinstance(error, HcsError):
        return Failure(error.cause, error.message, error.hint)
    text = str(error) or "no message"
    hint = "the log of the well has where it happened; please report it if it happens again"
    return Failure(UNEXPECTED, shown(f"{type(error).__name__}: {text}"), hint)
