from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn

from hcs.errors import WeightsError, WorkerError
from hcs.isl import predict
from hcs.isl.header import weights_digest
from hcs.isl.network import build_network
from hcs.isl.predict import Predictor, flips, loaded, unflip
from hcs.isl.settings import IslSettings
from hcs.isl.weights import save_weights
from tests.isl.learnt import tiny_network
from tests.isl.tiny import IMAGES, tiny, tiny_card

CPU = torch.device("cpu")
SIZES = [(64, 64), (96, 160), (33, 71), (300, 257), (20, 300), (5, 7), (1, 1)]


def images(*shapes, planes=2):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((planes, *shape)).astype(np.float32) for shape in shapes]


def predicted(network, shown, head="stain", **settings):
    return list(Predictor(network, IslSettings(**settings), CPU, head).predict(shown))


def outputs(network, shown, **settings):
    return [prediction.output for prediction in predicted(network, shown, **settings)]


@pytest.fixture(autouse=True)
def _fp32(monkeypatch):
    """Have no processor choose bf16 by itself, which agrees to three digits only."""
    monkeypatch.setattr("hcs.isl.engine.has_bf16", lambda device: False)


@pytest.fixture
def near():
    """Return a network that sees two pixels far."""
    return tiny_network(inputs=2).eval()


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    network = build_network("stain", 2, 1, tiny())
    with torch.no_grad():
        for _ in range(5):
            network(IMAGES)
    return network.eval()


class Counting(nn.Module):
    """Passes one plane on, remembers the shapes of batches, and has only so much memory."""

    def __init__(self, most=10**9, error=torch.OutOfMemoryError):
        super().__init__()
        self.convolution = tiny_network(inputs=2)
        self.most, self.error = most, error
        self.shapes = []

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        # not of the small image that a network is folded with
        if x.shape[-1] > 64:
            self.shapes.append(tuple(x.shape))
        if x.numel() > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 9 GiB")
        return self.convolution(x)


