import numpy as np
import pandas as pd

from hcs.tables.objects import measure_frame
from hcs.tables.rois import fov_roi, masking_rois, well_roi
from hcs.tables.schema import OBJECTS


def test_the_image_is_one_box():
    box = well_roi(3, (100, 200), 0.5, 2.0).iloc[0]
    assert box["FieldIndex"] == "well_1"
    assert [box[f"len_{axis}_micrometer"] for axis in "xyz"] == [100, 50, 6]
    assert [box[f"{axis}_micrometer"] for axis in "xyz"] == [0, 0, 0]
    same = fov_roi(3, (100, 200), 0.5, 2.0).iloc[0]
    assert same["FieldIndex"] == "FOV_1"
    assert same.drop("FieldIndex").equals(box.drop("FieldIndex"))


def test_an_id_has_one_box_around_all_its_frames():
    tables = []
    for t, (y, x) in enumerate([(2, 3), (10, 1)]):
        labels = np.zeros((30, 30), dtype=np.uint32)
        labels[y : y + 4, x : x + 5] = 9
        labels[25:27, 25:27] = 4
        tables.append(measure_frame(labels, {}, time_index=t, t_second=None, pixel_size_um=None))
    boxes = masking_rois(pd.concat(tables), pixel_size_um=0.5, z_step_um=1.5).set_index("label")
    assert boxes.index.tolist() == [4, 9]
    assert boxes.loc[9].tolist() == [0.5, 1.0, 0.0, 3.5, 6.0, 1.5]


def test_no_ids_have_no_boxes():
    table = masking_rois(OBJECTS.empty(), 1.0)
    assert len(table) == 0
    assert table["label"].dtype == np.int64
