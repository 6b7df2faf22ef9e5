"""Runs as an operator starts them, and their processes, to be killed."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

WITHIN_S = 600
HCS = Path(sys.executable).with_name("hcs")


@contextmanager
def start(
    url: Path,
    *flags: str,
    workers: int = 2,
    monitor: str = "none",
    environment: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = (HCS,),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``hcs run`` as an operator would; make sure that it and its workers end."""
    command = [*program, "run", url, "--monitor", monitor, "--workers", str(workers), *flags]
    with (url.parent / "run.log").open("ab") as log:
        run = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield run
        finally:
            kill_family(run.pid)
            run.wait(WITHIN_S)


def log_of(url: Path) -> str:
    """Return what the runs of a plate said."""
    return (url.parent / "run.log").read_text()


def kill_family(process: int) -> None:
    """Kill a process and all that it started."""
    try:
        family = [*psutil.Process(process).children(recursive=True), psutil.Process(process)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def halt_family(process: int) -> list[psutil.Process]:
    """Stop a process and all that it started, as SIGSTOP does; return them, to be woken up."""
    first = psutil.Process(process)
    first.suspend()
    # who is stopped starts no more
    family = [first, *first.children(recursive=True)]
    for one in family[1:]:
        one.suspend()
    return family


def workers_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the worker processes of a run; none where it has ended."""
    try:
        family = psutil.Process(run.pid).children(recursive=True)
        return [one for one in family if "spawn_main" in " ".join(one.cmdline())]
    except psutil.NoSuchProcess:
        return []


def wait_for(
    what: Callable[[], bool], run: subprocess.Popen[bytes], within_s: float = WITHIN_S
) -> None:
    """Wait until something is so, while the run goes on."""
    end = time.monotonic() + within_s
    while not what():
        assert run.poll() is None, "the run ended before it came so far"
        assert time.monotonic() < end, "the run never came so far"
        time.sleep(0.005)


def marker_files(url: Path) -> list[Path]:
    """Return the markers of wells that are there now."""
    return sorted(url.with_suffix(".hcs").glob("[A-Z]/*/*.json"))


@dataclass(frozen=True)
class Start:
    """One start of a piece of work: the process it was in, and whether it came to its end."""

    process: int
    ended: bool


def starts_of(url: Path) -> dict[str, list[Start]]:
    """Return the starts of each piece of work in order, by ``<number of the run>/<its name>``."""
    found: dict[str, list[Start]] = {}
    root = url.with_suffix(".hcs") / "attempts"
    for path in sorted(root.glob("*/*/*/**/*.json"), key=lambda path: int(path.stem)):
        name = path.parent.relative_to(root).as_posix()
        ended = path.with_suffix(".back").exists()
        start = Start(json.loads(path.read_bytes())["process"], ended)
        found.setdefault(name, []).append(start)
    return found


def ends_of(url: Path) -> Counter[str]:
    """Return how many starts of each well came to their end, whichever run's."""
    found = Counter[str]()
    for name, starts in starts_of(url).items():
        found[well_of(name)] += sum(start.ended for start in starts)
    return found


def well_of(name: str) -> str:
    """Return the well that a piece of work is of."""
    return "/".join(name.split("/")[1:3])


# inode, and when it was changed, nanoseconds
Identity = tuple[int, int]


def finished_files(url: Path) -> dict[str, Identity]:
    """Return the markers of wells that are there now and the files they vouch for, as they are."""
    markers = marker_files(url)
    manifests = [json.loads(path.read_bytes())["manifest"] for path in markers]
    paths = (*markers, *(url / key for manifest in manifests for key in manifest))
    return {str(path): identity(path) for path in paths}


def identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


class Kept:
    """What was finished, files of markers and markers, as it was when it was first seen."""

    def __init__(self, url: Path) -> None:
        self.seen: dict[str, Identity] = {}
        self._url = url

    def look(self) -> None:
        """See what is finished now."""
        self.seen = finished_files(self._url) | self.seen

    def check(self) -> None:
        """Find each of them as it was, and vouched for as before."""
        now = finished_files(self._url)
        changed = {
            path: (then, now.get(path)) for path, then in self.seen.items() if now.get(path) != then
        }
        assert not changed, changed


def wait_until_heard() -> None:
    """Return when who looks in this process whether a run is cancelled has seen that it is."""
    while any(thread.name == "cancelled?" for thread in threading.enumerate()):
        time.sleep(0.05)
