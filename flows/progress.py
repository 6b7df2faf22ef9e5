"""Well outcomes -> Prefect's progress and table artifacts; trouble with the API is one warning."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

from flows.well_rows import table_rows
from hcs.errors import HcsError
from hcs.plate.path import WellPath
from hcs.report.training import to_jpeg
from hcs.run.budget import in_words
from hcs.run.night_summary import escaped
from hcs.run.outcome import Report, WellOutcome
from hcs.run.overview import Picture, pictures_of

_log = logging.getLogger(__name__)

# what an API that is down, slow or gone raises; ValueError, where an answer is no JSON, such as a
# proxy's page, or of another version
API_ERRORS = (PrefectException, httpx.HTTPError, OSError, RuntimeError, ValueError)
# a call costs the server as much as the task of a well does
_LOOK_S = 1.0
# all rows are sent anew: 0.1 MB and 20 ms for 384 wells, 2.4 MB and 0.1 s for 10 000
_TABLE_S = 30.0
# until what is shown is left where it is, though the API hangs, seconds
_PARTING_S = 5.0
# an API in trouble is left alone for so long, and for so many times what it let us wait, seconds
_PAUSE_S, _PAUSES = 30.0, 10


class Artifacts:
    """The artifacts of one run: a bar, and what else there is to see.

    Trouble with the API is told once, and the API is then left alone for a while.

    Parameters
    ----------
    name : str
        Of the plate or network, part of the artifacts' keys.
    text : str
        What stands beside the bar at first.
    """

    def __init__(self, name: str, text: str = "") -> None:
        self._key = artifact_key(name)
        self._one_at_a_time = threading.RLock()
        # whoever takes it tells of the trouble; nobody gives it back
        self._first_trouble = threading.Lock()
        self._quiet_until = time.monotonic()
        self._shown: dict[str, UUID] = {}
        # share and text, as they should be and as they are shown
        self._bar = (0.0, text)
        self._bar_shown: tuple[float, str] | None = None

    def show_bar(self) -> None:
        """Move the bar to where it should be."""
        with self._one_at_a_time:
            if self._bar_shown != (bar := self._bar):
                self._bar_shown = bar
                create, replace = create_progress_artifact, update_progress_artifact
                self._show("progress", create, *bar, replace)

    def warn(self, error: BaseException) -> None:
        """Say once that the run goes on without the API."""
        if self._first_trouble.acquire(blocking=False):
            _log.warning("Prefect's API does not answer, the run goes on without it: %s", error)

    def _try_again(self) -> None:
        """Leave the API alone no longer: it is the last chance."""
        self._quiet_until = time.monotonic()

    @contextmanager
    def _keeping_up(self, show: Callable[[], None]) -> Iterator[None]:
        """Call a function now, every second, and when the block ends.

        By a thread of its own: an API that hangs, for minutes a call, holds up no work.
        """
        over = Event()

        def keep_up() -> None:
            is_over = False
            while not is_over:
                show()
                is_over = over.wait(_LOOK_S)
            show()

        # Prefect's settings and the flow run belong to a context
        thread = Thread(target=copy_context().run, args=(keep_up,), name="shown", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_PARTING_S)

    def _end_bar(self, text: str) -> None:
        """Move the bar to its end, whatever it is at: a call that hung may only now be through."""
        with self._one_at_a_time:
            self._try_again()
            self._bar = (100.0, text)
            self.show_bar()

    def _show(
        self,
        kind: str,
        create: Callable[..., Any],
        content: Any,  # noqa: ANN401 - text, rows or a share
        text: str,
        replace: Callable[..., Any] | None = None,
    ) -> None:
        """Create an artifact, or put new content into that of this kind which is there."""
        with self._one_at_a_time:
            if kind in self._shown:
                self._call(replace or replace_artifact, self._shown[kind], content, escaped(text))
            elif made := self._create(kind, create, content, text):
                self._shown[kind] = made

    def _create(
        self,
        kind: str,
        create: Callable[..., Any],
        content: Any,  # noqa: ANN401 - text, rows or a share
        text: str,
    ) -> UUID | None:
        """Create an artifact; Prefect's UI takes the text beside it for Markdown."""
        return self._call(create, content, f"{self._key}-{kind}", escaped(text))

    def _call(self, function: Callable[..., Any], *arguments: object) -> UUID | None:
        with self._one_at_a_time:
            began = time.monotonic()
            if began < self._quiet_until:
                return None
            try:
                answer: UUID = function(*arguments)
            except API_ERRORS as error:
                now = time.monotonic()
                self._quiet_until = now + max(_PAUSE_S, _PAUSES * (now - began))
                self.warn(error)
                return None
            return answer


