"""Examples are read from plates as training wants them, and what is wrong is named by field."""

import json

import numpy as np
import pytest
import tifffile

from hcs.errors import FramesError, MissingError, TrainingError
from hcs.labels.distance import distance_target
from hcs.plate.create import create_label_image
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath
from hcs.plate.write import write_frames, write_label_frames
from hcs.run.annotate import Annotation
from hcs.run.examples import PlateExamples, check_objects, fit_scales
from hcs.run.parts import Parts, split_places
from hcs.run.sources import common_pixel_size, find_places, open_sources, pixels_of
from hcs.run.training import TrainingSettings, check_training
from tests.stained import SIDE_PX, discs, images_of, make_stained_plate, training_values


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return make_stained_plate(tmp_path_factory.mktemp("examples") / "stained.zarr").storage.url


@pytest.fixture
def own_plate(tmp_path):
    return make_stained_plate(tmp_path / "own.zarr", ("A/01", "A/02"))


def parts_of(settings: TrainingSettings):
    sources = open_sources(settings)
    places = find_places(settings, sources)
    columns = [source.columns for source in settings.plates]
    return sources, split_places(places, settings.split, columns)


def examples_of(settings: TrainingSettings) -> tuple[PlateExamples, Parts]:
    sources, parts = parts_of(settings)
    scales = fit_scales(settings, sources, parts.train)
    return PlateExamples(settings, sources, scales, parts.train), parts


def test_inputs_are_standard_over_the_frame_and_stains_near_0_to_1(plate):
    examples, parts = examples_of(check_training(training_values(plate)))
    assert (len(examples), len(parts.validation), len(parts.test)) == (4, 2, 2)
    example = examples[1]
    assert example.name == f"{parts.train[1].field}, frame 1"
    assert example.inputs.dtype == example.target.dtype == np.float32
    assert example.inputs.shape == example.target.shape == (1, SIDE_PX, SIDE_PX)
    assert abs(example.inputs.mean()) < 1e-3
    assert abs(example.inputs.std() - 1) < 1e-3
    place = parts.train[1]
    labels = discs(100 * (int(place.field.well.column) - 1) + place.frame) > 0
    assert abs(np.median(example.target[0][labels]) - 1) < 0.05
    assert abs(np.median(example.target[0][~labels])) < 0.05


def test_masks_and_distances_follow_the_label_image(plate):
    target = {"labels": "nuclei"}
    nuclei, _ = examples_of(check_training(training_values(plate, head="nuclei", target=target)))
    cells, _ = examples_of(check_training(training_values(plate, head="cells", target=target)))
    labels = nuclei.labels(0)
    assert (nuclei[0].target == (labels > 0)).all()
    np.testing.assert_array_equal(cells[0].target[0], distance_target(labels))
    np.testing.assert_array_equal(cells[0].target[1], labels > 0)


def test_labels_may_stand_in_a_plate_of_their_own(plate, tmp_path):
    truth = make_stained_plate(tmp_path / "truth.zarr").storage.url
    settings = check_training(
        training_values(
            plate,
            head="nuclei",
            target={"labels": "nuclei"},
            plates=[{"plate": plate, "label_plate": truth}],
        )
    )
    assert examples_of(settings)[0][0].target.any()


def test_columns_are_cut_after_normalising_and_named(plate):
    whole, _ = examples_of(check_training(training_values(plate)))
    columns = {"train": [0, 64], "test": [70, 96]}
    settings = check_training(
        training_values(
            plate, plates=[{"plate": plate, "columns": columns}], split={"by": "columns"}
        )
    )
    cut, parts = examples_of(settings)
    place = whole.name(0)
    (index,) = [i for i in range(len(cut)) if cut.name(i) == f"{place}, columns 0 to 64"]
    np.testing.assert_array_equal(cut[index].inputs, whole[0].inputs[..., :64])
    assert parts.validation == ()


