"""What made a result: settings, versions, digests; no times, so that equal runs are equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from hcs.plate.commit import JSON, Marker, fingerprint
from hcs.plate.open import Plate
from hcs.run.models import Model
from hcs.run.steps import Step, StepStatus, label_images_of, record_of
from hcs.settings import Settings

CRATE = "ro-crate-metadata.json"
# what a step of one well depends on and others do not; the rest is how it was done
_OF_A_WELL = frozenset({"input", "reads", "stains", "pool", "fields"})
_PACKAGES = ("hcs", "numpy", "scipy", "opencv-python-headless", "scikit-image", "laptrack", "zarr")
# of steps with networks
_OF_NETWORKS = ("torch", "segmentation-models-pytorch")


@dataclass(frozen=True)
class Outputs:
    """What a plate holds of results, whichever runs made them.

    Parameters
    ----------
    label_images : tuple of str
    stains : tuple of str
        Steps whose stains lie in plates of their own.
    tables : tuple of str
        Of the plate as a whole.
    """

    label_images: tuple[str, ...]
    stains: tuple[str, ...]
    tables: tuple[str, ...]


def provenance_of(status: StepStatus, root: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what stands in the attributes of each label image and table that a step makes.

    Parameters
    ----------
    status : StepStatus
    root : mapping
        What every result of the well depends on, see `hcs.run.steps.Wanted`: a published plate has
        no markers that tell what the steps before this one read.
    """
    return {
        "step": status.step.name,
        "fingerprint": status.fingerprint,
        "depends_on": {**root, **status.parts},
        "versions": versions([status.step]),
    }


def provenance_of_plate(markers: Mapping[str, Mapping[str, Marker]]) -> dict[str, JSON]:
    """Return what tables of a whole plate depend on: its wells' input, and how each step was done.

    Parameters
    ----------
    markers : mapping
        Of each well that they speak of, by well and step.
    """
    inputs: dict[str, JSON] = {}
    ways: dict[str, dict[str, JSON]] = {}
    for well, own in markers.items():
        for step, marker in own.items():
            parts: Any = record_of(marker).get("parts") or {}
            way = {name: value for name, value in parts.items() if name not in _OF_A_WELL}
            ways.setdefault(step, {})[fingerprint(way)] = way
            if "input" in parts:
                inputs[well] = parts["input"]
    steps = {step: [own[key] for key in sorted(own)] for step, own in sorted(ways.items())}
    return {"input": fingerprint(inputs), "steps": steps}


def versions(steps: Sequence[Step] = ()) -> dict[str, str]:
    """Return the version of each package that decides a result of steps."""
    return _versions(any(step.model for step in steps)).copy()


def write_crate(plate: Plate, settings: Settings, steps: Sequence[Step], outputs: Outputs) -> None:
    """Describe plate, software and outputs as an RO-Crate in the plate's companion.

    The settings, networks and results of its action are those of the run that wrote it; its parts
    are all outputs.
    """
    crate = _crate(plate.storage.name, settings, steps, outputs)
    content = json.dumps(crate, indent=1, sort_keys=True).encode()
    key = CRATE
    if not plate.companion.exists(key) or plate.companion.read(key) != content:
        plate.companion.write(key, content)


@cache
def _versions(networks: bool) -> dict[str, str]:  # noqa: FBT001 - makes the key
    packages = (*_PACKAGES, *_OF_NETWORKS) if networks else _PACKAGES
    return {name: version(name) for name in packages}


def _crate(
    name: str, settings: Settings, steps: Sequence[Step], outputs: Outputs
) -> Mapping[str, JSON]:
    """Return JSON-LD after the RO-Crate specification 1.1 and its process run profile."""
    plate = f"../{name}.zarr/"
    made = [f"{plate}#labels/{label}" for label in outputs.label_images]
    made += [f"{plate}#tables/{table}" for table in outputs.tables]
    stains = [f"../{name}_{step}.zarr/" for step in outputs.stains]
    own = {f"{plate}#labels/{label}" for label in label_images_of(steps)}
    own |= {f"{plate}#tables/{table}" for table in outputs.tables}
    own |= {f"../{name}_{step.name}.zarr/" for step in steps}
    weights = [_weights(step.model) for step in steps if step.model]
    instrument = "https://pypi.org/project/hcs"
    graph: list[JSON] = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"hcs analysis of {name}",
            "hasPart": [{"@id": item} for item in (plate, *stains, *made)],
            "mentions": {"@id": "#analysis"},
        },
        {"@id": plate, "@type": "Dataset", "name": name, "encodingFormat": "OME-Zarr"},
        *({"@id": item, "@type": "Dataset", "name": item.rpartition("/")[2]} for item in made),
        *(
            {"@id": item, "@type": "Dataset", "name": item[3:-6], "encodingFormat": "OME-Zarr"}
            for item in stains
        ),
        *weights,
        {
            "@id": instrument,
            "@type": "SoftwareApplication",
            "name": "hcs",
            "softwareVersion": version("hcs"),
            "softwareRequirements": [f"{name} {text}" for name, text in versions(steps).items()],
        },
        {
            "@id": "#analysis",
            "@type": "CreateAction",
            "instrument": {"@id": instrument},
            "object": [
                {"@id": item} for item in (plate, "#settings", *(one["@id"] for one in weights))
            ],
            "result": [{"@id": item} for item in (*made, *stains) if item in own],
        },
        {
            "@id": "#settings",
            "@type": "PropertyValue",
            "name": "settings",
            # weights are told of by what they are, not by where they lay
            "value": settings.model_dump_json(
                exclude={"run": True, "wells": True, "isl": {"weights"}}
            ),
        },
    ]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _weights(model: Model) -> dict[str, JSON]:
    card = model.card
    return {
        "@id": f"#{card.step}",
        "@type": "CreativeWork",
        "name": f"weights of network {card.name}",
        "license": card.licence,
        "identifier": f"sha256:{model.digest}",
    }
