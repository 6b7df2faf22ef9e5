"""Disks that fill up, and disks that answer with an error, in the middle of a run.

The full disks are real: small file systems in memory, each in a mount namespace of its own, made
larger afterwards. Errors are raised where Python asks the system to open, rename, link, make or
remove. ``HCS_FAULTS`` says at how many places of each kind, and ``HCS_FAULTS_SEED`` where.
"""

import ctypes
import errno
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from hcs.errors import HcsError
from hcs.plate.open import open_plate
from hcs.run.analyse import analyse
from hcs.run.verify import verify_plate
from hcs.settings import load_settings
from tests.deaths import Changes, begin, end
from tests.plates import make_plate, moving_cells, results_of
from tests.runs import HCS, marker_files

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "1"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
WELLS = ("A/01", "A/02")
HERE = ("run.dask=none", "run.workers=1")
FOREVER = 10**9
# larger than all that a run leaves, bytes and files
ROOMY = ("size=64m", "nr_inodes=20000")
# linux/sched.h
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000


@dataclass(frozen=True)
class Told:
    """What a run said at its end: exit code, and a line for each thing that went wrong."""

    code: int
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Night:
    """A run that met trouble, and the one after it.

    ``unsound``: what a look at every file found wrong after the first; ``changed``: its markers
    that the second wrote again.
    """

    first: Told
    second: Told
    unsound: tuple[str, ...]
    changed: tuple[str, ...]
    results: dict[str, bytes]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    url = tmp_path_factory.mktemp("fresh") / "tiny.zarr"
    make_plate(url, {well: moving_cells(seed, 2) for seed, well in enumerate(WELLS)})
    return url


@pytest.fixture(scope="module")
def undisturbed(fresh, tmp_path_factory) -> dict[str, bytes]:
    url = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("undisturbed") / "tiny.zarr"))
    assert run_here(url) == Told(0)
    return results_of(url)


def run_here(url: Path) -> Told:
    """Analyse a plate in this process."""
    try:
        report = analyse(str(url), load_settings(overrides=HERE))
    except HcsError as error:
        return Told(error.exit_code, (str(error),))
    lines = [outcome.line for outcome in report.failed]
    if report.failure:
        lines.append(f"{report.failure.message} ({report.failure.hint})")
    return Told(report.exit_code, tuple(lines))


def run_by_command(url: Path) -> Told:
    """Analyse a plate as an operator does, by two worker processes."""
    command = [HCS, "run", url, "--monitor", "none", "--workers", "2"]
    ended = subprocess.run(command, capture_output=True, text=True)
    return Told(ended.returncode, tuple(ended.stderr.splitlines()) if ended.returncode else ())


def run_twice(
    url: Path, run: Callable[[Path], Told], mend: Callable[[], object], report: Path
) -> None:
    """Run into trouble, end it, run again: a process each, as nights are; note what came of it."""
    first = in_a_child(run, url)
    mend()
    unsound, changed, second, results = in_a_child(look_and_run, url, run)
    report.write_bytes(pickle.dumps(Night(first, second, unsound, changed, results)))


def look_and_run(url: Path, run: Callable[[Path], Told]) -> tuple[Any, ...]:
    """Look at every file, and at the markers before and after a run."""
    plate = open_plate(url)
    unsound = tuple(damage.what for damage in verify_plate(plate, plate.layout.wells).damages)
    before = {path: identity(path) for path in marker_files(url)}
    second = run(url)
    changed = tuple(str(path) for path, then in before.items() if identity(path) != then)
    return unsound, changed, second, results_of(url)