def test_each_plate_has_its_own_scale_and_the_common_one_is_the_median(plate, tmp_path):
    dim = make_stained_plate(tmp_path / "dim.zarr", gain=0.5).storage.url
    settings = check_training(
        training_values(plate, plates=[{"plate": plate}, {"plate": dim}], split={"test": "none"})
    )
    sources, parts = parts_of(settings)
    scales = fit_scales(settings, sources, parts.train)
    bright, half = (scales.of(i)[0].scale for i in range(2))
    assert abs(half / bright - 0.5) < 0.05
    assert scales.common[0].scale == pytest.approx((bright + half) / 2)
    only_first = fit_scales(settings, sources, [p for p in parts.train if p.source == 0])
    assert only_first.of(1) == only_first.common
    examples = PlateExamples(settings, sources, scales, parts.train)
    assert examples.name(0).startswith("plate stained, A/0")


def test_what_fields_lack_is_told_of_all_of_them_at_once(plate):
    settings = check_training(
        training_values(
            plate,
            inputs=[{"channel": "dic"}, {"channel": "phase", "plane": 3}],
            plates=[{"plate": plate, "frames": [0, 9], "wells": ["A/01", "A/02"]}],
        )
    )
    with pytest.raises(TrainingError) as caught:
        find_places(settings, open_sources(settings))
    message = caught.value.message
    for words in (
        "plate stained, field A/01/0: it has no channel 'dic', but 'phase', 'nuclei'",
        "field A/01/0: 'phase' has no plane 3, but 1",
        "field A/01/0: it has no frame 9, but 2",
        "; and 1 more",
    ):
        assert words in message


def test_a_well_or_field_that_is_not_there_is_missing(plate):
    for chosen in ({"wells": ["C/01"]}, {"fields": ["A/01/7"]}):
        settings = check_training(training_values(plate, plates=[{"plate": plate} | chosen]))
        with pytest.raises(MissingError, match=r"has no (well C/01|field 7)"):
            find_places(settings, open_sources(settings))


def test_wells_and_fields_that_do_not_meet_leave_nothing(plate):
    chosen = {"plate": plate, "wells": ["A/01"], "fields": ["A/02/0"]}
    settings = check_training(training_values(plate, plates=[chosen]))
    with pytest.raises(TrainingError, match="no frame of the wells, fields and frames"):
        find_places(settings, open_sources(settings))


def test_columns_beyond_the_image_are_refused(plate):
    columns = {"train": [0, 64], "test": [70, 200]}
    settings = check_training(
        training_values(
            plate, plates=[{"plate": plate, "columns": columns}], split={"by": "columns"}
        )
    )
    with pytest.raises(TrainingError, match="columns go to 200, it has 96"):
        find_places(settings, open_sources(settings))


def test_label_images_that_lack_or_do_not_fit_are_refused(own_plate):
    plate, field = own_plate, FieldPath.parse("A/02/0")

    def find(name):
        values = training_values(plate.storage.url, head="nuclei", target={"labels": name})
        settings = check_training(values)
        return find_places(settings, open_sources(settings))

    with pytest.raises(TrainingError, match="own has no label image 'cells', but nuclei"):
        find("cells")
    folder = f"{field}/labels/nuclei/0"
    meta = json.loads(plate.storage.read(f"{folder}/.zarray"))
    meta["shape"][-1] = 48
    plate.storage.write(f"{folder}/.zarray", json.dumps(meta).encode())
    with pytest.raises(
        TrainingError, match=r"A/02/0: label image 'nuclei' has 2 frames of \(96, 48"
    ):
        find("nuclei")


def test_frames_without_any_object_teach_nothing(own_plate):
    for well in ("A/01", "A/02"):
        empty = np.zeros((2, SIDE_PX, SIDE_PX), np.uint32)
        create_label_image(own_plate, FieldPath.parse(f"{well}/0"), "empty", {})
        write_label_frames(own_plate, FieldPath.parse(f"{well}/0"), "empty", 0, empty)
    values = training_values(own_plate.storage.url, head="nuclei", target={"labels": "empty"})
    settings = check_training(values | {"split": {"validation": "none", "test": "none"}})
    sources, parts = parts_of(settings)
    with pytest.raises(
        TrainingError, match="no objects in 4 of 4 frames to train on, of plate own"
    ):
        check_objects(settings, sources, parts.train)


