"""What we write opens in the real readers: napari's, ome-zarr-py, ome-zarr-models, ngio."""

import logging

import numpy as np
import pandas as pd
import pytest
import zarr
from ngio import open_ome_zarr_plate
from ngio.tables import FeatureTable, GenericTable
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr

from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import create_product, make_sister, write_empty_product
from hcs.plate.table import write_table
from hcs.plate.write import (
    ImageSpec,
    create_field_image,
    create_label_image,
    create_plate,
    write_empty_label_image,
    write_frames,
    write_label_frames,
    write_product_frames,
)

pytestmark = pytest.mark.integration
GOOD, FAILED = FieldPath.parse("A/01/0"), FieldPath.parse("B/03/0")
SHAPE = (2, 2, 1, 300, 260)


@pytest.fixture(
    scope="module",
    params=[("0.4", "chunked"), ("0.5", "chunked"), ("0.5", "sharded")],
    ids="-".join,
)
def plate(request, tmp_path_factory):
    """A plate with images, labels and tables; one of its two wells has failed."""
    version, storage = request.param
    wells = (WellPath("A", "01"), WellPath("B", "03"))
    layout = PlateLayout("demo", version, ("A", "B"), ("01", "02", "03"), wells)
    plate = create_plate(tmp_path_factory.mktemp("plate") / "demo.zarr", layout)
    spec = ImageSpec(
        ("t", "c", "y", "x"),
        (2, 2, 300, 260),
        "uint16",
        (Channel("phase"), Channel("nuclei", "0000FF")),
        pixel_size_um=0.65,
        interval_s=900.0,
        storage=storage,
    )
    for field in (GOOD, FAILED):
        create_field_image(plate, field, spec)
        write_frames(plate, field, 0, pixels())
    create_label_image(plate, GOOD, "ssl_cells", {"recipe": "R"})
    write_label_frames(plate, GOOD, "ssl_cells", 0, labels())
    write_empty_label_image(plate, FAILED, "ssl_cells", "failed")
    write_tables(plate)
    write_stains(plate)
    return plate


def pixels():
    return np.random.default_rng(0).integers(0, 60000, SHAPE, np.uint16)


def labels():
    coarse = np.arange(1, 31, dtype=np.uint32).reshape(6, 5)
    frame = np.kron(coarse, np.ones((50, 52), np.uint32))
    return np.stack([frame, np.roll(frame, 3, axis=1)])


def write_stains(plate):
    channels = (
        Channel("dna_prediction", "0000FF", (0.0, 900.0, 100.0, 500.0)),
        Channel("dna_uncertainty", "FF00FF", (0.0, 400.0, 0.0, 100.0)),
    )
    sister = make_sister(plate, "isl-dna")
    create_product(plate, sister, GOOD, channels, {"recipe": "R"})
    write_product_frames(sister, GOOD, 0, stains())
    write_empty_product(plate, sister, FAILED, channels, "failed")


def stains():
    return np.random.default_rng(1).normal(300, 99, SHAPE).astype(np.float32)


def write_tables(plate):
    features = pd.DataFrame({"label": [1, 2], "area": [3.5, 4.5]})
    objects = pd.DataFrame({"object_id": ["ssl_cells_1_0"], "label": [1], "time_index": [0]})
    wells = pd.DataFrame({"well": ["A01", "B03"], "state": ["done", "failed"]})
    region = {"label_image": "ssl_cells"}
    write_table(plate, GOOD, "ssl_cells_features", features, "feature_table", **region)
    write_table(plate, GOOD, "ssl_cells_objects", objects, "generic_table")
    write_table(plate, None, "wells", wells, "generic_table")


def test_napari_shows_the_plate_with_its_labels(plate, capsys):
    reader = pytest.importorskip("napari_ome_zarr").napari_get_reader(plate.storage.url)
    layers = reader(plate.storage.url)
    capsys.readouterr()
    (image, image_facts, _), (shown, shown_facts, kind) = layers
    assert kind == "labels"
    # README.md says so, and how to tell them apart
    assert "name" not in shown_facts
    assert image_facts["name"] == ["0: phase", "0: nuclei"]
    # two rows of three columns, the first well in the upper left corner
    assert [level.shape for level in image] == [(2, 2, 600, 780), (2, 2, 300, 390)]
    assert [level.shape for level in shown] == [(2, 600, 780), (2, 300, 390)]
    np.testing.assert_array_equal(image[0][..., :300, :260].compute(), pixels()[:, :, 0])
    full = shown[0].compute()
    np.testing.assert_array_equal(full[:, :300, :260], labels())
    assert not full[:, 300:].any()


