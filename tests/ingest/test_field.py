import numpy as np
import pytest

from hcs.errors import CorruptError
from hcs.ingest.field import read_planes
from hcs.ingest.source import SourceImage
from hcs.plate.path import FieldPath


def test_a_file_that_changed_since_the_plan_is_named(write_tiff):
    path = write_tiff("t1.tif", np.zeros((8, 8), np.uint8))
    image = SourceImage(path, 0, FieldPath.parse("A/01/0"), "c", 0, 1)
    with pytest.raises(CorruptError, match=r"t1.tif: it is \(8, 8\) uint8 now, it was \(9, 8\)"):
        list(read_planes([image], (9, 8), "uint8"))
