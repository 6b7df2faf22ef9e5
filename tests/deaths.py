"""Runs that die, or are stopped, before a chosen change of the disk.

Python tells of each opening for writing, renaming, linking, making and removing before it happens.
To die there is to die before that change and after the one before it.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from hcs.errors import HcsError
from hcs.plate.lock import acquire
from hcs.run import analyse as story
from hcs.run.analyse import analyse
from hcs.settings import load_settings

WITHIN_S = 300
DIED = 77
# the file beside a plate that says that a run waits, until it is gone
WAITS = "waits"
CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")
# what a run imports late, once for all of them
LOADED = (
    "distributed", "hcs.isl.predict", "hcs.run.networks", "hcs.run.well",
    "laptrack", "ngio", "zarr",
)  # fmt: skip


def die() -> None:
    """End this process as SIGKILL does: nothing is cleaned up."""
    os._exit(DIED)


def halt() -> None:
    """Stop this process, with all its threads, until it is sent SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Changes:
    """Counts the changes below a folder, and does something before one of them.

    Parameters
    ----------
    folder : str
    at : int or None
        Before which change, from 0; None for none.
    then : callable
        What to do there.
    """

    def __init__(self, folder: str, at: int | None, then: Callable[[], None] = die) -> None:
        self.count = 0
        self._folder, self._at, self._then = folder, at, then

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._is_change(event, arguments):
            return
        before = self.count
        self.count += 1
        if before == self._at:
            self._then()

    def _is_change(self, event: str, arguments: tuple[object, ...]) -> bool:
        if event != "open" and event not in CHANGES:
            return False
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
        return str(arguments[0]).startswith(self._folder)


def run(url: Path, overrides: Sequence[str], at: int | None) -> None:
    """Analyse a plate in this process, which dies at a change; else note how many there were."""
    changes = Changes(str(url.parent), at)
    sys.addaudithook(changes)
    code = analyse(str(url), load_settings(overrides=overrides)).exit_code
    count = str(changes.count)
    url.parent.with_suffix(".changes").write_text(count)
    sys.exit(code)


def begin(what: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that has all that a run needs, but shares nothing with this one."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *LOADED])
    process = context.Process(target=what, args=arguments)
    process.start()
    return process


def end(process: ForkServerProcess) -> int:
    """Wait for a process, and return how it ended."""
    process.join(WITHIN_S)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def start(url: Path, overrides: Sequence[str], at: int | None) -> int:
    """Analyse a plate in a process of its own, which dies at a change; return how it ended."""
    return end(begin(run, url, overrides, at))


def run_beside(url: Path, overrides: Sequence[str], at: int) -> None:
    """Analyse a plate in this process, which waits before a change of it while its heart beats."""

    def wait() -> None:
        (url.parent / WAITS).touch()
        while (url.parent / WAITS).exists():
            time.sleep(0.01)

    story.acquire = partial(acquire, heartbeat_s=0.1)
    sys.addaudithook(Changes(str(url), at, wait))
    run_and_tell(url, overrides)


def wait_beside(process: ForkServerProcess, url: Path) -> bool:
    """Wait until a run waits, or has ended; tell whether it waits."""
    until = time.monotonic() + WITHIN_S
    while process.is_alive() and not (url.parent / WAITS).exists():
        assert time.monotonic() < until, "the run hangs"
        time.sleep(0.01)
    return process.is_alive()


def go_on(process: ForkServerProcess, url: Path) -> int:
    """Let a run that waits go on, and return how it ended."""
    (url.parent / WAITS).unlink(missing_ok=True)
    return end(process)


def run_and_tell(url: Path, overrides: Sequence[str]) -> None:
    """Analyse a plate in this process; what ends it as a whole is told in ``words`` beside it."""
    try:
        code = analyse(str(url), load_settings(overrides=overrides)).exit_code
    except HcsError as error:
        (url.parent / "words").write_text(str(error))
        sys.exit(error.exit_code)
    sys.exit(code)


class FullDisk:
    """Refuses changes below a folder from one on, as a disk without room does.

    Parameters
    ----------
    folder : str
    first : int
        From 0.
    many : int
        How many changes are refused; then there is room again.
    """

    def __init__(self, folder: str, first: int, many: int) -> None:
        self._changes = Changes(folder, None)
        self._refused = range(first, first + many)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        before = self._changes.count
        self._changes(event, arguments)
        new = self._changes.count > before
        # to remove needs no room
        if new and before in self._refused and event not in ("os.remove", "os.rmdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_without_room(url: Path, overrides: Sequence[str], first: int, many: int) -> None:
    """Analyse a plate in this process, on a disk that is full for a while."""
    sys.addaudithook(FullDisk(str(url.parent), first, many))
    try:
        code = analyse(str(url), load_settings(overrides=overrides)).exit_code
    except HcsError as error:
        sys.exit(error.exit_code)
    sys.exit(code)
