"""Tiny trained networks: a random U-Net whose last layer is solved for, in a second.

What they give is not good, but it is about the drawn cells: random filters see grain.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hcs.isl.card import Architecture, Head, InputPlane, ModelCard, TargetScale, Training
from hcs.isl.network import Network, build_network
from hcs.isl.normalise import standardise
from hcs.isl.weights import save_weights
from tests.plates import moving_cells

ARCHITECTURE = Architecture(encoder="resnet18", depth=3, decoder_channels=(16, 8, 8))
# of the logit within and without
_SURE = 4.0


def write_weights(
    path: Path, head: Head, name: str = "", *, seed: int = 0, **changes: object
) -> Path:
    """Write a network that takes the channel "phase" of `tests.plates.make_plate`."""
    frame = moving_cells(seed, n_frames=1)[0]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(head, 1, 2 if head == "cells" else 1, ARCHITECTURE).eval()
    _solve_for(network, standardise(frame[None]), _targets(head, frame))
    card = {
        "name": name or head,
        "head": head,
        "inputs": (InputPlane(channel="phase"),),
        "targets": (TargetScale(stain="dna", offset=100, scale=400),) if head == "stain" else (),
        "architecture": ARCHITECTURE,
        "pixel_size_um": 0.65,
        "training": Training(
            fingerprint="drawn",
            n_images=1,
            n_steps=1,
            seed=seed,
            started_from="random",
            recipe={},
        ),
    }
    save_weights(path, network, ModelCard(**(card | changes)))
    return path


def _targets(head: Head, frame: NDArray[np.uint16]) -> NDArray[np.float64]:
    mask = ndimage.gaussian_filter(frame.astype(float), 2) > 480
    distance = ndimage.distance_transform_edt(mask)
    logit = np.where(mask, _SURE, -_SURE)
    return {
        "stain": np.stack([mask.astype(float)]),
        "nuclei": np.stack([logit]),
        "cells": np.stack([distance / max(distance.max(), 1), logit]),
    }[head]


def _solve_for(network: Network, inputs: NDArray[np.float32], targets: NDArray[np.float64]) -> None:
    """Give the last convolution the least-squares weights for one image."""
    last = network.last[0]
    with torch.inference_mode():
        features = network.decoder(network.encoder(torch.from_numpy(inputs)[None]))
        columns = torch.nn.functional.unfold(features, 3, padding=1)[0].T.numpy()
    # every third pixel is plenty for some dozens of unknowns
    columns = np.column_stack([columns, np.ones(len(columns))]).astype(np.float64)[::3]
    wanted = targets.reshape(len(targets), -1).T[::3]
    solved = np.linalg.lstsq(columns, wanted, rcond=1e-6)[0]
    weights = torch.from_numpy(solved[:-1].T.astype(np.float32)).reshape(last.weight.shape)
    network.last[0].load_state_dict(
        {"weight": weights, "bias": torch.from_numpy(solved[-1].astype(np.float32))}
    )