def test_a_stain_of_zeros_is_refused_with_its_plate_and_wells(own_plate):
    for well in ("A/01", "A/02"):
        pixels = np.stack([images_of(discs(0), 0)] * 2)[:, :, None]
        pixels[:, 1] = 0
        write_frames(own_plate, FieldPath.parse(f"{well}/0"), 0, pixels)
    values = training_values(own_plate.storage.url, split={"validation": 0.5, "test": "none"})
    with pytest.raises(TrainingError, match=r"plate own, wells A/0[12]: stain nuclei is all zero"):
        examples_of(check_training(values))


def blank(plate, well: str, frames: int, *which: int) -> None:
    pixels = np.stack([images_of(discs(0), 0)] * frames)[:, :, None]
    pixels[list(which), 0] = 7
    write_frames(plate, FieldPath.parse(f"{well}/0"), 0, pixels)


def test_a_blank_frame_among_many_is_of_no_weight_and_told_of(tmp_path, caplog):
    plate = make_stained_plate(tmp_path / "own.zarr", ("A/01",), frames=12)
    blank(plate, "A/01", 12, 3)
    split = {"validation": "none", "test": "none"}
    examples, _ = examples_of(check_training(training_values(plate.storage.url, split=split)))
    assert len(examples) == 12
    assert len(list(examples)) == 11
    example = examples[3]
    assert not example.inputs.any()
    assert not example.target.any()
    assert not example.weight.any()
    told = [record.message for record in caplog.records]
    (line,) = [line for line in told if "left out of the training" in line]
    assert "plate own, A/01/0, frame 3: input plane 0 is constant at 7" in line


def test_many_blank_frames_are_refused_with_field_and_frame(own_plate):
    blank(own_plate, "A/01", 2, 1)
    split = {"train": ["A/01"], "validation": ["A/02"], "test": "none"}
    examples, _ = examples_of(check_training(training_values(own_plate.storage.url, split=split)))
    assert examples[0].name == "A/01/0, frame 0"
    with pytest.raises(
        FramesError, match=r"plate own, A/01/0, frame 1: .* at 7 .* 1 of 2 frames are such"
    ):
        examples[1]


def test_plates_of_two_magnifications_do_not_go_together(plate, tmp_path):
    other = make_stained_plate(tmp_path / "far.zarr", pixel_size_um=1.3).storage.url
    unknown = make_stained_plate(tmp_path / "unknown.zarr", pixel_size_um=None).storage.url

    def size(*urls, **changes):
        plates = [{"plate": url} for url in urls]
        settings = check_training(training_values(plate, plates=plates, **changes))
        sources = open_sources(settings)
        return common_pixel_size(find_places(settings, sources), sources)

    assert size(plate) == size(plate, unknown) == 0.65
    assert size(unknown) is None
    assert size(plate, other, pixel_size_um=0.5) == 0.5
    with pytest.raises(TrainingError, match=r"plate stained 0\.65 um, plate far 1\.3 um"):
        size(plate, other)


@pytest.fixture
def annotated(plate, tmp_path, monkeypatch):
    """One annotated frame, as `hcs annotate` would leave it."""
    found = discs(1)

    def read_annotations(folder):
        assert str(folder) == "drawn"
        return (
            Annotation(
                "stained",
                "nuclei",
                FieldPath.parse("A/02/0"),
                1,
                tmp_path / "image.tif",
                tmp_path / "labels.tif",
                (SIDE_PX, SIDE_PX),
                0.65,
                "",
            ),
        )

    monkeypatch.setattr("hcs.run.sources.read_annotations", read_annotations)
    monkeypatch.setattr("hcs.run.examples.read_labels", lambda annotation: found)
    return found


def masks(plate, **changes) -> TrainingSettings:
    alone = {"validation": "none", "test": "none"}
    values = {"head": "nuclei", "target": {"masks": "drawn"}, "split": alone} | changes
    return check_training(training_values(plate, **values))


def test_of_annotated_plates_only_annotated_frames_count(plate, annotated):
    examples, _ = examples_of(masks(plate))
    assert len(examples) == 1
    assert examples[0].name == "A/02/0, frame 1"
    np.testing.assert_array_equal(examples[0].target[0], annotated > 0)


