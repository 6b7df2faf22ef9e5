import cv2
import numpy as np
import pytest

from hcs.cli.main import main
from hcs.plate.create import ImageSpec, create_field_image, create_label_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.write import write_frames, write_label_frames

FIELD = FieldPath(WellPath("A", "01"), "0")


@pytest.fixture
def plate_url(tmp_path):
    layout = PlateLayout("demo", "0.4", ("A",), ("01",), (FIELD.well,))
    plate = create_plate(tmp_path / "demo.zarr", layout)
    spec = ImageSpec(("t", "c", "y", "x"), (2, 1, 32, 48), "uint16", (Channel("phase"),))
    create_field_image(plate, FIELD, spec)
    grey = np.random.default_rng(0).integers(0, 999, (2, 1, 1, 32, 48)).astype(np.uint16)
    write_frames(plate, FIELD, 0, grey)
    create_label_image(plate, FIELD, "ssl_cells", {})
    labels = np.zeros((2, 32, 48), np.uint32)
    labels[:, 8:20, 8:20] = 5
    write_label_frames(plate, FIELD, "ssl_cells", 0, labels)
    return str(tmp_path / "demo.zarr")


def test_overlay_shows_the_frames_side_by_side_with_an_object_in_one_colour(plate_url, tmp_path):
    output = tmp_path / "pictures" / "overlay.png"
    arguments = ["overlay", plate_url, "A/01/0", "-o", str(output), "--frames", "0,1"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--truth", plate_url, "--truth-label", "ssl_cells"])
    assert end.value.code == 0
    picture = cv2.imread(str(output))
    assert picture.shape == (32, 2 * 48 + 2, 3)
    outline = picture[8, 8:20]
    assert (outline == outline[0]).all()
    assert (picture[8, 8 + 50 : 20 + 50] == outline).all()


@pytest.mark.parametrize(
    ("frames", "code", "words"),
    [("one", 64, "are not frame indices"), ("7", 1, "frame")],
)
def test_frames_that_are_not_there(plate_url, tmp_path, capsys, frames, code, words):
    with pytest.raises(SystemExit) as end:
        main(["overlay", plate_url, "A/01/0", "-o", str(tmp_path / "x.png"), "--frames", frames])
    assert end.value.code == code
    assert words in capsys.readouterr().err


def test_a_picture_is_a_png(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["overlay", str(tmp_path / "no.zarr"), "A/01/0", "-o", str(tmp_path / "p.bogus")])
    assert end.value.code == 64
    assert "p.bogus: cannot write that\n     name it .png" in capsys.readouterr().err
