"""Whatever happens to a plate in whatever order, against a model of what must stand then.

The model is small: which bytes each set of settings leaves on a plate that nothing happened to,
and whether somebody damaged a file since the last repair. ``HCS_FAULTS`` says how many histories of
twenty-five events are tried, and ``HCS_FAULTS_SEED`` which.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hcs.errors import HcsError, LockedError
from hcs.plate.commit import Marker, find_damage, marked_steps, open_marker
from hcs.plate.lock import acquire
from hcs.plate.open import open_plate
from hcs.plate.path import WellPath
from hcs.run.analyse import analyse
from hcs.run.prune import plan_pruning, prune
from hcs.settings import load_settings
from tests.corruptions import markers, repair
from tests.deaths import (
    DIED,
    begin,
    end,
    go_on,
    run_and_tell,
    run_beside,
    run_without_room,
    start,
    wait_beside,
)
from tests.plates import make_plate, moving_cells, results_of

pytestmark = pytest.mark.integration

N = int(os.environ.get("HCS_FAULTS", "2"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
EVENTS = 25 if N > 10 else 10
WELLS = ("A/01", "A/02")
STEPS = ("ssl-statistics", "ssl", "measure-ssl_cells", "finish")
HERE = ("run.dask=none", "run.workers=1")
# of other labels, of other tables only, and of none
SETTINGS = ((), ("split.h=0.9",), ("measure.channels=[phase]",), ("ssl.em_rounds=0",))
# more than a run of both wells changes
CHANGES = 500


@cache
def fresh() -> Path:
    """Return a plate that nobody analysed."""
    url = Path(tempfile.mkdtemp()) / "tiny.zarr"
    make_plate(url, {well: moving_cells(k, 2, 96) for k, well in enumerate(WELLS)})
    return url


@cache
def undisturbed(wanted: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Marker]]:
    """Return what a run leaves on a plate that nothing happened to: files, and markers by key."""
    url = Path(shutil.copytree(fresh(), Path(tempfile.mkdtemp()) / "tiny.zarr"))
    assert analyse(str(url), load_settings(overrides=[*HERE, *wanted])).exit_code == 0
    return results_of(url), {m.fingerprint: m for m in sound_markers(url)}


def sound_markers(url: Path) -> list[Marker]:
    """Return the markers of wells that hold, of files that are as they were written."""
    plate, found = open_plate(url), []
    for well in map(WellPath.parse, WELLS):
        for step in marked_steps(plate, well):
            try:
                marker = open_marker(plate, well, step)
            except HcsError:
                continue
            if not find_damage(plate, marker.manifest):
                found.append(marker)
    return found


def files_of(url: Path) -> dict[str, bytes]:
    found = (path for path in sorted(url.rglob("*")) if path.is_file())
    return {str(path.relative_to(url)): path.read_bytes() for path in found}


class Nights(RuleBasedStateMachine):
    """One plate, and all that nights bring."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = self.folder / "tiny.zarr"
        self.wanted: tuple[str, ...] = ()
        # a file was changed that a marker or a listing vouches for
        self.damaged = False

    @initialize()
    def arrive(self) -> None:
        shutil.copytree(fresh(), self.url)

    def overrides(self) -> list[str]:
        return [*HERE, *self.wanted]

    @rule(wanted=st.sampled_from(SETTINGS))
    def change_settings(self, wanted: tuple[str, ...]) -> None:
        self.wanted = wanted

    @rule()
    def run(self) -> None:
        # what is damaged may stop the run as a whole
        with suppress(*(HcsError,) if self.damaged else ()):
            code = analyse(str(self.url), load_settings(overrides=self.overrides())).exit_code
            assert self.damaged or code == 0
        if not self.damaged:
            self.check_whole()

    @rule(at=st.integers(0, CHANGES))
    def die(self, at: int) -> None:
        code = start(self.url, self.overrides(), at)
        note(f"{self.url}: exit code {code}")
        assert code in (DIED, 0) or self.damaged

    @rule(first=st.integers(0, CHANGES), many=st.sampled_from((1, 3, CHANGES)))
    def run_out_of_room(self, first: int, many: int) -> None:
        code = end(begin(run_without_room, self.url, self.overrides(), first, many))
        note(f"exit code {code}")
        assert code in (0, 1, 2)

    @rule(at=st.integers(0, CHANGES))
    def begin_a_second_run(self, at: int) -> None:
        first = begin(run_beside, self.url, self.overrides(), at)
        # it has fewer changes to make where much is done
        if wait_beside(first, self.url):
            before = files_of(self.url)
            code = end(begin(run_and_tell, self.url, self.overrides()))
            assert code == LockedError.exit_code
            words = (self.folder / "words").read_text()
            assert words.startswith("plate tiny is locked by")
            assert f"(process {first.pid})" in words
            assert files_of(self.url) == before
        code = go_on(first, self.url)
        assert self.damaged or code == 0
        if not self.damaged:
            self.check_whole()

    def ours(self) -> list[Path]:
        """Return the files that a marker may vouch for, the markers among them."""
        inputs = files_of(fresh())
        made = [self.url / key for key in files_of(self.url) if key not in inputs]
        return [path for path in (*made, *markers(self.url)) if path.stat().st_size]

    @precondition(lambda self: self.url.with_suffix(".hcs").exists() and self.ours())
    @rule(data=st.data(), kind=st.sampled_from(("flip", "truncate", "delete")))
    def damage(self, data: st.DataObject, kind: str) -> None:
        there = self.ours()
        path = there[data.draw(st.integers(0, len(there) - 1))]
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, 8 * len(content) - 1))
        note(f"{kind} {path}")
        if kind == "delete":
            path.unlink()
        elif kind == "truncate":
            path.write_bytes(content[: place // 8])
        elif path in markers(self.url) or self.is_in_a_manifest(path):
            content[place // 8] ^= 1 << place % 8
            path.write_bytes(content)
        self.damaged = True

    def is_in_a_manifest(self, path: Path) -> bool:
        key = str(path.relative_to(self.url))
        return any(
            key in marker.manifest for one in SETTINGS for marker in undisturbed(one)[1].values()
        )

    @precondition(lambda self: markers(self.url))
    @rule(data=st.data())
    def delete_a_marker(self, data: st.DataObject) -> None:
        there = markers(self.url)
        there[data.draw(st.integers(0, len(there) - 1))].unlink()

    @rule()
    def repair(self) -> None:
        repair(self.url)
        self.damaged = False

    @rule(
        steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4, unique=True),
        wells=st.sampled_from((WELLS, WELLS[:1], WELLS[1:])),
    )
    def prune(self, steps: list[str], wells: tuple[str, ...]) -> None:
        plate = open_plate(self.url)
        with acquire(plate.companion) as lock:
            prune(plate, plan_pruning(plate, [*map(WellPath.parse, wells)], steps), lock.token)

    @invariant()
    def input_is_as_it_was(self) -> None:
        now = files_of(self.url) if self.url.exists() else {}
        assert {key: now.get(key) for key in files_of(fresh())} == files_of(fresh()) or not now

    @invariant()
    def what_markers_vouch_for_is_what_an_undisturbed_run_makes(self) -> None:
        if not self.url.exists():
            return
        known = {key: m for one in SETTINGS for key, m in undisturbed(one)[1].items()}
        for marker in sound_markers(self.url):
            assert known[marker.fingerprint].manifest == marker.manifest, marker.step

    def check_whole(self) -> None:
        left = [path for path in self.folder.rglob("*") if ".partial" in path.name]
        assert not left
        now, then = results_of(self.url), undisturbed(self.wanted)[0]
        assert now.keys() == then.keys()
        assert [key for key in now if now[key] != then[key]] == []

    def teardown(self) -> None:
        """Repair and run once more: all is as if nothing had happened."""
        if not self.url.exists():
            return
        self.repair()
        self.run()
        shutil.rmtree(self.folder)


def test_whatever_happens_a_repair_and_a_run_make_it_good():
    run_state_machine_as_test(
        seed(SEED)(Nights),
        settings=settings(
            max_examples=N,
            stateful_step_count=EVENTS,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
