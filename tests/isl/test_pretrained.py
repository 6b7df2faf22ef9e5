"""No test asks a network: what answers here, or does not, is this machine."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import nn

from hcs.errors import WeightsError
from hcs.isl import pretrained
from hcs.isl.network import build_network
from hcs.isl.pretrained import load_encoder
from tests.isl.tiny import tiny


@pytest.fixture
def encoder():
    """Return a whole encoder for three channels, as the hub has them."""
    return smp.encoders.get_encoder("resnet18", weights=None)


@pytest.fixture
def file(encoder, tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(encoder.state_dict(), path)
    return path


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """Let the hub's client find an empty cache, and nobody at the hub's address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def hub(monkeypatch, *, cached, online):
    """Let the client answer as told; return what it was asked for."""
    asked = []

    def download(repository, name, *, revision, local_files_only=False):
        asked.append("cache" if local_files_only else "hub")
        answer = cached if local_files_only else online
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_a_file_fills_the_encoder_and_nothing_else(encoder, file):
    network = build_network("stain", 3, 1, tiny(), file)
    wanted = encoder.state_dict()
    found = network.encoder.state_dict()
    assert len(found) == 60
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


@pytest.mark.parametrize("n_inputs", [1, 2, 5])
def test_filters_for_three_channels_answer_as_strongly_to_n(encoder, file, n_inputs):
    """An image that is the same in all channels gives what it gave in three."""
    network = build_network("stain", n_inputs, 1, tiny(), file)
    found = network.encoder.conv1.weight
    assert found.shape[1] == n_inputs
    wanted = encoder.conv1.weight[:, [i % 3 for i in range(n_inputs)]] * 3 / n_inputs
    if n_inputs == 1:
        wanted = encoder.conv1.weight.sum(1, keepdim=True)
    torch.testing.assert_close(found, wanted)


def test_imagenet_weights_come_from_the_cache_without_asking_anybody(monkeypatch, encoder, file):
    asked = hub(monkeypatch, cached=file, online=AssertionError("asked"))
    network = build_network("stain", 3, 1, tiny(), "imagenet")
    assert asked == ["cache"]
    assert torch.equal(network.encoder.conv1.weight, encoder.conv1.weight)


def test_imagenet_weights_are_downloaded_once_the_hub_has_answered(monkeypatch, encoder, file):
    asked = hub(monkeypatch, cached=LocalEntryNotFoundError("none"), online=file)
    monkeypatch.setattr(pretrained, "_ask", lambda url: asked.append(url.split("/", 3)[-1][:33]))
    network = build_network("stain", 3, 1, tiny(), "imagenet")
    assert asked == ["cache", "smp-hub/resnet18.imagenet/resolve", "hub"]
    assert torch.equal(network.encoder.conv1.weight, encoder.conv1.weight)


@pytest.mark.usefixtures("no_hub")
def test_without_a_hub_there_is_one_error_with_two_ways_out():
    with pytest.raises(WeightsError, match="no ImageNet weights of resnet18") as caught:
        build_network("stain", 3, 1, tiny(), "imagenet")
    assert "the hub cannot be reached (URLError)" in caught.value.message
    assert "either set encoder_weights: none" in caught.value.hint
    assert "get model.safetensors of smp-hub/resnet18.imagenet" in caught.value.hint
    assert "give its path" in caught.value.hint


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """The client's own way is six times, with half a minute of pauses."""
    asked = hub(monkeypatch, cached=LocalEntryNotFoundError("none"), online=AssertionError("asked"))
    with pytest.raises(WeightsError, match="cannot be reached"):
        build_network("stain", 3, 1, tiny(), "imagenet")
    assert asked == ["cache"]


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionResetError("gone"),
        HfHubHTTPError.__bases__[0]("broken"),
        LocalEntryNotFoundError("x"),
    ],
)
def test_a_download_that_breaks_is_the_same_error(monkeypatch, failure):
    hub(monkeypatch, cached=LocalEntryNotFoundError("none"), online=failure)
    monkeypatch.setattr(pretrained, "_ask", lambda _url: None)
    with pytest.raises(WeightsError, match=f"cannot be reached .{type(failure).__name__}"):
        build_network("stain", 3, 1, tiny(), "imagenet")


def test_weights_of_another_encoder_are_refused(file):
    with pytest.raises(WeightsError, match=r"of the encoder resnet34: Error.*layer1\.2"):
        build_network("stain", 3, 1, tiny(encoder="resnet34"), file)


def test_a_pickle_is_no_encoder(tmp_path):
    torch.save({}, tmp_path / "encoder")
    with pytest.raises(WeightsError, match="this is a zip archive, as"):
        build_network("stain", 3, 1, tiny(), tmp_path / "encoder")


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("tu-resnet18", "encoder tu-resnet18 begins with random weights only"),
        ("resnext101_32x4d", "there are no ImageNet weights of the encoder resnext101_32x4d"),
    ],
)
def test_an_encoder_without_imagenet_weights_is_told(encoder, words, monkeypatch):
    asked = hub(monkeypatch, cached=AssertionError("asked"), online=AssertionError("asked"))
    with pytest.raises(WeightsError, match=words):
        load_encoder(nn.Identity(), encoder, "imagenet", 3)
    assert asked == []


class _Refuses(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(403)

    def log_message(self, *_):
        pass


def test_a_hub_that_answers_no_has_answered():
    """Some servers refuse to be asked, and still give files; the client finds out."""
    with HTTPServer(("127.0.0.1", 0), _Refuses) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        pretrained._ask(f"http://127.0.0.1:{server.server_port}/model")
        thread.join()