def test_annotations_of_others_are_refused(plate, annotated, tmp_path):
    with pytest.raises(TrainingError, match="are of nuclei, the network is for cells"):
        open_sources(masks(plate, head="cells"))
    other = make_stained_plate(tmp_path / "other.zarr", ("A/02",)).storage.url
    with pytest.raises(TrainingError, match="are of plate stained, which is not among"):
        open_sources(masks(other))
    with pytest.raises(TrainingError, match="that are named is annotated in drawn"):
        examples_of(masks(plate, plates=[{"plate": plate, "wells": ["A/01"]}]))


def test_a_plate_given_twice_is_refused_however_its_path_is_written(plate, tmp_path):
    (tmp_path / "link").symlink_to(plate)
    both = [{"plate": plate}, {"plate": str(tmp_path / "link")}]
    with pytest.raises(TrainingError, match=r"plates lists .*stained\.zarr twice"):
        open_sources(check_training(training_values(plate, plates=both)))


def test_annotations_are_of_one_plate_of_their_name(plate, annotated, tmp_path):
    other = make_stained_plate(tmp_path / "stained.zarr", ("A/02",)).storage.url
    both = [{"plate": plate}, {"plate": other}]
    with pytest.raises(TrainingError, match="cannot tell plates of one name apart: stained"):
        open_sources(masks(plate, plates=both))


def test_an_annotation_of_another_shape_is_refused(annotated, tmp_path):
    larger = make_stained_plate(tmp_path / "stained.zarr", ("A/02",), side=128).storage.url
    settings = masks(larger)
    with pytest.raises(TrainingError, match=r"labels\.tif is \(96, 96\), it is \(128, 128\)"):
        find_places(settings, open_sources(settings))


def test_masks_of_other_tools_are_annotations_too(plate, tmp_path):
    for name, frame in (("A02_0/t001.tif", 1), ("A03_0/masks/cell_000.tif", 5)):
        (tmp_path / name).parent.mkdir(parents=True)
        tifffile.imwrite(tmp_path / name, discs(frame).astype(np.uint16))
    settings = masks(plate, target={"masks": str(tmp_path)})
    examples, _ = examples_of(settings)
    assert [examples.name(i) for i in range(2)] == ["A/02/0, frame 1", "A/03/0, frame 0"]
    np.testing.assert_array_equal(examples[0].target[0], discs(1) > 0)
    np.testing.assert_array_equal(examples.labels(1), discs(5))


def test_masks_of_other_tools_are_checked_and_belong_to_one_plate(plate, tmp_path):
    settings = masks(plate, target={"masks": str(tmp_path)})
    with pytest.raises(MissingError, match="no masks of plate stained") as caught:
        open_sources(settings)
    assert "hcs annotate make" in str(caught.value.hint)
    (tmp_path / "A02_0").mkdir()
    for frame, pixels in enumerate((np.zeros((96, 96)), np.ones((8, 8)))):
        tifffile.imwrite(tmp_path / f"A02_0/t00{frame}.tif", pixels.astype(np.uint8))
    with pytest.raises(TrainingError, match=r"2 problems: .*no objects; .*\(8, 8\)"):
        open_sources(settings)
    both = [{"plate": plate}, {"plate": plate.replace("stained", "other")}]
    make_stained_plate(both[1]["plate"])
    with pytest.raises(TrainingError, match="says of which plate its masks are, and there are 2"):
        open_sources(masks(plate, plates=both, target={"masks": str(tmp_path)}))


def test_opening_again_gives_the_same_examples(plate):
    settings = check_training(training_values(plate))
    first, second = (examples_of(settings)[0][0] for _ in range(2))
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert open_plate(plate).storage.url == plate


@pytest.mark.integration
def test_plates_on_s3_are_plates(plate, s3_bucket):
    url = f"{s3_bucket}/stained.zarr"
    make_stained_plate(url)
    target = {"labels": "nuclei"}
    settings, local = (
        check_training(training_values(where, head="nuclei", target=target))
        for where in (url, plate)
    )
    (there, _), (here, _) = examples_of(settings), examples_of(local)
    np.testing.assert_array_equal(there[0].target, here[0].target)
    digests = []
    for one in (settings, local):
        sources = open_sources(one)
        digests.append(pixels_of(one, sources[0], 0, find_places(one, sources)))
    # a plate that was moved there is the same plate
    assert digests[0] == digests[1]
