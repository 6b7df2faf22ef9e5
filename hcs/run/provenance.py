"""What made a result: settings, versions, digests; no times, so that equal runs are equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

from hcs.plate.commit import JSON
from hcs.plate.open import Plate
from hcs.run.steps import StepStatus
from hcs.settings import Settings

CRATE = "ro-crate-metadata.json"
_PACKAGES = ("hcs", "numpy", "scipy", "opencv-python-headless", "scikit-image", "laptrack", "zarr")


def provenance_of(status: StepStatus) -> dict[str, JSON]:
    """Return what stands in the attributes of each label image and table that a step makes."""
    return {
        "step": status.step.name,
        "fingerprint": status.fingerprint,
        "depends_on": dict(status.parts),
        "versions": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the version of each package that decides a result."""
    return {name: version(name) for name in _PACKAGES}


def write_crate(
    plate: Plate, settings: Settings, label_images: Sequence[str], tables: Sequence[str]
) -> None:
    """Describe plate, software and outputs as an RO-Crate in the plate's companion."""
    crate = _crate(plate.storage.name, settings, label_images, tables)
    content = json.dumps(crate, indent=1, sort_keys=True).encode()
    key = CRATE
    if not plate.companion.exists(key) or plate.companion.read(key) != content:
        plate.companion.write(key, content)


def _crate(
    name: str, settings: Settings, label_images: Sequence[str], tables: Sequence[str]
) -> Mapping[str, JSON]:
    """Return JSON-LD after the RO-Crate specification 1.1 and its process run profile."""
    plate = f"../{name}.zarr/"
    made = [f"{plate}#labels/{label}" for label in label_images]
    made += [f"{plate}#tables/{table}" for table in tables]
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
            "hasPart": [{"@id": item} for item in (plate, *made)],
            "mentions": {"@id": "#analysis"},
        },
        {"@id": plate, "@type": "Dataset", "name": name, "encodingFormat": "OME-Zarr"},
        *({"@id": item, "@type": "Dataset", "name": item.rpartition("/")[2]} for item in made),
        {
            "@id": instrument,
            "@type": "SoftwareApplication",
            "name": "hcs",
            "softwareVersion": version("hcs"),
            "softwareRequirements": [f"{name} {text}" for name, text in versions().items()],
        },
        {
            "@id": "#analysis",
            "@type": "CreateAction",
            "instrument": {"@id": instrument},
            "object": [{"@id": plate}, {"@id": "#settings"}],
            "result": [{"@id": item} for item in made],
        },
        {
            "@id": "#settings",
            "@type": "PropertyValue",
            "name": "settings",
            "value": settings.model_dump_json(exclude={"run", "wells"}),
        },
    ]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
