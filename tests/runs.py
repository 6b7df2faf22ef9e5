"""Runs as an operator starts them, and their processes, to be killed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``hcs run`` as an operator would; make sure that it and its workers end."""
    command = [HCS, "run", url, "--monitor", monitor, "--workers", str(workers), *flags]
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


def starts_of(url: Path) -> dict[str, list[int]]:
    """Return the processes that each piece of work of each run was started in."""
    found: dict[str, list[int]] = {}
    root = url.with_suffix(".hcs") / "attempts"
    for path in sorted(root.glob("*/*/*/**/*.json")):
        name = path.parent.relative_to(root).as_posix()
        found.setdefault(name, []).append(json.loads(path.read_bytes())["process"])
    return found