class Progress(Artifacts):
    """How far the analysis of a plate is.

    Parameters
    ----------
    plate : str
        Its name.
    clock : callable, optional
        Seconds that pass.
    """

    def __init__(self, plate: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(plate, "wells analysed")
        self._clock = clock
        self._outcomes: Mapping[WellPath, WellOutcome] = {}
        self._running: dict[WellPath, float] = {}
        self._done_before: int | None = None
        self._began = 0.0
        self._table_due = -math.inf

    def showing(self, outcomes: Mapping[WellPath, WellOutcome]) -> AbstractContextManager[None]:
        """Show a row per well now and every half minute, and the bar every second.

        Parameters
        ----------
        outcomes : mapping of WellPath to WellOutcome
            Of all wells; changes while the block lasts.
        """
        self._outcomes = outcomes
        return self._keeping_up(self._show_due)

    @contextmanager
    def running(self, well: WellPath) -> Iterator[None]:
        """Show a well as one that runs."""
        self._running[well] = self._clock()
        try:
            yield
        finally:
            del self._running[well]

    def move(self, outcome: WellOutcome, through: int, wells: int) -> None:
        """Note how far the plate is after a well."""
        now = self._clock()
        if self._done_before is None:
            # not when it was planned, or waited for workers
            self._done_before, self._began = through - 1, now - outcome.seconds
        text = f"{through} of {wells} wells, {self._left(now, through, wells)}"
        self._bar = (100 * through / max(wells, 1), f"{text}; the last was {outcome.line}")

    def stop(self) -> None:
        """Show how the wells stood when a run was stopped."""
        with self._one_at_a_time:
            self._try_again()
            self._show_wells("stopped: ")

    def finish(self, report: Report) -> None:
        """Show a row per well, and pictures of the plate."""
        text = f"{len(report.done)} of {len(report.outcomes)} wells done in {report.seconds:.0f} s"
        self._end_bar(text)
        self._show("wells", create_table_artifact, table_rows(report.outcomes), text)
        try:
            pictures = pictures_of(report.plate)
        except HcsError as error:
            _log.warning("no pictures of %s: %s", report.plate, error)
            return
        if pictures:
            page = markdown_page(pictures, report.outputs)
            self._create("plate", create_markdown_artifact, page, text)

    def _show_due(self) -> None:
        self.show_bar()
        if time.monotonic() >= self._table_due:
            self._show_wells()
            self._table_due = time.monotonic() + _TABLE_S

    def _left(self, now: float, through: int, wells: int) -> str:
        """Say how long the rest takes, if it goes on as it went."""
        since = through - (self._done_before or 0)
        seconds = (now - self._began) * (wells - through) / since
        return f"{in_words(seconds)} left"

    def _show_wells(self, before: str = "") -> None:
        """Show how every well stands."""
        outcomes, now = tuple(self._outcomes.values()), self._clock()
        begun = self._running.copy()
        # through is through, though its task has still to say so
        left = [one.well for one in outcomes if one.state == "waiting"]
        running = {well: now - begun[well] for well in left if well in begun}
        text = f"{before}{len(outcomes) - len(left)} of {len(outcomes)} wells through, "
        text += f"{len(running)} running, {len(left) - len(running)} waiting"
        self._show("wells", create_table_artifact, table_rows(outcomes, running), text)


def markdown_page(pictures: Sequence[Picture], outputs: Sequence[str]) -> str:
    """Return pictures with their titles, then where results lie, as markdown that holds them.

    An image artifact would do with a URL only, and Prefect's page prints that below the picture.
    """
    shown = [f"{escaped(one.title)}\n\n{embedded(one.title, one.png)}" for one in pictures]
    results = [f"- {escaped(output)}" for output in outputs]
    return "\n\n".join([*shown, "Results:", *results])


def embedded(title: str, png: bytes) -> str:
    """Return a picture as markdown that holds it, as small as it gets: every version is kept."""
    kinds = {"png": png, "jpeg": to_jpeg(png)}
    kind, content = min(kinds.items(), key=lambda item: len(item[1]))
    return f"![{escaped(title)}](data:image/{kind};base64,{b64encode(content).decode()})"


def replace_artifact(artifact: UUID, content: Any, text: str) -> UUID:  # noqa: ANN401 - text or rows
    """Put other content and another description in the place of an artifact's."""
    data = content if isinstance(content, str) else json.dumps(content)
    changed = ArtifactUpdate(data=data, description=text).model_dump(exclude_unset=True)
    with get_client(sync_client=True) as client:
        # its update_artifact tells all of the content as an event, too: each is kept for days, and
        # one of 1.5 MB, a row for each of 7000 wells, is an error
        client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact}, json=changed)
    return artifact


def artifact_key(plate: str) -> str:
    """Return a plate's name as Prefect takes it in keys.

    Examples
    --------
    >>> artifact_key("Plate_07 (drugs)")
    'plate-07-drugs'
    """
    return re.sub(r"[^a-z0-9]+", "-", plate.lower()).strip("-") or "plate"
