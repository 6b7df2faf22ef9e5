"""What `import hcs` offers, and what it costs."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hcs

HEAVY = (
    "anndata", "cv2", "dask", "distributed", "laptrack", "ngio", "numba", "numpy", "pandas",
    "prefect", "pyarrow", "pydantic", "scipy", "skimage", "sklearn", "torch", "xarray", "zarr",
)  # fmt: skip


def loaded_by(code):
    """Return which heavy packages a fresh process loads."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(HEAVY) & set(done.stdout.split())


def test_importing_hcs_loads_nothing_heavy():
    assert loaded_by("import hcs; dir(hcs); hcs.HcsError, hcs.WellPath, hcs.FieldPath") == set()


def test_opening_a_plate_loads_no_science_and_no_cluster():
    loaded = loaded_by("import hcs; hcs.open_plate")
    assert loaded <= {"numpy", "pydantic", "zarr"}


@pytest.mark.parametrize("name", hcs.__all__)
def test_every_public_name_resolves(name):
    assert name in dir(hcs)
    assert getattr(hcs, name) is not None


def test_a_public_name_is_what_its_room_calls_so():
    for name, module in hcs._HOMES.items():
        assert getattr(hcs, name) is getattr(import_module(module), name)
        assert inspect.getdoc(getattr(hcs, name))


def test_readers_of_types_and_python_see_the_same_names():
    tree = ast.parse(Path(hcs.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: line.module for line in block.body for alias in line.names}
    assert typed == hcs._HOMES
    assert hcs.__all__ == sorted([*hcs._HOMES, "__version__"])


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hcs' has no attribute 'no_such_name'"):
        hcs.no_such_name  # noqa: B018 - asking is the test
