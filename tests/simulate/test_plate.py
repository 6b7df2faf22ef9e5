import numpy as np
import pytest

from hcs.plate.check import find_problems
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.table import read_table
from hcs.simulate.plate import simulate_plate, simulate_well_field
from hcs.simulate.settings import Accident, SimulationSettings

SMALL = SimulationSettings(rows=1, columns=2, frames=2, size=64, preset="easy", seed=5)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_simulated_plate_holds_its_frames_and_its_truth(tmp_path, version):
    settings = SMALL.model_copy(update={"version": version})
    plate = simulate_plate(tmp_path / "demo.zarr", settings)
    truth = open_plate(tmp_path / "demo_truth.zarr")
    path = FieldPath.parse("A/02/0")
    wanted = simulate_well_field(settings, path)
    assert np.array_equal(plate["A/02/0"].to_xarray().to_numpy()[:, :, 0], wanted.frames)
    labels = truth["A/02/0"].labels
    assert np.array_equal(np.squeeze(labels["cells"].to_xarray().to_numpy()), wanted.cells)
    assert np.array_equal(np.squeeze(labels["nuclei"].to_xarray().to_numpy()), wanted.nuclei)
    assert read_table(truth, path, "tracks").label.tolist() == wanted.tracks.label.tolist()
    assert plate.table("condition").equals(truth.table("condition"))
    image = plate.field_image(path)
    assert [channel.label for channel in image.channels] == ["phase", "nuclei", "cells"]
    assert (image.pixel_size_um, image.interval_s) == (0.65, 600.0)


def test_a_truth_is_told_from_its_plate_before_it_is_analysed(tmp_path):
    plate = simulate_plate(tmp_path / "demo.zarr", SMALL)
    truth = open_plate(tmp_path / "demo_truth.zarr")
    assert not any("truth" in warning for warning in find_problems(plate).warnings)
    assert any("the truth of a simulated" in warning for warning in find_problems(truth).warnings)
    (tmp_path / "demo_truth.zarr/A/01/0/labels/.zattrs").write_text("{")
    assert not any("truth" in warning for warning in find_problems(truth).warnings)


def test_shards_are_fewer_files_of_the_same_pixels(tmp_path):
    as_chunks = SMALL.model_copy(update={"version": "0.5", "size": 1200, "columns": 1})
    as_shards = as_chunks.model_copy(update={"storage": "sharded"})
    chunked = simulate_plate(tmp_path / "c" / "demo.zarr", as_chunks)
    sharded = simulate_plate(tmp_path / "s" / "demo.zarr", as_shards)
    wanted, got = (p["A/01/0"].to_xarray().to_numpy() for p in (chunked, sharded))
    assert np.array_equal(wanted, got)
    for suffix in ("", "_truth"):
        fewer, more = (
            open_plate(tmp_path / kind / f"demo{suffix}.zarr").storage.sizes() for kind in "sc"
        )
        assert len(fewer) < len(more)


def test_a_missing_well_has_no_images_but_stands_in_the_plate_map(tmp_path):
    accident = Accident(kind="missing_well", well="A/01")
    settings = SMALL.model_copy(update={"accidents": (accident,)})
    plate = simulate_plate(tmp_path / "demo.zarr", settings)
    assert [str(well) for well in plate.layout.wells] == ["A/02"]
    assert len(plate.table("condition")) == 2


@pytest.mark.integration
def test_the_number_of_processes_changes_no_byte(tmp_path):
    plates = [simulate_plate(tmp_path / f"{n}" / "demo.zarr", SMALL, processes=n) for n in (1, 2)]
    digests = [
        {key: plate.storage.digest(key) for key in plate.storage.sizes()} for plate in plates
    ]
    assert digests[0] == digests[1]


def test_each_field_is_told_when_it_is_written(tmp_path):
    told = []
    simulate_plate(tmp_path / "demo.zarr", SMALL, on_field=told.append)
    assert [str(path) for path in told] == ["A/01/0", "A/02/0"]


def test_a_well_does_not_depend_on_the_plate_around_it():
    path = FieldPath.parse("A/01/0")
    wide = SMALL.model_copy(update={"rows": 2, "columns": 5})
    assert np.array_equal(
        simulate_well_field(SMALL, path).frames, simulate_well_field(wide, path).frames
    )
