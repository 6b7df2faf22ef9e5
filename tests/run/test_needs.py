"""What steps read, write and hold, from metadata alone; and plans that are made to fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hcs.errors import WorkerError
from hcs.isl.card import Architecture, InputPlane, ModelCard, TargetScale, Training
from hcs.isl.device import has_bf16
from hcs.isl.settings import IslSettings
from hcs.plate.metadata import Channel, FieldImage, Level
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.run.models import Model
from hcs.run.needs import bytes_read, bytes_written, files_written, working_bytes
from hcs.run.outcome import Failure
from hcs.run.plan import check_fit, make_plan, with_batch_that_fits
from hcs.run.steps import Step
from hcs.settings import Settings, load_settings

TRAINING = Training(fingerprint="", n_images=1, n_steps=1, seed=0, started_from="random", recipe={})
SETTINGS = Settings()
STATISTICS = Step("ssl-statistics", "statistics", "", "", "ssl")
PIXELS = 5 * 1000 * 2000
LEVEL = Level("0", (5, 2, 3, 1000, 2000), (1, 1, 1, 1000, 1000), None, (1,) * 5, (0,) * 5)
IMAGE = FieldImage(
    FieldPath.parse("A/01/0"),
    ("t", "c", "z", "y", "x"),
    "uint16",
    (LEVEL,),
    (Channel("BF"), Channel("phase")),
)


def step(kind: str, **changes) -> Step:
    card = {
        "name": "one",
        "head": "stain",
        "inputs": (InputPlane(channel="BF", plane=1), InputPlane(channel="phase", plane="max")),
        "targets": (TargetScale(stain="dna", offset=0, scale=1),),
        "architecture": Architecture(),
        "training": TRAINING,
    }
    model = Model("one.safetensors", "", ModelCard(**(card | changes)))
    return Step("isl-one", kind, "", "", "isl", model=model)


def test_a_network_reads_its_planes_and_every_plane_of_a_projection():
    assert bytes_read(step("stain"), IMAGE) == (1 + 3) * PIXELS * 2


def test_a_stain_is_written_with_its_coarser_levels_and_its_spread():
    assert bytes_written(step("stain"), IMAGE, IslSettings()) == int(PIXELS * 4 * 4 / 3)
    with_spread = IslSettings(uncertainty="flips")
    assert bytes_written(step("stain"), IMAGE, with_spread) == int(2 * PIXELS * 4 * 4 / 3)


def test_objects_are_written_as_label_images():
    objects = step("objects", head="nuclei", targets=())
    assert bytes_written(objects, IMAGE, IslSettings()) == PIXELS * 4 // 20


def test_a_file_is_a_chunk_or_a_shard():
    ssl = Step("ssl", "ssl", "ssl_cells", "", "ssl")
    # 1000 x 2000 in squares of 1000, five frames; two outputs are two channels
    assert files_written(ssl, IMAGE) == 5 * 2
    assert files_written(step("objects", head="nuclei", targets=()), IMAGE) == 5 * 2
    assert files_written(step("stain"), IMAGE) == 5 * 2
    sharded = replace(IMAGE, levels=(replace(LEVEL, shards=(1, 2, 3, 1000, 2000)),))
    assert files_written(ssl, sharded) == 5
    assert files_written(replace(ssl, kind="measure"), IMAGE) == 0


def test_measuring_reads_stains_too():
    measure = Step("measure-isl_nuclei", "measure", "isl_nuclei", "isl-one", "isl")
    stained = replace(measure, stains=("isl-dna",))
    assert bytes_read(stained, IMAGE) - bytes_read(measure, IMAGE) == 4 * PIXELS


def test_what_a_network_holds_grows_with_the_batch_and_not_beyond_a_tile():
    def held(**isl):
        return working_bytes(IMAGE, [step("stain")], Settings(isl=IslSettings(**isl)))

    assert held(batch=2) < held(batch=4)
    assert held(tile_px=512) < held(tile_px=1024) < held(tile_px=2048)
    on_gpu = load_settings(overrides=["run.device=gpu"])
    assert working_bytes(IMAGE, [step("stain")], on_gpu) < held(precision="fp32") / 4
    # without torch, as torch says
    auto = "bf16" if has_bf16(torch.device("cpu")) else "fp32"
    assert held(precision="bf16") < held(precision="fp32")
    assert held(precision="auto") == held(precision=auto)


def test_a_chunk_of_several_frames_is_decoded_whole_and_kept():
    def held(settings=SETTINGS, **changes):
        image = replace(IMAGE, levels=(replace(LEVEL, **changes),))
        return working_bytes(image, [STATISTICS], settings)

    frame = 1000 * 2000 * 2
    assert held() == 50 * frame
    # four more frames are kept, while one is worked on
    assert held(chunks=(5, 1, 1, 1000, 1000)) == (50 + 4) * frame
    assert held(chunks=(100, 1, 1, 1000, 2000)) == (100 + 4) * frame
    # a projection takes three planes of each frame
    assert held(Settings(plane="max")) == (50 + 2) * frame
    # ten chunks are decoded at the same time
    assert held(chunks=(1, 1, 1, 1, 20_000_000)) == 10 * 10 * frame


def test_a_measurement_keeps_every_channel():
    image = replace(IMAGE, levels=(replace(LEVEL, chunks=(5, 1, 1, 1000, 1000)),))
    measure = replace(STATISTICS, kind="measure")
    with_it = working_bytes(image, [STATISTICS, measure], SETTINGS)
    more = with_it - working_bytes(image, [STATISTICS], SETTINGS)
    assert more == 4 * 1000 * 2000 * 2


def test_a_network_holds_frames_of_its_own_pixel_size():
    def held(pixel_size_um):
        network = step("stain", pixel_size_um=0.65)
        image = replace(IMAGE, pixel_size_um=pixel_size_um)
        return working_bytes(image, [network], Settings(isl=IslSettings(tile_px=256, batch=1)))

    # three planes of float32 that wait to be computed, to be written, and meanwhile
    waiting = 1000 * 2000 * 3 * 12
    assert held(1.3) - held(0.65) == (4 - 1) * waiting
    # coarser ones beside frames of the plate
    assert held(0.325) == held(0.65)


def test_chunks_are_decoded_while_a_network_computes():
    def held(*chunks):
        image = replace(IMAGE, levels=(replace(LEVEL, chunks=chunks),))
        return working_bytes(image, [step("stain")], SETTINGS)

    frame = 1000 * 2000 * 2
    # four readers; a projection takes three planes
    channels = held(1, 2, 1, 1000, 2000) - held(1, 1, 1, 1000, 2000)
    assert channels == 4 * 3 * frame
    # one reader, and five frames are kept of one plane for one input and of three for the other
    frames = held(5, 1, 1, 1000, 2000) - held(1, 1, 1, 1000, 2000)
    assert frames == (3 * 5 - 1) * frame + (1 + 3) * 5 * frame - 4 * (3 - 1) * frame


def test_a_well_that_cannot_be_analysed_asks_for_no_memory(plan):
    well = plan.wells[0]
    level = replace(well.images[0].levels[0], shape=(9, 2, 1, 40_000, 40_000))
    large = replace(well, images=(replace(well.images[0], levels=(level,)),))
    failed = replace(large, failure=Failure("PlateError", "too large", ""))
    assert replace(plan, wells=(large,)).memory_per_worker > plan.memory_per_worker
    assert replace(plan, wells=(well, failed)).memory_per_worker == plan.memory_per_worker


@pytest.fixture
def plan(tiny_plate: Path, weights):
    named = f"isl.weights=[{weights['nuclei']}]"
    return make_plan(open_plate(tiny_plate), load_settings(overrides=["methods=[isl]", named]))


def test_the_batch_is_lowered_to_what_a_worker_has_room_for(plan):
    least = with_batch_that_fits(plan, worker_bytes=1)
    assert least.settings.isl.batch == 1
    assert {well.wanted.settings.isl.batch for well in least.wells} == {1}
    middle = (plan.memory_per_worker + least.memory_per_worker) // 2
    fitting = with_batch_that_fits(plan, middle)
    assert 1 <= fitting.settings.isl.batch < plan.settings.isl.batch
    assert fitting.memory_per_worker <= middle
    assert with_batch_that_fits(plan, None) is plan
    check_fit(fitting, middle)


def test_a_network_that_never_fits_is_refused_with_what_to_do(plan):
    with pytest.raises(WorkerError, match="a worker needs about") as caught:
        check_fit(with_batch_that_fits(plan, 10), 10)
    assert "isl.tile_px" in caught.value.hint


def test_a_plan_without_networks_looks_for_no_gpu(tiny_plate):
    plan = make_plan(open_plate(tiny_plate), load_settings(overrides=["run.device=gpu"]))
    assert plan.run.device == "cpu"
    assert with_batch_that_fits(plan, worker_bytes=1) is plan
