"""Random corruption of chunks, manifests and markers: detected or harmless, and ours is repaired.

``HCS_FAULTS`` says half of how many for each plate and kind of file, 24 if it is not set, and
``HCS_FAULTS_SEED`` which.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hcs.errors import HcsError
from hcs.plate.commit import read_marker
from hcs.plate.metadata import Version
from hcs.plate.open import is_result, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frame_channels
from hcs.run.analyse import analyse
from hcs.run.verify import Damage, verify_plate
from hcs.settings import Settings, load_settings
from tests.corruptions import corruptions, markers, outputs, repair
from tests.plates import make_plate, moving_cells, results_of

# two plates, each with four kinds of files, of which one is documents of the input: 1 200 of the
# others where a hundred are asked for
N = 2 * int(os.environ.get("HCS_FAULTS", "12"))
SEED = int(os.environ.get("HCS_FAULTS_SEED", "0"))
HERE = ("run.dask=none", "run.workers=1")
WELLS = {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)}


def here() -> Settings:
    return load_settings(overrides=list(HERE))


@pytest.fixture(scope="module", params=[("0.4", "chunked"), ("0.5", "sharded")], ids="-".join)
def sound(request, tmp_path_factory) -> Path:
    version: Version
    version, storage = request.param
    url = tmp_path_factory.mktemp("sound") / "tiny.zarr"
    make_plate(url, WELLS, version, storage)
    assert analyse(str(url), here()).exit_code == 0
    return url


@pytest.fixture
def plate(sound, tmp_path) -> Path:
    shutil.copytree(sound.with_suffix(".hcs"), tmp_path / "tiny.hcs")
    return Path(shutil.copytree(sound, tmp_path / "tiny.zarr"))


def is_chunk(path: Path, url: Path) -> bool:
    inside = path.relative_to(url).parts
    return len(inside) > 4 and inside[3].isdigit() and not path.name.startswith((".z", "zarr"))


def input_chunks(url: Path) -> list[Path]:
    return sorted(path for path in url.rglob("*") if path.is_file() and is_chunk(path, url))


def input_documents(url: Path) -> list[Path]:
    found = (path for name in (".z*", "zarr.json") for path in url.rglob(name))
    return sorted(path for path in found if not is_result(str(path.relative_to(url))))


def damages(url: Path) -> tuple[Damage, ...]:
    opened = open_plate(url)
    return verify_plate(opened, opened.layout.wells).damages


def pixels(url: Path) -> list[np.ndarray]:
    opened = open_plate(url)
    fields = [FieldPath(well, "0") for well in opened.layout.wells]
    frames = [
        read_frame_channels(opened, field, index)
        for field in fields
        for index in range(len(WELLS["A/01"]))
    ]
    return [frame for channels in frames for frame in channels.values()]


def as_read(url: Path) -> dict[str, object]:
    found = {path: path.relative_to(url.with_suffix(".hcs")) for path in markers(url)}
    opened = open_plate(url)
    return {
        str(key): read_marker(
            opened, None if key.parts[0] == "plate" else WellPath(*key.parts[:2]), path.stem
        )
        for path, key in found.items()
    }


def test_sound_plates_have_no_damage(sound):
    assert damages(sound) == ()


def test_each_corrupted_output_is_found_and_named(plate):
    rng = np.random.default_rng(SEED)
    found = corruptions(outputs(plate), rng)
    for change in (next(found) for _ in range(N)):
        before = change.path.read_bytes()
        change.apply()
        named = [damage.what for damage in damages(plate)]
        key = str(change.path.relative_to(plate))
        assert any(key in text for text in named), (change.kind, key, named)
        change.path.write_bytes(before)
    assert damages(plate) == ()


def test_each_corrupted_chunk_of_the_input_is_found_or_reads_as_before(plate):
    rng = np.random.default_rng(SEED + 1)
    found, expected = corruptions(input_chunks(plate), rng), pixels(plate)
    for change in (next(found) for _ in range(N)):
        before = change.path.read_bytes()
        change.apply()
        own = [d for d in damages(plate) if d.part == "input"]
        key = str(change.path.relative_to(plate))
        if not any(key in damage.what for damage in own):
            assert change.kind == "bit flip", (change.kind, key)
            for now, then in zip(pixels(plate), expected, strict=True):
                np.testing.assert_array_equal(now, then)
        else:
            assert {str(damage.field) for damage in own} == {"/".join(key.split("/")[:3])}
        change.path.write_bytes(before)


def test_each_corrupted_document_of_the_input_is_found_or_understood(plate):
    """Names and sizes have no checksum: whatever stands there, it ends in no error but ours."""
    rng = np.random.default_rng(SEED + 4)
    found = corruptions(input_documents(plate), rng)
    for change in (next(found) for _ in range(N)):
        before = change.path.read_bytes()
        change.apply()
        with suppress(HcsError):
            if not damages(plate):
                pixels(plate)
        change.path.write_bytes(before)
    assert damages(plate) == ()


def test_each_corrupted_marker_is_found_or_reads_as_before_or_is_no_marker(plate):
    """One that is gone is a step that is not done."""
    rng = np.random.default_rng(SEED + 2)
    found, expected = corruptions(markers(plate), rng), as_read(plate)
    for change in (next(found) for _ in range(N)):
        before = change.path.read_bytes()
        change.apply()
        if change.kind != "deletion" and as_read(plate) != expected:
            own = [d for d in damages(plate) if d.name == change.path.stem]
            assert any("marker" in damage.what for damage in own), (change.kind, change.path)
        change.path.write_bytes(before)


def test_a_repair_and_a_run_make_ours_anew_to_the_same_bytes(plate):
    before = results_of(plate)
    rng = np.random.default_rng(SEED + 3)
    found = corruptions([*outputs(plate), *markers(plate)], rng)
    for _ in range(max(N // 8, 3)):
        next(found).apply()
    repair(plate)
    assert analyse(str(plate), here()).exit_code == 0
    assert damages(plate) == ()
    assert results_of(plate) == before
