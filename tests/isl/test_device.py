import pytest
import torch

from hcs.errors import WorkerError
from hcs.isl.device import choose, count_gpus, has_bf16


def test_a_gpu_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(WorkerError, match=r"a GPU was asked for, and torch sees 0 .* device: cpu"):
        choose("gpu")


def test_a_cpu_is_always_there():
    assert choose("cpu") == torch.device("cpu")


def test_the_first_visible_gpu_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_gpus() == 2
    assert choose("gpu") == torch.device("cuda", 0)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_gpus_compute_in_bf16_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bf16(torch.device("cuda", 0)) is expected


@pytest.mark.parametrize("supported", [True, False])
def test_a_cpu_is_asked_for_its_instructions(monkeypatch, supported):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert has_bf16(torch.device("cpu")) is supported