@pytest.mark.parametrize("shape", SIZES)
def test_an_output_has_its_images_size_and_is_what_the_network_says(near, shape):
    (image,) = images(shape)
    (output,) = outputs(near, [image])
    assert output.dtype == np.float32
    assert output.shape == (1, *shape)
    with torch.no_grad():
        plain = near(torch.from_numpy(image)[None])[0].numpy()
    # two convolutions: all but two pixels at the rim never see the padding
    np.testing.assert_allclose(output[:, 2:-2, 2:-2], plain[:, 2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize("shape", SIZES)
def test_tiles_and_whole_field_agree_to_rounding_where_a_halo_covers_what_the_network_sees(
    near, shape
):
    shown = images(shape)
    whole, tiled = outputs(near, shown), outputs(near, shown, tile_px=64, halo_px=32)
    np.testing.assert_allclose(tiled[0], whole[0], atol=2e-6)


@pytest.mark.parametrize("shape", [(320, 320), (300, 353), (70, 450)])
def test_tiles_and_whole_field_of_a_unet_agree_within_the_stated_bound(unet, shape):
    shown = images(shape)
    (whole,), (tiled,) = outputs(unet, shown), outputs(unet, shown, tile_px=256, halo_px=128)
    assert np.abs(tiled - whole).max() <= 0.01 * whole.std()


def test_an_image_gives_the_same_bits_whatever_is_predicted_with_it(unet):
    shown = images(*[(70, 90)] * 5)
    together = outputs(unet, shown, batch=3)
    for image, output in zip(shown, together, strict=True):
        (alone,) = outputs(unet, [image], batch=3)
        assert (alone == output).all()


def test_images_of_mixed_shapes_come_back_in_order(near):
    shown = images((64, 64), (64, 64), (96, 64), (64, 64), (33, 40), (33, 40))
    found = outputs(near, shown, batch=4)
    for image, output in zip(shown, found, strict=True):
        (alone,) = outputs(near, [image], batch=4)
        assert (alone == output).all()


def test_no_images_give_no_predictions(near):
    assert predicted(near, []) == []
    assert predicted(near, [], uncertainty="flips") == []


def test_batches_fill_with_tiles_across_images():
    network = Counting()
    # three tiles each: eight images fill six batches of four
    outputs(network, images(*[(96, 288)] * 8), batch=4, tile_px=128, halo_px=32)
    assert network.shapes == [(4, 2, 96, 128)] * 6


def test_the_last_batch_is_filled_up_to_the_shape_of_the_others():
    network = Counting()
    outputs(network, images(*[(70, 80)] * 5), batch=4)
    assert network.shapes == [(4, 2, 96, 96)] * 2


@pytest.mark.parametrize("uncertainty", ["none", "flips"])
def test_images_are_taken_when_there_is_room_for_them(near, uncertainty):
    taken = []
    stream = (taken.append(i) or image for i, image in enumerate(images(*[(32, 32)] * 9)))
    settings = IslSettings(batch=4, uncertainty=uncertainty)
    for i, _ in enumerate(Predictor(near, settings, CPU).predict(stream)):
        assert len(taken) <= 4 * (i // 4 + 1)
    assert len(taken) == 9


def test_a_network_that_trains_on_is_predicted_as_it_was(near):
    shown = images((64, 64))
    predictor = Predictor(near.train(), IslSettings(), CPU)
    before = [one.output for one in predictor.predict(shown)]
    with torch.no_grad():
        near[0].weight.mul_(2)
    after = [one.output for one in predictor.predict(shown)]
    assert near.training
    assert (before[0] == after[0]).all()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_when_memory_runs_out_the_batch_is_halved_then_the_tile_and_this_is_remembered(error):
    class OneTile(Counting):
        def forward(self, x):
            try:
                return super().forward(x)
            except RuntimeError:
                raise error("[enforce fail] DefaultCPUAllocator: can't allocate memory") from None

    shown = images(*[(256, 256)] * 4)
    wide = outputs(Counting(), shown)
    scarce = OneTile(most=2 * 160 * 160)
    predictor = Predictor(scarce, IslSettings(batch=4, halo_px=32), CPU)
    found = [one.output for one in predictor.predict(shown)]
    np.testing.assert_allclose(found, wide, atol=2e-6)
    assert [shape[0] for shape in scarce.shapes[:3]] == [4, 2, 1]
    assert (predictor.batch, predictor.tile_px) == (1, 128)
    before = len(scarce.shapes)
    again = [one.output for one in predictor.predict(shown)]
    assert (np.array(again) == found).all()
    assert max(shape[-1] for shape in scarce.shapes[before:]) <= 128


def test_when_not_even_a_small_tile_fits_it_is_said_with_numbers():
    said = "not even one tile of 128 px and 2 planes fits .* tiles under 128 px .*fewer workers"
    with pytest.raises(WorkerError, match=said):
        outputs(Counting(most=100), images((256, 256)), halo_px=64)


def test_an_error_that_is_not_for_want_of_memory_is_passed_on():
    with pytest.raises(RuntimeError, match="expected input"):
        outputs(tiny_network(inputs=2), images((64, 64), planes=3))


def test_what_the_allocator_of_the_cpu_says_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert predict.is_out_of_memory(caught.value)


def test_flips_are_the_eight_symmetries_of_the_square_and_can_be_undone():
    (image,) = images((3, 5))
    turned = list(flips(image))
    assert len({one.tobytes() + bytes(one.shape) for one in turned}) == 8
    assert [one.shape[1:] for one in turned] == [(3, 5)] * 4 + [(5, 3)] * 4
    for i, one in enumerate(turned):
        assert (unflip(one, i) == image).all()


@pytest.mark.parametrize("shape", [(64, 64), (50, 70)])
def test_with_flips_the_prediction_of_a_turned_image_is_the_turned_prediction(unet, shape):
    (image,) = images(shape)
    (upright,) = predicted(unet, [image], uncertainty="flips")
    for i, turned in enumerate(flips(image)):
        (found,) = predicted(unet, [turned], uncertainty="flips")
        np.testing.assert_allclose(unflip(found.output, i), upright.output, atol=1e-5)
        np.testing.assert_allclose(unflip(found.spread, i), upright.spread, atol=1e-5)


def right_neighbour():
    """Return a network that gives each pixel the value of the one to its right."""
    convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        convolution.weight[0, 0, 1, 2] = 1
    return convolution


@pytest.mark.parametrize("head", ["stain", "nuclei"])
def test_mean_and_spread_are_those_of_the_eight_predictions(head):
    (image,) = images((32, 64), planes=1)
    (found,) = predicted(right_neighbour(), [image], head, uncertainty="flips")
    plane = image[0].astype(float)
    # turned by the eight symmetries, right is each of the four sides twice
    sides = np.stack([np.roll(plane, step, axis) for axis in (0, 1) for step in (-1, 1)])
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(found.output[0][inner], sides.mean(0)[inner], atol=1e-6)
    of = sides if head == "stain" else 1 / (1 + np.exp(-sides))
    np.testing.assert_allclose(found.spread[0][inner], of.std(0)[inner], atol=1e-6)


def test_a_network_without_directions_has_no_spread():
    point = nn.Conv2d(2, 2, 1)
    (found,) = predicted(point, images((40, 50)), uncertainty="flips")
    assert found.spread.shape == found.output.shape == (2, 40, 50)
    assert found.spread.max() < 1e-6


def test_the_spread_of_cells_is_of_their_foreground():
    (found,) = predicted(
        nn.Conv2d(2, 2, 3, padding=1), images((40, 50)), "cells", uncertainty="flips"
    )
    assert found.output.shape == (2, 40, 50)
    assert found.spread.shape == (1, 40, 50)
    assert 0 < found.spread.max() <= 0.5


def test_bf16_predicts_nearly_the_same(unet):
    shown = images((96, 96))
    (full,), (half,) = (
        outputs(unet, shown, precision="fp32"),
        outputs(unet, shown, precision="bf16"),
    )
    assert not (full == half).all()
    assert np.corrcoef(full.ravel(), half.ravel())[0, 1] >= 0.999


@pytest.fixture
def file(unet, tmp_path):
    path = tmp_path / "dapi.safetensors"
    save_weights(path, unet, tiny_card())
    return path


def test_a_network_is_loaded_once_in_a_process(file, monkeypatch, unet):
    calls = []
    load = predict.load_network
    monkeypatch.setattr(predict, "load_network", lambda *given: calls.append(given) or load(*given))
    digest = weights_digest(file)
    first = loaded(str(file), digest, IslSettings(), "cpu")
    settings = IslSettings(channels={})
    assert loaded(str(file), digest, settings, "cpu") is first
    assert len(calls) == 1
    assert loaded(str(file), digest, IslSettings(batch=1), "cpu") is not first
    assert first.card == tiny_card()
    assert torch.get_num_threads() == 1
    (found,) = first.predictor.predict(images((64, 64)))
    (expected,) = outputs(unet, images((64, 64)))
    assert (found.output == expected).all()


def test_another_file_than_the_one_chosen_is_refused(file):
    with pytest.raises(WeightsError, match="changed since it was chosen"):
        loaded(str(file), "0" * 64, IslSettings(), "cpu")


def test_a_gpu_that_is_not_there_is_said_before_anything_is_loaded(file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(WorkerError, match="a GPU was asked for"):
        loaded(str(file), "0" * 64, IslSettings(), "gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_predicts_what_a_cpu_does(unet):
    shown = images((96, 96), (300, 257))
    (on_cpu, on_gpu) = (
        [
            one.output
            for one in Predictor(unet, IslSettings(precision="fp32"), device).predict(shown)
        ]
        for device in (CPU, torch.device("cuda", 0))
    )
    for one, other in zip(chain(on_cpu), chain(on_gpu), strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] >= 0.9995
