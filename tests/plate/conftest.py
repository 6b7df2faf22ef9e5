"""Small plates to read and write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from hcs.plate.metadata import Channel, PlateLayout, Version
from hcs.plate.open import Plate, open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.pixels import NotingStore
from hcs.plate.write import ImageSpec, create_field_image, create_plate, write_frames

Kind = tuple[Version, Literal["chunked", "sharded"]]
KINDS: tuple[Kind, ...] = (("0.4", "chunked"), ("0.5", "chunked"), ("0.5", "sharded"))


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint16]:
    """Two frames of two channels, (t, c, z, y, x); large enough for two levels."""
    return np.random.default_rng(0).integers(0, 60000, (2, 2, 1, 300, 260), np.uint16)


@pytest.fixture
def make_plate(pixels: NDArray[np.uint16]) -> Callable[..., Plate]:
    """Return a function that writes a plate with a field ``0`` in each well."""

    def make(
        url: str | Path,
        kind: Kind = ("0.4", "chunked"),
        wells: tuple[str, ...] = ("A/01", "B/03"),
        **changes: Any,
    ) -> Plate:
        version, storage = kind
        paths = tuple(map(WellPath.parse, wells))
        plate = create_plate(
            url, PlateLayout("demo", version, ("A", "B"), ("01", "02", "03"), paths)
        )
        shape = (len(pixels), 2, *pixels.shape[-2:])
        spec = ImageSpec(
            ("t", "c", "y", "x"),
            shape,
            "uint16",
            (Channel("phase"), Channel("nuclei", "0000FF", (0.0, 65535.0, 100.0, 900.0))),
            pixel_size_um=0.65,
            interval_s=900.0,
            storage=storage,
        )
        for path in paths:
            create_field_image(plate, FieldPath(path, "0"), spec)
            write_frames(plate, FieldPath(path, "0"), 0, pixels)
        return open_plate(url, **changes)

    return make


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the keys of files of chunks that are read from here on, in order."""
    keys = list[str]()
    real = NotingStore.get

    async def note(self: NotingStore, key: str, prototype: Any, byte_range: Any = None) -> Any:
        keys.append(key)
        return await real(self, key, prototype, byte_range)

    monkeypatch.setattr(NotingStore, "get", note)
    return keys
