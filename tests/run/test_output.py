"""Results in a plate of their own: an input that nobody may write to, read together with it."""

import json
import shutil
from pathlib import Path

import pytest

from hcs.cli.main import main
from hcs.errors import MissingError, WriteError
from hcs.plate.check import check_plate
from hcs.plate.local import LocalStorage
from hcs.plate.open import open_plate
from hcs.plate.output import make_output
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.read import read_frames, read_label_image
from hcs.plate.storage import write_errors
from hcs.plate.table import table_names, write_table
from hcs.run.analyse import analyse
from hcs.run.status import plate_status
from hcs.run.verify import verify_plate
from hcs.settings import Settings, load_settings
from hcs.tables.schema import QUARANTINE
from tests.plates import make_plate, moving_cells, results_of

FIELD = FieldPath.parse("A/01/0")
HERE = ("--monitor", "none", "--dask", "none", "--workers", "1")


def here(*overrides: str) -> Settings:
    return load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])


def call(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code)


def tree(url: Path) -> dict[str, bytes]:
    return {str(p.relative_to(url)): p.read_bytes() for p in url.rglob("*") if p.is_file()}


@pytest.fixture
def forbidden(tiny_plate, monkeypatch) -> Path:
    """Return a plate that cannot be written to; not even who runs the tests as root could."""

    def guarded(change):
        def refuse(self, key, *arguments, **options):
            if Path(self.url).name.split(".")[0] == "tiny":
                with write_errors(self.url):
                    raise PermissionError(13, "Permission denied")
            return change(self, key, *arguments, **options)

        return refuse

    for name in ("write", "write_unflushed", "create", "delete"):
        monkeypatch.setattr(LocalStorage, name, guarded(getattr(LocalStorage, name)))
    return tiny_plate


def test_an_input_that_is_read_only_is_refused_at_once_with_what_to_do(tiny_plate, monkeypatch):
    def refuse(self, files):
        with write_errors(self.url):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalStorage, "write_unflushed", refuse)
    with pytest.raises(WriteError, match="it is read-only") as caught:
        analyse(str(tiny_plate), here())
    assert "hcs run --output PLATE" in caught.value.hint
    assert not list(tiny_plate.with_suffix(".hcs").glob("A/*/*.json"))


def test_results_of_a_read_only_input_are_those_of_one_that_is_not(
    forbidden, analysed_plate, tmp_path, capsys
):
    before, output = tree(forbidden), tmp_path / "out" / "results.zarr"
    assert call("run", forbidden, "--output", output, *HERE) == 0
    assert tree(forbidden) == before
    assert not forbidden.with_suffix(".hcs").exists()
    found, expected = results_of(output), results_of(analysed_plate)
    ours = {key for key in expected if "/labels/" in key or "tables/" in key}
    ours |= {key for key in expected if key.startswith("companion/") and "crate" not in key}
    assert {key: found[key] for key in ours} == {key: expected[key] for key in ours}
    others = {k: v for k, v in found.items() if k.startswith("plate/") and k not in ours}
    assert sum(map(len, others.values())) < 10_000

    # every command reads both together
    assert call("run", forbidden, "--output", output, *HERE) == 0
    assert "3 kept" in capsys.readouterr().out
    assert call("run", output, *HERE) == 0
    assert {well.state for well in plate_status(open_plate(output)).wells} == {"done"}
    assert call("verify", output) == 0
    assert call("overlay", output, "A/01/0", "-o", tmp_path / "a.png") in (None, 0)
    assert call("export", output, "--labels", tmp_path / "tiff") in (None, 0)
    assert call("why", output, "A/01") in (None, 0)


@pytest.fixture(params=["0.4", "0.5"])
def source(request, tmp_path) -> Path:
    url = tmp_path / "in" / "source.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)}, request.param)
    return url


def pixels(url) -> list[bytes]:
    return [f.tobytes() for f in read_frames(open_plate(url), FIELD, "phase", range(2))]


