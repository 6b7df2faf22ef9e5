from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

WriteTiff = Callable[..., Path]


@pytest.fixture
def write_tiff(tmp_path: Path) -> WriteTiff:
    """Write a TIFF below the test's folder; without pixels, a plane that tells its own name."""

    def write(name: str, pixels: Any = None, **options: Any) -> Path:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            # the name decides the pixels, so that every plane differs from every other
            pixels = np.random.default_rng(list(name.encode())).integers(
                0, 4096, (40, 56), dtype=np.uint16
            )
        tifffile.imwrite(path, pixels, **options)
        return path

    return write
