"""What a look at every file finds, what it tells to do, and what a run makes of it."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs.cli.main import main
from hcs.errors import PlateError, StorageError
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import
from hcs.ingest.plate import PlateFormat, import_plate
from hcs.plate.commit import Marker, read_marker, write_marker
from hcs.plate.local import LocalStorage
from hcs.plate.lock import acquire
from hcs.plate.metadata import Channel
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import create_product, make_sister
from hcs.plate.write import write_product_frames
from hcs.run import verify
from hcs.run.analyse import analyse
from hcs.run.finish import TABLES
from hcs.run.verify import Verified, verify_plate, withdraw
from hcs.settings import Settings, load_settings
from tests.corruptions import Corruption
from tests.plates import make_plate, moving_cells, results_of

A01, A02, B01 = (WellPath.parse(name) for name in ("A/01", "A/02", "B/01"))
FIELD = FieldPath(A02, "0")
# of a table of the plate
FILES = (".zattrs", ".zgroup", "table.parquet")


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


def look_at(url: Path, *wells: WellPath) -> Verified:
    plate = open_plate(url)
    return verify_plate(plate, wells or plate.layout.wells)


def repair(url: Path) -> Verified:
    plate = open_plate(url)
    with acquire(plate.companion) as lock:
        found = verify_plate(plate, plate.layout.wells)
        withdraw(plate, found.damages, lock.token)
    return found


def call(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code)


def test_a_sound_plate_ends_with_0_also_before_its_first_run(tiny_plate, analysed_plate):
    for url in (tiny_plate, analysed_plate):
        assert look_at(url).damages == ()
        assert look_at(url).exit_code == 0


def test_what_is_ours_is_named_and_made_anew_by_a_run_and_nothing_else(analysed_plate):
    before = results_of(analysed_plate)
    (chunk,) = analysed_plate.glob("A/02/0/labels/ssl_cells/0/2/0/0/0")
    chunk.unlink()
    (damage,) = repair(analysed_plate).damages
    assert (damage.well, damage.field, damage.name) == (A02, FIELD, "ssl")
    assert damage.what == "A/02/0/labels/ssl_cells/0/2/0/0/0 is missing"
    assert damage.cure == "hcs verify --repair, then hcs run"
    report = analyse(str(analysed_plate), here())
    assert [one.steps for one in report.outcomes] == [(), ("ssl", "measure-ssl_cells"), ()]
    assert results_of(analysed_plate) == before


def test_without_repair_nothing_is_written(analysed_plate):
    (analysed_plate / "A/02/0/tables/ssl_cells_objects/table.parquet").write_bytes(b"PAR1")
    before = results_of(analysed_plate)
    assert look_at(analysed_plate).exit_code == 2
    assert results_of(analysed_plate) == before
    assert not list(analysed_plate.with_suffix(".hcs").glob("lock/00000002.json"))


def test_exit_codes_tell_some_wells_from_all_of_them(analysed_plate):
    (analysed_plate / "A/02/0/tables/ssl_cells_objects/table.parquet").unlink()
    assert look_at(analysed_plate).exit_code == 2
    assert look_at(analysed_plate, A02).exit_code == 1
    assert look_at(analysed_plate, A01, B01).exit_code == 0


def test_metadata_of_a_label_image_are_vouched_for(analysed_plate):
    document = analysed_plate / "A/02/0/labels/ssl_cells/.zattrs"
    document.write_bytes(document.read_bytes().replace(b"0.65", b"0.64"))
    (damage,) = look_at(analysed_plate).damages
    assert (damage.name, damage.field) == ("ssl", FIELD)


def test_a_label_image_of_an_old_marker_must_be_readable_all_the_same(analysed_plate):
    plate = open_plate(analysed_plate)
    marker = read_marker(plate, A02, "ssl")
    files = {k: d for k, d in marker.manifest.items() if not k.endswith((".zattrs", ".zarray"))}
    with acquire(plate.companion) as lock:
        write_marker(
            plate, A02, Marker("ssl", marker.fingerprint, files, marker.record), lock.token
        )
    (analysed_plate / "A/02/0/labels/ssl_cells/0/.zarray").write_text("{")
    (damage,) = look_at(analysed_plate).damages
    assert (damage.name, damage.field) == ("ssl", FIELD)
    assert "label image 'ssl_cells'" in damage.what or "cannot be opened" in damage.what


@pytest.mark.parametrize("group", ["A/02/0/labels", "A/02/0/tables", "tables"])
@pytest.mark.parametrize("change", ["no JSON", "no names", "gone"])
def test_a_listing_is_mended_at_once_and_no_step_done_again(analysed_plate, group, change):
    before = results_of(analysed_plate)
    document = analysed_plate / group / ".zattrs"
    if change == "gone":
        (analysed_plate / group / ".zgroup").unlink()
    else:
        document.write_text("{" if change == "no JSON" else "{}")
    found = repair(analysed_plate)
    assert [damage.part for damage in found.damages] == ["listing"]
    assert group in found.damages[0].what
    assert results_of(analysed_plate) == before


def test_a_damaged_marker_is_a_step_to_be_done(analysed_plate):
    before = results_of(analysed_plate)
    path = analysed_plate.with_suffix(".hcs") / "A/02/ssl-statistics.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    found = repair(analysed_plate)
    assert [damage.name for damage in found.damages] == ["ssl-statistics"]
    assert "not what was written" in found.damages[0].what
    assert not path.exists()
    assert analyse(str(analysed_plate), here()).exit_code == 0
    assert results_of(analysed_plate) == before


OF_THE_PLATE = [f"tiny.zarr/tables/{table}/{file}" for table in TABLES for file in FILES]


@pytest.mark.parametrize("kind", ["truncation", "deletion", "bit flip"])
@pytest.mark.parametrize("file", [*OF_THE_PLATE, "tiny.hcs/ro-crate-metadata.json"])
def test_tables_of_the_plate_are_made_anew_alone(analysed_plate, file, kind):
    before = results_of(analysed_plate)
    path = analysed_plate.parent / file
    content = path.read_bytes()
    flipped = bytes([content[0] ^ 1, *content[1:]])
    Corruption(path, kind, flipped if kind == "bit flip" else content[:-9]).apply()
    found = repair(analysed_plate)
    assert [(damage.well, damage.name) for damage in found.damages] == [(None, "finish")]
    assert found.exit_code == 2
    report = analyse(str(analysed_plate), here())
    assert {outcome.state for outcome in report.outcomes} == {"kept"}
    assert report.failure is None
    assert results_of(analysed_plate) == before


def test_provenance_that_is_gone_is_missed(analysed_plate):
    (analysed_plate.with_suffix(".hcs") / "ro-crate-metadata.json").unlink()
    (damage,) = look_at(analysed_plate).damages
    assert damage.what == "ro-crate-metadata.json is missing"


def test_a_table_that_two_steps_write_is_sound_as_either_wrote_it(analysed_plate):
    plate = open_plate(analysed_plate)
    key = f"{FIELD}/tables/well_ROI_table/.zattrs"
    content = plate.storage.read(key).replace(b"measure-ssl_cells", b"measure-isl_nuclei")
    plate.storage.write(key, content)
    assert len(look_at(analysed_plate).damages) == 1
    digest = plate.storage.digest(key)
    with acquire(plate.companion) as lock:
        other = Marker("measure-isl_nuclei", "abc", {key: digest})
        write_marker(plate, A02, other, lock.token)
    assert look_at(analysed_plate).damages == ()


# what cannot be read


@pytest.mark.parametrize(
    ("folder", "well"),
    [
        ("tiny.hcs/A/02", A02),
        ("tiny.hcs/plate", None),
        ("tiny.hcs/lock", None),
        ("tiny.hcs/ro-crate-metadata.json", None),
        ("tiny.zarr/A/02/.zattrs", A02),
        ("tiny.zarr/A/02/0/0", A02),
        ("tiny.zarr/A/02/0/labels", A02),
        ("tiny.zarr/A/02/0/tables", A02),
        ("tiny.zarr/A/01/0/0/.zarray", A01),
        ("tiny.zarr/tables", None),
    ],
)
@pytest.mark.parametrize("error", [StorageError, PlateError])
def test_what_cannot_be_read_is_named_and_hides_nothing_else(
    analysed_plate, monkeypatch, folder, well, error
):
    next(analysed_plate.glob("B/01/0/labels/ssl_cells/0/2/0/0/0")).unlink()
    (lost,) = look_at(analysed_plate).damages

    def failing(plain):
        def act(storage, key="", *arguments, **options):
            if f"{storage.url}/{key}/".startswith(f"{analysed_plate.parent}/{folder}/"):
                raise error(f"cannot read {key}: Input/output error")
            return plain(storage, key, *arguments, **options)

        return act

    for name in ("read", "sizes", "digest", "exists"):
        monkeypatch.setattr(LocalStorage, name, failing(getattr(LocalStorage, name)))
    found = [damage for damage in look_at(analysed_plate).damages if damage != lost]
    assert {damage.well for damage in found} == {well}
    assert all("cannot read" in damage.what for damage in found)
    assert lost in look_at(analysed_plate).damages


def with_a_chunk_lost(url: Path) -> Verified:
    """Lose a chunk of the last well, and return what a look at the plate finds then."""
    next(url.glob("B/01/0/labels/ssl_cells/0/2/0/0/0")).unlink()
    return look_at(url)


@pytest.mark.parametrize("key", ["x", "labels", "A/02/0/labels", "A/02/!/labels/x", "../../x/y"])
@pytest.mark.parametrize("well", [A02, None])
def test_a_marker_of_files_where_no_step_writes_is_one_of_a_step_to_be_done(
    analysed_plate, key, well
):
    marker = Marker("ssl", "abc", {key: "sha256:00:1"})
    path = analysed_plate.with_suffix(".hcs") / f"{well or 'plate'}/ssl.json"
    path.write_text(json.dumps(asdict(marker)))
    odd, lost = sorted(with_a_chunk_lost(analysed_plate).damages, key=lambda one: one.well == B01)
    assert (odd.well, odd.part, odd.name) == (well, "step", "ssl")
    assert key in odd.what
    assert (lost.well, lost.part, lost.name) == (B01, "step", "ssl")


def test_a_marker_of_a_stain_that_no_plate_can_have_hides_nothing_else(analysed_plate):
    marker = Marker("isl", "abc", {"A/02/0/0": "sha256:00:1"}, sister="a\0b")
    (analysed_plate.with_suffix(".hcs") / "A/02/isl.json").write_text(json.dumps(asdict(marker)))
    damages = with_a_chunk_lost(analysed_plate).damages
    assert {damage.well for damage in damages} == {A02, B01, None}
    assert "holds what is in no path" in damages[0].what


def test_pixels_that_no_filter_decodes_hide_nothing_else(analysed_plate):
    path = analysed_plate / "A/02/0/0/.zarray"
    filters = [{"id": "astype", "encode_dtype": "|O", "decode_dtype": "<u2"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"filters": filters}))
    damages = with_a_chunk_lost(analysed_plate).damages
    assert {damage.well for damage in damages} == {A02, B01}
    assert "a chunk of A/02/0/0 is damaged" in damages[0].what


def test_what_cannot_be_read_is_not_mended_but_looked_for(analysed_plate, monkeypatch):
    monkeypatch.setattr(verify, "find_unlisted", unreadable)
    before = results_of(analysed_plate)
    found = repair(analysed_plate)
    assert {damage.cure for damage in found.damages} == {
        "look at the disk, the network or the server, then hcs verify again"
    }
    assert results_of(analysed_plate) == before


def unreadable(*_):
    raise StorageError("cannot read it: Input/output error")


# input


def test_a_chunk_of_the_input_is_named_and_must_be_imported_again(tiny_plate):
    chunk = tiny_plate / "A/02/0/0/2/0/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    (damage,) = look_at(tiny_plate).damages
    assert (damage.well, damage.field, damage.part) == (A02, FIELD, "input")
    assert "A/02/0/0/2/0/0/0/0" in damage.what
    assert damage.cure == "import or copy it anew"


def test_input_metadata_that_cannot_be_read_are_damage(tiny_plate):
    (tiny_plate / "A/02/0/.zattrs").write_text("{")
    found = look_at(tiny_plate)
    assert [(damage.well, damage.part) for damage in found.damages] == [(A02, "input")]
    assert found.exit_code == 2


def make_foreign(url: Path) -> None:
    """Take away what says that we wrote every chunk."""
    for group in url.glob("*/*/0/.zattrs"):
        attributes = json.loads(group.read_text())
        attributes.pop("hcs", None)
        group.write_text(json.dumps(attributes))


def test_a_chunk_that_a_foreign_plate_lacks_is_damage_where_it_was_there_once(
    tiny_plate, analysed_plate
):
    for url in (tiny_plate, analysed_plate):
        make_foreign(url)
        (url / "A/02/0/0/2/0/0/0/0").unlink()
    before = look_at(tiny_plate)
    assert before.damages == ()
    assert any("field A/02/0: 1 chunks are not there" in text for text in before.warnings)
    (damage,) = look_at(analysed_plate).damages
    assert (damage.well, damage.part) == (A02, "input")
    assert "not what it was for ssl-statistics" in damage.what


def test_what_an_import_wrote_is_written_anew_by_the_same_import(tmp_path):
    for well in ("A01", "A02"):
        pixels = np.full((32, 32), int(well[-1]), np.uint16)
        tifffile.imwrite(tmp_path / f"{well}.tif", pixels)
    plan = plan_import(Pattern("{well}.tif").find(tmp_path).files)
    url = tmp_path / "imported.zarr"
    import_plate(str(url), plan, PlateFormat())
    assert look_at(url).damages == ()
    before = results_of(url)
    chunk = next(path for path in sorted((url / "A/02/0/0").rglob("0")) if path.is_file())
    chunk.write_bytes(b"")
    (damage,) = repair(url).damages
    assert (damage.name, damage.well) == ("import", A02)
    assert damage.cure == "hcs verify --repair, then the same hcs import"
    import_plate(str(url), plan, PlateFormat())
    assert results_of(url) == before


# stains


@pytest.fixture
def stained(tmp_path) -> Path:
    """Return a plate with a predicted stain, vouched for."""
    url = tmp_path / "two.zarr"
    plate = make_plate(url, {"A/01": moving_cells(0, 1), "A/02": moving_cells(1, 1)})
    sister = make_sister(plate, "isl-dna")
    with acquire(plate.companion) as lock:
        for well in plate.layout.wells:
            field = FieldPath(well, "0")
            files = create_product(plate, sister, field, [Channel("dna_prediction")], {"step": "x"})
            pixels = np.zeros((1, 1, 1, 128, 128), np.float32)
            files |= write_product_frames(sister, field, 0, pixels)
            write_marker(plate, well, Marker("isl-dna", "a", files, sister="isl-dna"), lock.token)
    assert look_at(url).damages == ()
    return url


def test_stains_are_read_back_too(stained):
    next(stained.parent.glob("two_isl-dna.zarr/A/02/0/0/0/0/0/0/0")).unlink()
    (damage,) = look_at(stained).damages
    assert (damage.well, damage.field, damage.name) == (A02, FIELD, "isl-dna")


@pytest.mark.parametrize("group", ["", "A", "A/02"])
def test_the_plate_of_stains_as_such_is_mended_at_once(stained, group):
    document = stained.parent / "two_isl-dna.zarr" / group / ".zattrs"
    before = results_of(stained)
    document.write_text(document.read_text().replace("}", ', "odd": 1}', 1) if group else "{}")
    found = repair(stained)
    assert "sister" in {damage.part for damage in found.damages}
    withdrawn = {damage.name for damage in found.damages if damage.part == "step"}
    assert withdrawn <= {"isl-dna"}
    if not withdrawn:
        assert results_of(stained) == before


def test_a_plate_of_stains_that_is_gone_is_missed_by_every_well(stained):
    shutil.rmtree(stained.parent / "two_isl-dna.zarr")
    found = look_at(stained)
    assert {damage.well for damage in found.damages if damage.part == "step"} == {A01, A02}
    assert found.exit_code == 1


# the command


def test_a_run_that_holds_the_plate_is_said(tiny_plate):
    with acquire(open_plate(tiny_plate).companion):
        assert any("a run holds the plate" in text for text in look_at(tiny_plate).warnings)


def test_who_holds_the_plate_is_not_warned_of_itself(tiny_plate):
    plate = open_plate(tiny_plate)
    with acquire(plate.companion) as lock:
        assert verify_plate(plate, plate.layout.wells, lock.token).warnings == ()


def test_a_repair_says_what_it_withdrew_and_what_is_to_be_done_now(analysed_plate, capsys):
    (analysed_plate / "A/02/0/tables/ssl_cells_objects/table.parquet").unlink()
    (analysed_plate / "tables/.zattrs").write_text("{}")
    damaged = analysed_plate.with_name("as_json.zarr")
    shutil.copytree(analysed_plate, damaged)
    shutil.copytree(analysed_plate.with_suffix(".hcs"), damaged.with_suffix(".hcs"))
    assert call("verify", analysed_plate, "--repair") == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    *_, step, listing, said = printed.out.splitlines()
    assert step.rstrip().endswith("table.parquet is missing  hcs run")
    assert listing.rstrip().endswith("  mended")
    now = f"now: hcs run {analysed_plate}"
    assert said == f"1 step withdrawn: A/02 measure-ssl_cells; {now}"
    assert call("verify", damaged, "--repair", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["withdrawn"] == [{"well": "A/02", "step": "measure-ssl_cells"}]
    assert [row["cure"] for row in told["damages"]] == ["hcs run", "mended"]


def test_a_repair_says_that_nothing_was_withdrawn_where_the_input_is_damaged(tiny_plate, capsys):
    next((tiny_plate / "A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    assert call("verify", tiny_plate, "--repair") == 2
    *_, damage, said = capsys.readouterr().out.splitlines()
    assert damage.rstrip().endswith("import or copy it anew")
    assert said == "nothing withdrawn: no step is damaged"


def test_the_command_names_well_field_file_and_cure(analysed_plate, capsys):
    (analysed_plate / "A/02/0/tables/ssl_cells_objects/table.parquet").unlink()
    assert call("verify", analysed_plate, "--json") == 2
    told = json.loads(capsys.readouterr().out)
    (row,) = told["damages"]
    assert (row["well"], row["field"], row["of"]) == ("A/02", "A/02/0", "measure-ssl_cells")
    assert call("verify", analysed_plate, "--well", "A/01") == 0
    assert "1 wells read back, 0 with damage" in capsys.readouterr().out
    assert call("verify", analysed_plate, "--repair") == 2
    assert "ssl_cells_objects/table.parquet is missing" in capsys.readouterr().out
    assert call("run", analysed_plate, "--monitor", "none", "--dask", "none", "--workers", "1") == 0
    assert call("verify", analysed_plate) == 0
