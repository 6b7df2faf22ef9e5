"""What is taken back, what stays, and that a kill in between costs nothing."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hcs.cli.main import main
from hcs.errors import HcsError, MissingError, SettingsError
from hcs.plate.check import check_plate
from hcs.plate.commit import Marker, write_marker
from hcs.plate.create import create_label_image
from hcs.plate.local import LocalStorage
from hcs.plate.lock import acquire
from hcs.plate.metadata import Channel, Version
from hcs.plate.open import Plate, label_key, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import create_product, make_sister, product_state
from hcs.plate.table import table_names, write_table
from hcs.plate.write import write_label_frames, write_product_frames
from hcs.run.analyse import analyse
from hcs.run.prune import check_found, plan_pruning, prune
from hcs.run.verify import verify_plate
from hcs.settings import Settings, load_settings
from tests.plates import make_plate, moving_cells, results_of

A01, A02 = WellPath.parse("A/01"), WellPath.parse("A/02")
ALL = ("measure-ssl_cells", "ssl", "ssl-statistics", "finish")


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


def take_back(url: Path | str, steps: tuple[str, ...], wells: tuple[WellPath, ...] = ()):
    plate = open_plate(url)
    with acquire(plate.companion) as lock:
        pruning = plan_pruning(plate, wells or plate.layout.wells, steps)
        prune(plate, pruning, lock.token)
    return pruning


def of_plate(url: Path) -> dict[str, bytes]:
    return {key: content for key, content in results_of(url).items() if "companion" not in key}


def damages(url: Path):
    plate = open_plate(url)
    return verify_plate(plate, plate.layout.wells).damages


def test_pruning_all_steps_leaves_the_plate_that_was_there_before(tiny_plate, analysed_plate):
    pruning = take_back(analysed_plate, ALL)
    assert of_plate(analysed_plate) == of_plate(tiny_plate)
    assert pruning.stale == ()
    # beside it, nothing tells of results any more
    assert not (analysed_plate.with_suffix(".hcs") / "ro-crate-metadata.json").exists()
    assert analyse(str(analysed_plate), here()).exit_code == 0


def test_a_pruned_well_is_done_again_to_the_same_bytes_and_the_others_are_not(analysed_plate):
    before = results_of(analysed_plate)
    pruning = take_back(analysed_plate, ("ssl",), (A02,))
    assert {removal.well for removal in pruning.removals} == {A02}
    assert set(pruning.stale) == {"measure-ssl_cells", "finish"}
    plate = open_plate(analysed_plate)
    key = label_key(FieldPath(A02, "0"), "ssl_cells")
    assert plate.attributes(key)["state"] == "pruned"
    assert "ssl_cells_motion" not in table_names(plate, FieldPath(A02, "0"))
    assert "ssl_cells_objects" in table_names(plate, FieldPath(A02, "0"))
    assert damages(analysed_plate) == ()
    report = analyse(str(analysed_plate), here())
    assert [one.steps for one in report.outcomes] == [(), ("ssl", "measure-ssl_cells"), ()]
    assert results_of(analysed_plate) == before


# without an analysis: a plate with results as steps leave them


def put_results(plate: Plate, well: WellPath, step: str, label: str, token: int) -> None:
    """Write a label image and a table of a step, and what measures them."""
    field = FieldPath(well, "0")
    frames = np.ones((2, 128, 128), np.uint32)
    files = create_label_image(plate, field, label, {"step": step})
    files |= write_label_frames(plate, field, label, 0, frames)
    table = pd.DataFrame({"object_id": ["1"]})
    made_by = {"step": step}
    files |= write_table(
        plate, field, f"{label}_motion", table, "generic_table", provenance=made_by
    )
    write_marker(plate, well, Marker(step, f"of {step}", files), token)
    made_by = {"step": f"measure-{label}"}
    name = f"{label}_objects"
    files = write_table(plate, field, name, table, "generic_table", provenance=made_by)
    files |= write_table(plate, field, "shared", table, "generic_table", provenance=made_by)
    parts = {"reads": f"of {step}", "stains": [["isl-dna", "s"]] if step == "ssl" else []}
    measure = Marker(f"measure-{label}", f"of measure-{label}", files, {"parts": parts})
    write_marker(plate, well, measure, token)


def put_stain(plate: Plate, well: WellPath, token: int) -> None:
    field, sister = FieldPath(well, "0"), plate.sister("isl-dna")
    files = create_product(plate, sister, field, [Channel("dna_prediction")], {"step": "isl-dna"})
    files |= write_product_frames(sister, field, 0, np.ones((2, 1, 1, 128, 128), np.float32))
    write_marker(plate, well, Marker("isl-dna", "s", files, sister="isl-dna"), token)


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def _made(request, tmp_path_factory) -> tuple[Path, Path]:
    """Return a plate without results, and one of two wells with those of SSL and a stain."""
    version: Version = request.param
    folder = tmp_path_factory.mktemp("prune")
    wells = {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)}
    bare = make_plate(folder / "bare" / "two.zarr", wells, version)
    shutil.copytree(bare.storage.url, folder / "full" / "two.zarr")
    plate = open_plate(folder / "full" / "two.zarr")
    make_sister(plate, "isl-dna")
    with acquire(plate.companion) as lock:
        for well in plate.layout.wells:
            put_results(plate, well, "ssl", "ssl_cells", lock.token)
            put_stain(plate, well, lock.token)
    return folder / "bare" / "two.zarr", folder / "full" / "two.zarr"


@pytest.fixture
def bare(_made) -> Path:
    return _made[0]


@pytest.fixture
def full(_made, tmp_path) -> Path:
    return Path(shutil.copytree(_made[1].parent, tmp_path / "full")) / "two.zarr"


def test_all_wells_give_up_label_images_tables_and_the_plate_of_a_stain(bare, full):
    take_back(full, ("ssl", "measure-ssl_cells", "isl-dna"))
    assert of_plate(full) == of_plate(bare)
    assert not (full.parent / "two_isl-dna.zarr").exists()
    assert not list(full.with_suffix(".hcs").glob("A/*/*.json"))


def test_the_last_well_that_gives_a_label_image_up_takes_the_empty_ones_along(bare, full):
    steps = ("ssl", "measure-ssl_cells", "isl-dna")
    take_back(full, steps, (A01,))
    plate = open_plate(full)
    check_plate(plate)
    assert plate.label_names(FieldPath(A01, "0")) == ("ssl_cells",)
    assert plate.attributes("A/01/0/labels/ssl_cells")["state"] == "pruned"
    assert product_state(plate.sister("isl-dna"), FieldPath(A01, "0")) == "pruned"
    assert damages(full) == ()
    take_back(full, steps, (A02,))
    assert of_plate(full) == of_plate(bare)


def test_what_reads_a_pruned_step_is_stale_and_stays(full):
    pruning = take_back(full, ("isl-dna",))
    assert pruning.stale == ("measure-ssl_cells",)
    markers = {path.name for path in full.with_suffix(".hcs").glob("A/*/*.json")}
    assert markers == {"ssl.json"}
    assert "ssl_cells_objects" in table_names(open_plate(full), FieldPath(A01, "0"))


def test_what_another_step_vouches_for_stays(full):
    plate = open_plate(full)
    with acquire(plate.companion) as lock:
        for well in plate.layout.wells:
            put_results(plate, well, "isl-nuclei", "isl_nuclei", lock.token)
    take_back(full, ("measure-isl_nuclei",))
    names = table_names(open_plate(full), FieldPath(A01, "0"))
    assert "shared" in names
    assert "isl_nuclei_objects" not in names
    assert "isl_nuclei_motion" in names


def test_labels_of_others_stay_and_stay_listed(full):
    plate = open_plate(full)
    field = FieldPath(A01, "0")
    create_label_image(plate, field, "by_hand", {})
    write_label_frames(plate, field, "by_hand", 0, np.ones((2, 128, 128), np.uint32))
    take_back(full, ("ssl",))
    assert open_plate(full).label_names(field) == ("by_hand",)


@pytest.mark.parametrize("wells", [(), (A01,)], ids=["all", "one"])
def test_wherever_it_is_killed_the_same_again_completes_it(full, tmp_path, monkeypatch, wells):
    """Die before writes and deletions, and in the middle of a folder that is deleted.

    At each of them where ``HCS_FAULTS`` is set, at every ninth elsewhere.
    """
    steps = ("ssl", "measure-ssl_cells", "isl-dna")
    stride = 1 if "HCS_FAULTS" in os.environ else 9
    undisturbed = Path(shutil.copytree(full.parent, tmp_path / "undisturbed")) / "two.zarr"
    take_back(undisturbed, steps, wells)
    expected, number = of_plate(undisturbed), 3
    while True:
        number += stride
        again = Path(shutil.copytree(full.parent, tmp_path / f"{number}")) / "two.zarr"
        with monkeypatch.context() as dying:
            if not die_at(number, dying, again, steps, wells):
                break
        take_back(again, steps, wells)
        assert of_plate(again) == expected
        shutil.rmtree(again.parent)
    assert number > 20


class Killed(Exception):
    pass


def die_at(number, dying, url, steps, wells) -> bool:
    """Prune until so many changes were made to the plate; say whether it came to that."""
    left = [number]

    def count(change, name):
        def counted(self, *arguments, **options):
            ours = "lock/" not in str(arguments)
            left[0] -= ours
            if ours and left[0] == 0:
                if name == "delete" and (folder := Path(self.url, arguments[0])).is_dir():
                    first = sorted(path for path in folder.rglob("*") if path.is_file())[:1]
                    for path in first:
                        path.unlink()
                raise Killed
            return change(self, *arguments, **options)

        return counted

    for name in ("write", "delete", "remove"):
        dying.setattr(LocalStorage, name, count(getattr(LocalStorage, name), name))
    try:
        take_back(url, steps, wells)
    except Killed:
        return True
    return False


# refusals, and the command


def test_the_input_is_never_pruned(full):
    with pytest.raises(SettingsError, match="is the input, and is not pruned"):
        take_back(full, ("import",))


def test_a_step_of_which_there_is_nothing_is_said(full):
    before = results_of(full)
    plate = open_plate(full)
    pruning = take_back(full, ("isl-cells",))
    with pytest.raises(MissingError, match="there is nothing of isl-cells to prune") as caught:
        check_found(plate, pruning)
    assert caught.value.hint == "the plate has results of isl-dna, measure-ssl_cells, ssl"
    assert results_of(full) == before


def test_the_command_names_the_steps_where_none_is_named(full, tiny_plate, capsys):
    for url, words in (
        (full, "the plate has results of isl-dna, measure-ssl_cells, ssl"),
        (tiny_plate, "run an analysis first: hcs run"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["prune", str(url)])
        assert ended.value.code == 64
        told = capsys.readouterr().err
        assert told == f"hcs: no step was named: --step STEP, again for more\n     {words}\n"


def test_a_plate_without_results_is_to_be_analysed_first(tiny_plate):
    plate = open_plate(tiny_plate)
    with pytest.raises(MissingError, match=r"nothing of ssl to prune \(run an analysis first: hcs"):
        check_found(plate, plan_pruning(plate, plate.layout.wells, ["ssl"]))


def test_a_plate_that_is_held_is_left_alone(full):
    before = results_of(full)
    with acquire(open_plate(full).companion, heartbeat_s=0.1), pytest.raises(HcsError):
        take_back(full, ("ssl",))
    assert results_of(full) == before


def test_the_command_says_what_goes_and_a_dry_run_leaves_it(full, capsys):
    def call(*arguments) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["prune", str(full), *arguments])
        return int(ended.value.code)

    before = results_of(full)
    assert call("--step", "ssl", "--well", "A/01", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "would remove" in printed
    assert "label image ssl_cells" in printed
    assert "to be done again by the next run: measure-ssl_cells" in printed
    assert results_of(full) == before
    assert call("--step", "ssl", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in told["removals"]} == {"ssl_cells", "ssl_cells_motion"}
    assert call("--step", "ssl") == 1
    assert "there is nothing of ssl to prune" in capsys.readouterr().err