def identity(path: Path) -> tuple[int, int]:
    if not path.exists():
        return 0, 0
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def in_a_child(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a copy of this process, which has no threads yet, and never will."""
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(function(*arguments)))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def check(night: Night, undisturbed: dict[str, bytes], where: object) -> None:
    """Nothing that was said to be done was wrong or is written again, and the end is the same."""
    assert not night.unsound, (where, night.unsound)
    assert night.second == Told(0), (where, night.second)
    assert not night.changed, (where, night.changed)
    assert night.results == undisturbed, where
    assert not any("Traceback" in line or "Error:" in line for line in night.first.lines), (
        where,
        night.first,
    )


# disks that fill up


def in_own_mounts() -> None:
    """Give this process mounts of its own, and the right to make some."""
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS | NEW_USER):
        raise OSError(ctypes.get_errno(), "no namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def mount(folder: Path, *options: str) -> None:
    """Put a disk in memory at a folder, or change the one that is there."""
    chosen = ["-o", ",".join(options)]
    command = ["mount", *chosen] if "remount" in options else ["mount", "-t", "tmpfs", *chosen, "x"]
    subprocess.run([*command, folder], check=True)


def try_to_mount(folder: Path) -> None:
    """End with 0 where this machine lets us."""
    in_own_mounts()
    mount(folder, *ROOMY)


@pytest.fixture(scope="module")
def mountable(tmp_path_factory) -> None:
    if end(begin(try_to_mount, tmp_path_factory.mktemp("disk"))):
        pytest.skip("needs user namespaces and mount to make a small disk")


def measure_disk(fresh: Path, disk: Path, report: Path) -> None:
    """Write down how many KiB and files a plate takes, before and after its run."""
    in_own_mounts()
    mount(disk, *ROOMY)
    url = Path(shutil.copytree(fresh, disk / "tiny.zarr"))
    before = used(disk)
    assert run_here(url) == Told(0)
    report.write_bytes(pickle.dumps((before, used(disk))))


def used(disk: Path) -> tuple[int, int]:
    """Return KiB and files."""
    found = os.statvfs(disk)
    blocks = (found.f_blocks - found.f_bfree) * found.f_frsize
    return blocks // 1024, found.f_files - found.f_ffree


def fill_up(fresh: Path, disk: Path, small: str, by_command: str, report: Path) -> None:
    """Run on a small disk; make it larger, and run again."""
    in_own_mounts()
    mount(disk, *ROOMY)
    url = Path(shutil.copytree(fresh, disk / "tiny.zarr"))
    mount(disk, "remount", small)
    run = run_by_command if by_command else run_here
    run_twice(url, run, partial(mount, disk, "remount", *ROOMY), report)


def test_a_disk_that_fills_up_ends_the_run_in_words_and_the_next_one_goes_on(
    fresh, undisturbed, mountable, tmp_path
):
    disk, report = tmp_path / "disk", tmp_path / "report"
    disk.mkdir()
    assert end(begin(measure_disk, fresh, disk, report)) == 0
    (kib, files), (kib_after, files_after) = pickle.loads(report.read_bytes())
    places = [(k + 0.5) / N for k in range(N)]
    small = [f"size={kib + int(at * (kib_after - kib))}k" for at in places]
    if N > 1:
        small += [f"nr_inodes={files + int(at * (files_after - files))}" for at in places]
        small.append(f"size={kib}k")
    for number, option in enumerate(small):
        by_command = "yes" if number % 5 == 1 else ""
        assert end(begin(fill_up, fresh, disk, option, by_command, report)) == 0
        night: Night = pickle.loads(report.read_bytes())
        check(night, undisturbed, option)
        assert night.first.code in (1, 2), (option, night.first)
        told = [line for line in night.first.lines if "no space left to write" in line]
        assert told, (option, night.first)
        assert all("free some and run again" in line for line in told)


# disks that answer with an error


class Trouble(Changes):
    """Raises an error of the system instead of some changes below a folder, or of some reads."""

    def __init__(self, folder: str, at: int, times: int, number: int, reads: bool) -> None:
        super().__init__(folder, None)
        self._first, self._last = at, at + times
        self._number, self._reads = number, reads
        self.over = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.over or not (self._is_read if self._reads else self._is_change)(event, arguments):
            return
        # a full disk lets go of files
        if self._number == errno.ENOSPC and event in ("os.remove", "os.rmdir"):
            return
        before = self.count
        self.count += 1
        if self._first <= before < self._last:
            raise OSError(self._number, os.strerror(self._number), str(arguments[0]))

    def _is_read(self, event: str, arguments: tuple[object, ...]) -> bool:
        if event not in ("open", "os.scandir") or not str(arguments[0]).startswith(self._folder):
            return False
        return event == "os.scandir" or not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR)


def meet_trouble(fresh: Path, url: Path, below: str, kind: Sequence[int], report: Path) -> None:
    """Run with trouble below a folder; run again without."""
    url = Path(shutil.copytree(fresh, url))
    quickly()
    trouble = Trouble(str(url.parent / below), *kind[:3], bool(kind[3]))
    sys.addaudithook(trouble)
    run_twice(url, run_here, partial(setattr, trouble, "over", True), report)


def count_changes(fresh: Path, url: Path, reads: bool, report: Path) -> None:
    """Write down how many changes of the disk, or reads, an undisturbed run makes."""
    url = Path(shutil.copytree(fresh, url))
    # the fewest: of a full disk, what is deleted does not count
    trouble = Trouble(str(url.parent), 0, 0, errno.ENOSPC, reads)
    sys.addaudithook(trouble)
    assert run_here(url) == Told(0)
    report.write_text(str(trouble.count))


def quickly() -> None:
    """Let tries follow each other at once."""
    import hcs.plate.local
    import hcs.plate.patient

    hcs.plate.local.PAUSES_S = hcs.plate.patient.PAUSES_S = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def places(fresh, tmp_path_factory) -> dict[bool, list[int]]:
    """Return N places among the changes of the disk, and N among the reads, of one run."""
    found = {}
    for reads in (False, True):
        folder = tmp_path_factory.mktemp("counted")
        url, report = folder / "plate" / "tiny.zarr", folder / "report"
        assert end(begin(count_changes, fresh, url, reads, report)) == 0
        # at its very end a run has told already what it came to
        count = int(report.read_text()) - 20
        step = count // N
        found[reads] = [SEED % step + k * step for k in range(N)]
    return found


@pytest.fixture
def meet(fresh, tmp_path) -> Callable[..., Night]:
    def meet(at: int, times: int, number: int, reads: bool = False, below: str = "") -> Night:
        url, report = tmp_path / "plate" / "tiny.zarr", tmp_path / "report"
        kind = (at, times, number, int(reads))
        assert end(begin(meet_trouble, fresh, url, below, kind, report)) == 0, kind
        shutil.rmtree(url.parent)
        return pickle.loads(report.read_bytes())

    return meet


LASTING = [
    (errno.EIO, False, "Input/output error"),
    (errno.EIO, True, "Input/output error"),
    (errno.ENOSPC, False, "no space left to write"),
]
# where a disk is bad; what of a well lies there
SPOTS = ["tiny.zarr/A/02/0/0", "tiny.zarr/A/02/0/labels", "tiny.hcs/A/02"]


@pytest.mark.parametrize("reads", [False, True], ids=["write", "read"])
def test_an_error_that_passes_costs_nothing(meet, places, undisturbed, reads):
    for at in places[reads]:
        night = meet(at, 2, errno.EIO, reads)
        assert night.first == Told(0), at
        check(night, undisturbed, at)


@pytest.mark.parametrize(("number", "reads", "words"), LASTING[: None if N > 1 else 2])
def test_an_error_that_stays_is_told_and_the_next_run_goes_on(
    meet, places, undisturbed, number, reads, words
):
    for at in places[reads]:
        night = meet(at, FOREVER, number, reads)
        assert night.first.code in (1, 2), (at, night.first)
        assert any(words in line for line in night.first.lines), (at, night.first)
        check(night, undisturbed, at)


@pytest.mark.parametrize("below", SPOTS[: None if N > 1 else 1])
def test_a_bad_spot_costs_its_well_only(meet, undisturbed, below):
    night = meet(0, FOREVER, errno.EIO, reads=below.endswith("0/0"), below=below)
    assert night.first.code == 2
    assert [line.split(" ")[0] for line in night.first.lines] == ["A/02"], night.first
    assert "Input/output error" in night.first.lines[0]
    assert "look at the disk" in night.first.lines[0]
    check(night, undisturbed, below)