def test_napari_shows_one_field_with_its_labels(plate, capsys):
    url = f"{plate.storage.url}/{GOOD}"
    layers = pytest.importorskip("napari_ome_zarr").napari_get_reader(url)(url)
    capsys.readouterr()
    kinds = [layer[2] for layer in layers]
    assert kinds == ["image", "labels"]
    assert layers[1][1]["name"].endswith("/ssl_cells")
    np.testing.assert_array_equal(np.asarray(layers[1][0][0]).squeeze(), labels())


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("", "HCS"),
        ("A/01", "Well"),
        (str(GOOD), "Image"),
        (f"{GOOD}/labels", "Labels"),
        (f"{GOOD}/labels/ssl_cells", "ImageLabel"),
        (f"{FAILED}/labels/ssl_cells", "ImageLabel"),
    ],
)
def test_ome_zarr_models_finds_nothing_wrong(plate, path, model):
    group = zarr.open_group(plate.storage.url, mode="r", path=path)
    read = open_ome_zarr(group)
    assert type(read).__name__ == model
    assert read.ome_zarr_version == plate.layout.version


def test_ome_zarr_py_reads_fields_and_labels(plate, caplog):
    with caplog.at_level(logging.ERROR):
        nodes = list(Reader(parse_url(f"{plate.storage.url}/{GOOD}"))())
    assert not caplog.records
    image, own = nodes[0], nodes[-1]
    np.testing.assert_array_equal(np.asarray(image.data[0]), pixels()[:, :, 0])
    np.testing.assert_array_equal(np.asarray(own.data[0]).squeeze(), labels())


def test_ngio_reads_images_labels_and_tables(plate):
    opened = open_ome_zarr_plate(plate.storage.url, mode="r")
    assert opened.wells_paths() == ["A/01", "B/03"]
    field = opened.get_image("A", "01", "0")
    image, own = field.get_image(), field.get_label("ssl_cells")
    assert image.channel_labels == ["phase", "nuclei"]
    assert (image.pixel_size.x, image.pixel_size.t) == (0.65, 900.0)
    np.testing.assert_array_equal(image.get_as_numpy(), pixels()[:, :, 0])
    np.testing.assert_array_equal(own.get_as_numpy(), labels())
    features = field.get_table_as("ssl_cells_features", FeatureTable).dataframe
    assert features["area"].tolist() == [3.5, 4.5]
    objects = field.get_table_as("ssl_cells_objects", GenericTable).dataframe
    assert objects["time_index"].tolist() == [0]
    wells = opened.get_table_as("wells", GenericTable).dataframe
    assert wells["state"].tolist() == ["done", "failed"]
    failed = opened.get_image("B", "03", "0").get_label("ssl_cells")
    assert not failed.get_as_numpy().any()


# plates of predicted stains


def test_napari_lays_the_stains_over_the_plate(plate, capsys):
    url = plate.sister("isl-dna").storage.url
    ((image, facts, kind),) = pytest.importorskip("napari_ome_zarr").napari_get_reader(url)(url)
    capsys.readouterr()
    assert kind == "image"
    assert facts["name"] == ["0: dna_prediction", "0: dna_uncertainty"]
    assert [tuple(limits) for limits in facts["contrast_limits"]] == [(100, 500), (0, 100)]
    # as the plate itself
    assert [level.shape for level in image] == [(2, 2, 600, 780), (2, 2, 300, 390)]
    full = image[0].compute()
    np.testing.assert_array_equal(full[..., :300, :260], stains()[:, :, 0])
    assert not full[..., 300:, :].any()


@pytest.mark.parametrize(
    ("path", "model"),
    [("", "HCS"), ("A/01", "Well"), (str(GOOD), "Image"), (str(FAILED), "Image")],
)
def test_ome_zarr_models_finds_nothing_wrong_with_stains(plate, path, model):
    group = zarr.open_group(plate.sister("isl-dna").storage.url, mode="r", path=path)
    read = open_ome_zarr(group)
    assert type(read).__name__ == model
    assert read.ome_zarr_version == plate.layout.version


def test_ome_zarr_py_reads_stains(plate, caplog):
    url = f"{plate.sister('isl-dna').storage.url}/{GOOD}"
    with caplog.at_level(logging.ERROR):
        (image, *_) = Reader(parse_url(url))()
    assert not caplog.records
    np.testing.assert_array_equal(np.asarray(image.data[0]), stains()[:, :, 0])


def test_ngio_reads_stains(plate):
    opened = open_ome_zarr_plate(plate.sister("isl-dna").storage.url, mode="r")
    assert opened.wells_paths() == ["A/01", "B/03"]
    image = opened.get_image("A", "01", "0").get_image()
    assert image.channel_labels == ["dna_prediction", "dna_uncertainty"]
    assert (image.pixel_size.x, image.pixel_size.t) == (0.65, 900.0)
    np.testing.assert_array_equal(image.get_as_numpy(), stains()[:, :, 0])
    failed = opened.get_image("B", "03", "0").get_image()
    assert not failed.get_as_numpy().any()


def test_pandas_reads_a_table_without_us(plate):
    folder = f"{plate.storage.url}/{GOOD}/tables/ssl_cells_features"
    assert "area" in pd.read_parquet(f"{folder}/table.parquet").columns
