"""Weights of an encoder that was trained on other images: ImageNet's, or those of a file.

A download has two ends only: the weights, or one error that says what else can be done. The hub's
own client repeats for minutes when there is no network, so it is asked once whether it answers.
"""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import huggingface_hub
import safetensors.torch
import segmentation_models_pytorch as smp
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn

from hcs.errors import WeightsError
from hcs.isl.untrusted import read_header

_FILE = "model.safetensors"
# the last are of the library that the client talks through, which changed between its versions
_FAILURES: tuple[type[BaseException], ...] = (OSError, HTTPException, *HfHubHTTPError.__bases__)
# how long the hub may take to say that it is there
_ANSWER_S = 5.0


def load_encoder(
    encoder: nn.Module, name: str, weights: Literal["imagenet"] | Path, n_inputs: int
) -> None:
    """Fill an encoder with weights trained on images of three channels, then fit it to n channels.

    Filters of the first layer are repeated for the channels, and scaled so that their sum stays.

    Parameters
    ----------
    encoder : nn.Module
        Of segmentation-models-pytorch, for three channels; changed in place.
    name : str
        Its name there.
    weights : "imagenet" or Path
        To be downloaded (or taken from the hub's cache on this machine), or a safetensors file.
    n_inputs : int
        Channels that it shall take.

    Raises
    ------
    WeightsError
        There are none for this encoder, the hub cannot be reached, or the file is of another one.
    """
    if name.startswith("tu-"):
        raise WeightsError(
            f"encoder {name} begins with random weights only",
            hint="take encoder_weights: none, or an encoder without tu-",
        )
    path = _imagenet(name) if weights == "imagenet" else Path(weights)
    read_header(path)
    try:
        encoder.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, SafetensorError) as error:
        words = " ".join(str(error).split())
        raise WeightsError(
            f"{path}: these are no weights of the encoder {name}: {words[:300]}",
            hint="give the encoder's own file, for three input channels, or encoder_weights: none",
        ) from error
    encoder.set_in_channels(n_inputs, pretrained=True)  # type: ignore[operator]


def _imagenet(name: str) -> Path:
    """Return the file of ImageNet's weights, from the cache of this machine or downloaded."""
    known = smp.encoders.encoders.get(name, {}).get("pretrained_settings") or {}
    if "imagenet" not in known:
        raise WeightsError(
            f"there are no ImageNet weights of the encoder {name} by this name",
            hint="take encoder_weights: none, or the path of a safetensors file",
        )
    place = known["imagenet"]
    repository, revision = place["repo_id"], place["revision"]
    try:
        return _download(repository, revision)
    except _FAILURES as error:
        raise WeightsError(
            f"no ImageNet weights of {name}: {_FILE} of {repository} is not on this machine, and "
            f"the hub cannot be reached ({type(error).__name__})",
            hint=f"either set encoder_weights: none and train from random weights, or get {_FILE} "
            f"of {repository} (revision {revision[:8]}) where there is a network, and give its "
            "path as encoder_weights",
        ) from error


def _download(repository: str, revision: str) -> Path:
    try:
        found = huggingface_hub.hf_hub_download(
            repository, _FILE, revision=revision, local_files_only=True
        )
    except LocalEntryNotFoundError:
        # asked once: the download itself would ask again for half a minute
        _ask(huggingface_hub.hf_hub_url(repository, _FILE, revision=revision))
        found = huggingface_hub.hf_hub_download(repository, _FILE, revision=revision)
    return Path(found)


def _ask(url: str) -> None:
    """Return if a server answers, whatever; OSError if none does, soon."""
    with suppress(HTTPError), urlopen(Request(url, method="HEAD"), timeout=_ANSWER_S):
        pass