def test_a_linked_plate_holds_no_pixels_and_reads_those_of_the_input(source, tmp_path):
    output = make_output(open_plate(source), str(tmp_path / "out.zarr"))
    assert pixels(output.storage.url) == pixels(source)
    assert sum(path.stat().st_size for path in (tmp_path / "out.zarr").rglob("*.*")) < 10_000
    check_plate(output)
    found = open_plate(output.storage.url)["A/01/0"].to_xarray()
    assert found.sizes["t"] == 2
    assert "label" not in repr(table_names(output, FIELD))


def test_a_copy_stands_alone_without_results_of_the_input(source, tmp_path):
    plate = open_plate(source)
    write_table(plate, None, "quarantine", QUARANTINE.empty(), "generic_table")
    expected = pixels(source)
    output = make_output(plate, str(tmp_path / "out.zarr"), "copied")
    assert table_names(output, None) == ()
    shutil.rmtree(source)
    assert pixels(output.storage.url) == expected
    check_plate(open_plate(output.storage.url))


def test_a_copy_that_was_killed_is_completed(source, tmp_path, monkeypatch):
    left = [5]

    def dying(self, files):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return write(self, files)

    write = LocalStorage.write_unflushed
    with monkeypatch.context() as kill:
        kill.setattr(LocalStorage, "write_unflushed", dying)
        with pytest.raises(KeyboardInterrupt):
            make_output(open_plate(source), str(tmp_path / "out.zarr"), "copied")
    output = make_output(open_plate(source), str(tmp_path / "out.zarr"), "copied")
    undisturbed = make_output(open_plate(source), str(tmp_path / "other.zarr"), "copied")
    assert tree(Path(output.storage.url)) == tree(Path(undisturbed.storage.url))


def test_the_plate_map_and_the_sources_of_frames_go_along(source, tmp_path):
    plate = open_plate(source)
    table = QUARANTINE.empty()
    write_table(plate, None, "condition", table, "condition_table")
    plate.companion.write("import.json", b'{"fields": {}}')
    output = make_output(plate, str(tmp_path / "out.zarr"))
    assert table_names(output, None) == ("condition",)
    assert output.table("condition").columns.tolist() == table.columns.tolist()
    assert json.loads(output.companion.read("import.json")) == {"fields": {}}


def test_what_is_something_else_is_left_alone(source, tmp_path):
    plate = open_plate(source)
    with pytest.raises(WriteError, match="is the input itself"):
        make_output(plate, str(source))
    make_plate(tmp_path / "other.zarr", {"A/01": moving_cells(0, 2)})
    with pytest.raises(WriteError, match=r"other\.zarr is there, and does not hold results of"):
        make_output(plate, str(tmp_path / "other.zarr"))
    make_output(plate, str(tmp_path / "linked.zarr"))
    with pytest.raises(WriteError, match=r"with copied pixels"):
        make_output(plate, str(tmp_path / "linked.zarr"), "copied")


def test_an_input_that_is_gone_is_named(source, tmp_path):
    make_output(open_plate(source), str(tmp_path / "out.zarr"))
    source.rename(source.with_name("elsewhere.zarr"))
    with pytest.raises(MissingError, match=r"nothing at .*source\.zarr/A/01"):
        open_plate(tmp_path / "out.zarr").well(WellPath.parse("A/01"))


def test_damage_of_the_input_is_told_from_that_of_results(forbidden, tmp_path):
    output = tmp_path / "out" / "results.zarr"
    assert call("run", forbidden, "--output", output, "--well", "A/01", *HERE) == 0
    (output / "A/01/0/labels/ssl_cells/0/1/0/0/0").unlink()
    (forbidden / "A/01/0/0/1/0/0/0/0").unlink()
    plate = open_plate(output)
    found = verify_plate(plate, [FIELD.well])
    assert {damage.part for damage in found.damages} == {"input", "step"}
    frames = read_label_image(plate, FIELD, "ssl_cells", range(1))
    assert next(frames).max() > 0
