"""The flags that several commands share, and the settings that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from hcs.settings import Settings

# where a flag stands among the settings
_SETTING = {
    "well": "wells",
    "channel": "channel",
    "method": "methods",
    "weights": "isl.weights",
    "device": "run.device",
    "pixel_size_um": "calibration.pixel_size_um",
    "interval_s": "calibration.interval_s",
    "workers": "run.workers",
    "memory": "run.memory_per_worker",
    "dask": "run.dask",
    "timeout": "run.timeout_s",
}

Plate = Annotated[str, typer.Argument(help="plate, a path or s3:// URL")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML file, as `hcs settings` prints it")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="any setting, as in ssl.min_area_px=20; again for more"
    ),
]
Wells = Annotated[list[str] | None, typer.Option("--well", help="as in B/03; again for more")]
Channel = Annotated[str | None, typer.Option(help="label-free channel")]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="ssl, isl or an installed segmenter; again for more"),
]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", help="trained network; adds isl to the methods; again for more"),
]
Device = Annotated[
    Literal["cpu", "gpu", "any"] | None, typer.Option(help="where networks run; cpu if not given")
]
PixelSize = Annotated[float | None, typer.Option(help="where the plate does not tell it")]
Interval = Annotated[float | None, typer.Option(help="where the plate does not tell it")]
Workers = Annotated[int | None, typer.Option(help="worker processes; one per processor")]
Memory = Annotated[str | None, typer.Option(help="limit of each worker, as in 4GB")]
Dask = Annotated[
    str | None,
    typer.Option(help="local, none, slurm, kubernetes, or the address of a scheduler"),
]
Timeout = Annotated[float | None, typer.Option(help="seconds for one well, or span of frames")]


def load(path: Path | None, overrides: Sequence[str] | None, **flags: object) -> Settings:
    """Return the settings of a file, changed by ``--set`` and then by flags that were given."""
    from hcs.settings import load_settings

    changes = [*(overrides or ()), *as_overrides(flags, _SETTING)]
    wanted = load_settings(path, changes)
    if flags.get("weights") and "isl" not in wanted.methods:
        return load_settings(path, [*changes, f"methods=[{', '.join((*wanted.methods, 'isl'))}]"])
    return wanted


def as_overrides(flags: Mapping[str, object], names: Mapping[str, str]) -> list[str]:
    """Return the flags that were given as ``--set`` takes them.

    Parameters
    ----------
    flags : mapping
        Those that were not given are None or empty lists.
    names : mapping
        Where each flag stands among the settings.
    """
    import yaml

    given = {names[flag]: value for flag, value in flags.items() if value not in (None, [])}
    return [f"{key}={yaml.safe_dump(v, default_flow_style=True)}" for key, v in given.items()]
