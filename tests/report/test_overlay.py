import cv2
import numpy as np
import pytest

from hcs.report.overlay import draw_outlines, encode_png, label_color, montage, to_display


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 4000, (40, 50)).astype(np.uint16)


def test_pixels_inside_and_outside_of_objects_keep_their_grey_level(frame):
    labels = np.zeros(frame.shape, np.uint32)
    labels[10:30, 10:30] = 7
    picture = draw_outlines(frame, labels)
    grey = to_display(frame)
    assert (picture[12:28, 12:28] == grey[12:28, 12:28, None]).all()
    assert (picture[:10] == grey[:10, :, None]).all()


def test_an_outline_has_the_colour_of_its_object_in_every_frame(frame):
    labels = np.zeros(frame.shape, np.uint32)
    labels[10:30, 10:30] = 70_012
    color = label_color(np.array([70_012]))[0]
    assert (draw_outlines(frame, labels)[10, 10:30] == color).all()
    assert (draw_outlines(frame[::-1], labels)[10, 10:30] == color).all()


def test_neighbouring_ids_differ_in_colour():
    colors = label_color(np.arange(1, 200)).astype(int)
    assert (np.abs(np.diff(colors, axis=0)).sum(axis=1) > 100).all()


def test_truth_is_drawn_below_the_objects(frame):
    labels = np.zeros(frame.shape, np.uint32)
    labels[10:30, 10:30] = 3
    picture = draw_outlines(frame, labels, truth=labels)
    assert (picture == draw_outlines(frame, labels)).all()
    alone = draw_outlines(frame, np.zeros_like(labels), truth=labels)
    assert (alone[10, 10:30] == 255).all()


def test_shapes_must_agree(frame):
    with pytest.raises(ValueError, match=r"label image of shape \(3, 3\) on a frame of \(40, 50\)"):
        draw_outlines(frame, np.zeros((3, 3), np.uint32))


def test_a_constant_frame_is_shown_black():
    assert (to_display(np.full((4, 4), 9, np.uint16)) == 0).all()


def test_png_round_trip(frame):
    picture = montage([draw_outlines(frame, np.zeros(frame.shape, np.uint32))] * 3, columns=2)
    decoded = cv2.imdecode(np.frombuffer(encode_png(picture), np.uint8), cv2.IMREAD_COLOR)
    assert (decoded[..., ::-1] == picture).all()
