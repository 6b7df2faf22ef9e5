"""How often the chunks of a plate are decoded by each step.

SSL takes three passes over the label-free channel (docs/decisions/0002-passes-over-a-field.md),
each with the frame before a span as context; the measurement takes one over every channel.
"""

from collections import Counter
from collections.abc import Mapping

import pytest

from hcs.plate.open import open_plate
from hcs.plate.pixels import NotingStore
from hcs.run import well
from hcs.run.analyse import analyse
from hcs.run.plan import make_plan
from hcs.settings import load_settings
from tests.plates import SIDE_PX, make_plate, moving_cells, rechunk

N_FRAMES = 7
ARRAY = "A/01/0/0"
PHASE, NUCLEI = 0, 1


@pytest.fixture
def plate(tmp_path):
    url = tmp_path / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, N_FRAMES)})
    return url


@pytest.fixture
def decoded(monkeypatch) -> Mapping[str, Counter[str]]:
    """Return how often each chunk of the field is fetched to be decoded, by kind of step."""
    counts: dict[str, Counter[str]] = {}
    steps: list[str] = []
    get = NotingStore.get

    async def noted(store, key, *rest, **named):
        content = await get(store, key, *rest, **named)
        name = key.removeprefix(f"{ARRAY}/")
        if name != key and not name.startswith(".z") and content is not None:
            counts.setdefault(steps[-1], Counter())[name] += 1
        return content

    def watched(kind, step):
        def watched_step(work):
            steps.append(kind)
            return step(work)

        return watched_step

    monkeypatch.setattr(NotingStore, "get", noted)
    for kind, step in well._STEPS.items():
        monkeypatch.setitem(well._STEPS, kind, watched(kind, step))
    return counts


def run(url, *overrides: str) -> None:
    settings = load_settings(overrides=["run.dask=none", "run.workers=1", *overrides])
    assert analyse(str(url), settings).exit_code == 0


def each(times: list[int], channel: int) -> dict[str, int]:
    """Return how often the chunk of each frame was decoded, one frame to a chunk."""
    return {f"{t}/{channel}/0/0/0": n for t, n in enumerate(times)}


def test_ssl_takes_three_passes_over_one_channel_and_the_measurement_one_over_all(plate, decoded):
    run(plate)
    assert decoded["statistics"] == each([2] * N_FRAMES, PHASE)
    assert decoded["ssl"] == each([1] * N_FRAMES, PHASE)
    assert decoded["measure"] == each([1] * N_FRAMES, PHASE) | each([1] * N_FRAMES, NUCLEI)


def test_a_span_reads_one_frame_more_as_context(plate, decoded):
    run(plate, "run.span_frames=3")
    # frames 2 and 5 come before a span; grey levels and measurements need no context
    assert decoded["statistics"] == each([2, 2, 3, 2, 2, 3, 2], PHASE)
    assert decoded["ssl"] == each([1, 1, 2, 1, 1, 2, 1], PHASE)
    assert decoded["measure"] == each([1] * N_FRAMES, PHASE) | each([1] * N_FRAMES, NUCLEI)


def test_chunks_of_several_frames_and_channels_are_decoded_once_per_pass(plate, decoded):
    rechunk(plate / ARRAY, (3, 2, 1, SIDE_PX // 2, SIDE_PX))
    run(plate)
    every = [f"{t}/0/0/{y}/0" for t in range(3) for y in range(2)]
    passes = {"statistics": 2, "ssl": 1, "measure": 1}
    assert decoded == {kind: dict.fromkeys(every, n) for kind, n in passes.items()}


def test_a_network_decodes_a_chunk_of_several_frames_once(plate, decoded, weights):
    rechunk(plate / ARRAY, (3, 1, 1, SIDE_PX, SIDE_PX))
    run(plate, "methods=[isl]", f"isl.weights=[{weights['nuclei']}]", "run.span_frames=6")
    assert decoded["objects"] == {f"{t}/0/0/0/0": 1 for t in range(3)}


def test_frames_of_a_chunk_that_are_too_many_to_be_kept_are_decoded_again_and_it_is_said(
    plate, decoded, monkeypatch
):
    frame_bytes = SIDE_PX**2 * 2
    monkeypatch.setattr("hcs.plate.blocks._KEPT_BYTES", 4 * frame_bytes)
    rechunk(plate / ARRAY, (N_FRAMES, 1, 1, SIDE_PX, SIDE_PX))
    # four frames of one channel are kept, or two of two
    said = make_plan(open_plate(plate), load_settings()).warnings
    assert any("it is decoded up to 4 times in each pass" in warning for warning in said)
    run(plate)
    assert decoded["statistics"] == {"0/0/0/0/0": 2 * 2}
    assert decoded["ssl"] == {"0/0/0/0/0": 2}
    assert decoded["measure"] == {"0/0/0/0/0": 4, "0/1/0/0/0": 4}
