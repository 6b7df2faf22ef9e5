"""What we write fits the official JSON schemas of OME-Zarr."""

import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from hcs.plate.metadata import Acquisition, Channel, PlateLayout
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import create_product, make_sister, write_empty_product
from hcs.plate.write import create_label_image, create_plate, write_empty_label_image

FIELD = FieldPath.parse("B/03/0")
SCHEMAS = os.environ.get("NGFF_SCHEMAS", "")
needs_schemas = pytest.mark.skipif(
    not SCHEMAS, reason="needs the folder of OME-Zarr JSON schemas in NGFF_SCHEMAS"
)


@pytest.fixture(scope="module")
def registry():
    contents = [json.loads(p.read_text()) for p in sorted(Path(SCHEMAS).glob("*/*.schema"))]
    return Registry().with_resources(
        [(content["$id"], DRAFT202012.create_resource(content)) for content in contents]
    )


@needs_schemas
@pytest.mark.parametrize(
    ("where", "schema"),
    [
        ("", "strict_plate"),
        ("B/03", "strict_well"),
        ("B/03/0", "strict_image"),
        # groups of label images have no schema; the strict one of labels asks for colors
        ("B/03/0/labels/ssl_cells", "label"),
        ("B/03/0/labels/isl_cells", "label"),
    ],
)
def test_what_we_write_fits_the_schemas(tmp_path, make_plate, kind, registry, where, schema):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    create_label_image(plate, FIELD, "ssl_cells", {"recipe": "R"})
    write_empty_label_image(plate, FIELD, "isl_cells", "failed")
    version = plate.layout.version
    attributes = plate.attributes(where) if where else root(plate)
    assert problems(registry, version, schema, attributes) == []


@needs_schemas
@pytest.mark.parametrize(
    ("where", "schema"),
    [("", "strict_plate"), ("B/03", "strict_well"), ("B/03/0", "strict_image"),
     ("A/01/0", "strict_image")],
)  # fmt: skip
def test_plates_of_stains_fit_the_schemas(tmp_path, make_plate, kind, registry, where, schema):
    plate = make_plate(tmp_path / "demo.zarr", kind)
    sister = make_sister(plate, "isl-dna")
    channels = (Channel("dna_prediction", "0000FF", (0.0, 900.0, 100.0, 500.0)),)
    create_product(plate, sister, FIELD, channels, {"recipe": "R"})
    write_empty_product(plate, sister, FieldPath.parse("A/01/0"), channels, "failed")
    attributes = sister.attributes(where) if where else root(sister)
    assert problems(registry, plate.layout.version, schema, attributes) == []


def problems(registry, version, schema, attributes):
    content = json.loads((Path(SCHEMAS) / version / f"{schema}.schema").read_text())
    errors = Draft202012Validator(content, registry=registry).iter_errors(attributes)
    return [error.message for error in errors]


def root(plate):
    if plate.layout.version == "0.4":
        return json.loads(plate.storage.read(".zattrs"))
    return json.loads(plate.storage.read("zarr.json"))["attributes"]


@needs_schemas
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_with_acquisitions_fits_its_schema(tmp_path, registry, version):
    acquisitions = (Acquisition(0, "day 1"), Acquisition(1))
    layout = PlateLayout("demo", version, ("B",), ("03",), (WellPath("B", "03"),), acquisitions)
    plate = create_plate(tmp_path / "demo.zarr", layout)
    assert problems(registry, version, "plate", root(plate)) == []


@needs_schemas
def test_the_schemas_find_what_is_wrong(registry):
    assert problems(registry, "0.5", "plate", {"ome": {"version": "0.5", "plate": {}}})
