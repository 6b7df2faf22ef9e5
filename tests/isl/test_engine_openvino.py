import sys

import numpy as np
import pytest
import torch

from hcs.errors import SettingsError
from hcs.isl.predict import Predictor
from hcs.isl.settings import IslSettings
from tests.isl.learnt import tiny_network

CPU = torch.device("cpu")
OPENVINO = IslSettings(engine="openvino", batch=2, precision="fp32")


def outputs(settings, *shapes):
    rng = np.random.default_rng(0)
    shown = [rng.standard_normal((2, *shape)).astype(np.float32) for shape in shapes]
    predictor = Predictor(tiny_network(inputs=2), settings, CPU)
    return [one.output for one in predictor.predict(shown)]


def test_openvino_predicts_what_torch_does():
    pytest.importorskip("openvino", reason="the extra is not installed")
    shapes = [(64, 64)] * 3 + [(33, 90)]
    plain = outputs(IslSettings(batch=2, precision="fp32"), *shapes)
    for one, other in zip(outputs(OPENVINO, *shapes), plain, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_openvino_that_is_not_installed_is_said_with_two_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    said = r"not installed here \(pip install 'hcs\[openvino\]' .* isl.engine: torch"
    with pytest.raises(SettingsError, match=said):
        Predictor(tiny_network(), OPENVINO, CPU)


def test_openvino_on_a_gpu_is_refused():
    with pytest.raises(SettingsError, match="which computes on CPUs, and the device is cuda"):
        Predictor(tiny_network(), OPENVINO, torch.device("cuda", 0))
