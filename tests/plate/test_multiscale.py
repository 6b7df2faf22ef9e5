"""Metadata of images: liberal where a reader can be, one message where not."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs.errors import PlateError
from hcs.plate.multiscale import StoredArray, axis_units, level_paths, parse_image
from hcs.plate.omero import parse_channels
from hcs.plate.path import FieldPath
from hcs.plate.problems import Problems
from hcs.plate.units import pixel_size, step_size
from tests.strategies import damaged_json

FIELD = FieldPath.parse("B/03/0")
SUBJECT = "field B/03/0"
UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


def image(axes="tcyx", scale=(900.0, 1.0, 0.65, 0.65), **changes):
    multiscale = {
        "version": "0.4",
        "axes": [{"name": a, "unit": UNITS[a]} if a in UNITS else {"name": a} for a in axes],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
        ],
    }
    channels = [{"label": "phase"}, {"label": "nuclei"}]
    return {"multiscales": [multiscale | changes], "omero": {"channels": channels}}


def array(*shape, dtype="uint16"):
    return StoredArray(shape, shape, None, dtype)


def parse(attributes, *arrays, version="0.4"):
    return parse_image(FIELD, version, attributes, arrays or (array(3, 2, 9, 7),), SUBJECT)


def problems(attributes, *arrays):
    with pytest.raises(PlateError) as caught:
        parse(attributes, *arrays)
    return caught.value.message


def test_a_plain_image_is_read_without_a_warning():
    read, warnings = parse(image())
    assert (read.pixel_size_um, read.interval_s, read.z_step_um) == (0.65, 900.0, None)
    assert [channel.label for channel in read.channels] == ["phase", "nuclei"]
    assert warnings == ()


def test_what_is_no_image_is_said_to_be_none():
    assert problems({"plate": {}}) == (
        "field B/03/0: its metadata have no 'multiscales': it is no image"
    )


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ("tqyx", "axis 'q' is unknown: axes are among t c z y x"),
        ("tyyx", "axis 'y' is listed 2 times"),
        ("tczy", "there is no axis 'x'"),
        ("ctyx", "axes are in the order c t y x: it must be that of t c z y x"),
        ("cyx", "level 0 has 4 dimensions, the axes are 3"),
    ],
)
def test_axes_that_we_cannot_read_are_named(axes, words):
    assert words in problems(image(axes))


def test_all_problems_come_in_one_message():
    transformations = [
        {"type": "scale", "scale": [1.0, -1.0]},
        {"type": "affine"},
        {"type": "identity"},
    ]
    datasets = [{"path": "0", "coordinateTransformations": transformations}]
    assert problems(image("yx", datasets=datasets), array(9, 7)) == (
        "field B/03/0 has 2 problems: scale [1.0, -1.0] is not positive; "
        "transformation of type 'affine' without values is not supported"
    )
    assert "scale has 4 values, the axes are 2" in problems(image("yx"), array(9, 7))


def test_arrays_that_do_not_make_one_image_are_named():
    datasets = [*image()["multiscales"][0]["datasets"], {"path": "1"}]
    message = problems(
        image(datasets=datasets), array(3, 2, 9, 7), array(3, 0, 4, 3, dtype="uint8")
    )
    assert "level 1 is empty: its shape is (3, 0, 4, 3)" in message
    assert "level 1 is uint8, level 0 is uint16" in message
    assert "pixels of type complex64 are not numbers" in problems(
        image(), array(3, 2, 9, 7, dtype="complex64")
    )


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        # a small image in chunks of a large one, a last column of tiles, a movie cut short
        ((3, 2, 96, 96), (1, 1, 8192, 8192)),
        ((3, 2, 8200, 9000), (1, 1, 8192, 16384)),
        ((3, 2, 2160, 2160), (150, 1, 2160, 2160)),
    ],
)
def test_chunks_may_be_larger_than_the_array(shape, chunks):
    read, warnings = parse(image(), StoredArray(shape, chunks, None, "uint16"))
    assert read.levels[0].chunks == chunks
    assert warnings == ()


def test_chunks_and_shards_far_beyond_the_array_are_refused():
    beyond = (1, 1, 8192, 8193)
    words = "pixels in a {}, which covers 9216: up to 64 times"
    for array_of in (
        StoredArray((3, 2, 96, 96), beyond, None, "uint16"),
        StoredArray((3, 2, 96, 96), beyond, beyond, "uint16"),
    ):
        assert words.format("chunk") in problems(image(), array_of)
    in_shards = StoredArray((3, 2, 96, 96), (1, 1, 8192, 1), beyond, "uint16")
    assert words.format("shard") in problems(image(), in_shards)


def test_paths_that_leave_the_image_are_refused():
    datasets = [{"path": path} for path in ("../1/0", "/etc", "0")]
    with pytest.raises(PlateError, match=r"has 2 problems: path '../1/0' leaves .*; path '/etc'"):
        level_paths("0.4", image(datasets=datasets), SUBJECT)


def test_metadata_of_another_shape_are_named():
    with pytest.raises(
        PlateError, match=r"B/03/0 has 2 problems: metadata\.multiscales\.0\.datasets: tuple"
    ):
        level_paths("0.4", image(datasets=[]), SUBJECT)


def test_a_scale_that_is_missing_comes_from_the_shapes():
    datasets = [*image()["multiscales"][0]["datasets"], {"path": "1"}]
    read, warnings = parse(image(datasets=datasets), array(3, 2, 8, 6), array(3, 2, 4, 3))
    assert read.levels[1].scale == (900.0, 1.0, 1.3, 1.3)
    assert "field B/03/0 gives no scale for level '1'" in warnings


def test_transformations_of_the_whole_image_are_applied_after_those_of_a_level():
    inner = [
        {"type": "scale", "scale": [1.0, 1.0, 2.0, 2.0]},
        {"type": "translation", "translation": [0.0, 0.0, 1.0, 3.0]},
    ]
    outer = [
        {"type": "scale", "scale": [900.0, 1.0, 0.5, 0.5]},
        {"type": "translation", "translation": [0.0, 0.0, 10.0, 0.0]},
    ]
    datasets = [{"path": "0", "coordinateTransformations": inner}]
    read, _ = parse(image(datasets=datasets, coordinateTransformations=outer))
    assert read.levels[0].scale == (900.0, 1.0, 1.0, 1.0)
    assert read.levels[0].translation == (0.0, 0.0, 10.5, 1.5)


def test_several_images_in_a_group_are_odd():
    attributes = image()
    attributes["multiscales"] *= 2
    assert parse(attributes)[1] == (
        "field B/03/0 holds several multiscale images; the first is read",
    )


def test_without_a_channel_axis_nobody_asks_for_names():
    attributes = image("yx", (0.65, 0.65))
    del attributes["omero"]
    read, warnings = parse(attributes, array(9, 7))
    assert read.channels[0].label == "channel_0"
    assert warnings == ()


def test_units_are_repeated_under_their_full_name():
    attributes = image()
    attributes["multiscales"][0]["axes"][2]["unit"] = "um"
    attributes["multiscales"][0]["axes"][3]["unit"] = "furlong"
    assert axis_units("0.4", attributes) == {
        "t": "second", "c": None, "y": "micrometer", "x": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("axis", "unit", "step", "expected", "words"),
    [
        ("y", "nanometer", 650.0, 0.65, None),
        ("t", "millisecond", 500.0, 0.5, None),
        ("x", "um", 0.65, 0.65, "unit 'um' of axis x should be 'micrometer'"),
        ("x", "µm", 0.65, 0.65, "should be 'micrometer'"),
        ("t", "min", 15.0, 900.0, "should be 'minute'"),
        ("x", None, 0.65, 0.65, "axis x has no unit; its step 0.65 is taken as micrometers"),
        ("t", None, 1.0, None, "axis t has neither unit nor size"),
        ("x", "second", 2.0, None, "unit 'second' of axis x is unknown"),
    ],
)  # fmt: skip
def test_sizes_come_from_units(axis, unit, step, expected, words):
    found = Problems()
    assert step_size(axis, unit, step, SUBJECT, found) == (expected and pytest.approx(expected))
    assert len(found.warnings) == (words is not None)
    assert words is None or words in found.warnings[0]


def test_pixels_that_are_not_square_have_no_one_size():
    found = Problems()
    assert pixel_size(0.65, 0.8, SUBJECT, found) is None
    assert "pixels are not square (y 0.65, x 0.8 micrometers)" in found.warnings[0]
    assert pixel_size(0.65, 0.65001, SUBJECT, found) == 0.65


def test_channels_of_another_number_or_shape_are_odd():
    found = Problems()
    omero = {"channels": [{"label": "phase", "color": "green"}, {"label": "x"}, {"label": "y"}]}
    channels = parse_channels(omero, 2, SUBJECT, found)
    assert [channel.label for channel in channels] == ["phase", "x"]
    assert found.warnings == [
        "field B/03/0 names 3 channels, but has 2",
        "field B/03/0: omero.channels[0] cannot be read in full",
    ]


def test_a_channel_that_is_no_object_gets_a_name():
    assert parse_channels({"channels": ["phase"]}, 1, SUBJECT, Problems())[0].label == "channel_0"


def test_channels_keep_their_display():
    window = {"min": 0, "max": 255, "start": 3, "end": 99}
    omero = {"channels": [{"label": "phase", "color": "#00ff00", "window": window}]}
    (channel,) = parse_channels(omero, 1, SUBJECT, Problems())
    assert (channel.color, channel.window) == ("00FF00", (0, 255, 3, 99))


@settings(max_examples=60)
@given(st.data())
def test_whatever_the_metadata_say_only_plate_errors_are_raised(data):
    outer = [{"type": "scale", "scale": [1.0] * 4}]
    attributes = data.draw(damaged_json(image(coordinateTransformations=outer)))
    with suppress(PlateError):
        read, _ = parse(attributes)
        assert len({channel.label for channel in read.channels}) == 2
        assert axis_units("0.4", attributes)
