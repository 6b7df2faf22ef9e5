import cv2
import numpy as np
import pytest

from hcs.report.training import (
    CurveRow,
    ExampleRow,
    draw_curves,
    draw_examples,
    example_row,
    to_jpeg,
    training_page,
)

NOISE = np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32)


def decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def row(prediction: np.ndarray) -> ExampleRow:
    square = np.zeros((60, 60), np.float32)
    square[20:40, 20:40] = 1
    return ExampleRow("B/03/0, frame 4", NOISE, (("mask", square, prediction),))


def test_a_prediction_equal_to_the_truth_looks_equal_and_a_dim_one_dim():
    truth = row(NOISE).pairs[0][1]

    def brightness(prediction):
        picture = decoded(draw_examples([row(prediction)], "t"))
        height, width, _ = picture.shape
        third = width // 3
        middle = slice(height // 2 - 10, height // 2 + 10)
        return [picture[middle, k * third + third // 2].mean() for k in (1, 2)]

    same, dim = brightness(truth), brightness(truth / 2)
    assert same[0] == same[1] > 200
    assert 100 < dim[1] < 160


def test_equal_rows_are_equal_pictures():
    rows = [CurveRow(1, 0.5, {"loss": 0.4, "pcc": 0.1}), CurveRow(2, 0.25, {"loss": 0.3})]
    assert draw_curves(rows, 2, "t") == draw_curves(rows, 2, "t")


@pytest.mark.parametrize(
    "rows",
    [
        [CurveRow(1, 0.5, {})],
        [CurveRow(1, 0.0, {"loss": 0.0, "iou": 1.0})],
        [CurveRow(step, -1.0 * step, {}) for step in range(1, 60)],
    ],
)
def test_curves_without_validation_of_one_point_or_below_zero_can_be_drawn(rows):
    assert decoded(draw_curves(rows, None, "t")).shape[2] == 3


def test_a_large_frame_is_shown_from_its_middle_and_a_small_one_whole():
    large = np.zeros((2, 1000, 800), np.float32)
    large[:, 500, 400] = 7
    shown = example_row("x", large, large[:1], large[:1], ["mask"])
    assert shown.image.shape == shown.pairs[0][1].shape == (384, 384)
    assert shown.image[192, 192] == 7
    small = example_row("x", large[:, :30, :40], large[:1, :30, :40], large[:1, :30, :40], ["m"])
    assert small.image.shape == (30, 40)


def test_a_constant_frame_can_be_drawn():
    flat = np.zeros((20, 20), np.float32)
    assert decoded(draw_examples([ExampleRow("x", flat, (("mask", flat, flat),))], "t")).any()


def test_a_jpeg_of_frames_is_the_same_picture_in_fewer_bytes():
    fine = np.random.default_rng(1).normal(size=(384, 384)).astype(np.float32)
    png = draw_examples([ExampleRow("B/03/0", fine, (("nuclei", fine, fine),))], "t")
    jpeg = to_jpeg(png)
    assert len(jpeg) < len(png)
    assert decoded(jpeg).shape == decoded(png).shape


def test_names_from_outside_cannot_write_html():
    page = training_page("<b>", "<i>", {"<u>": "<s>"}, [], 30)
    assert not any(tag in page.split("<body>")[1] for tag in ("<b>", "<i>", "<u>", "<s>"))
    assert 'content="30"' in page
