"""Boxes in micrometers, as Fractal and ngio name them: of the image, and of every id."""

from __future__ import annotations

import pandas as pd

from hcs.tables.schema import FOV_ROIS, MASKING_ROIS, WELL_ROIS


def well_roi(
    n_planes: int, frame_shape: tuple[int, int], pixel_size_um: float, z_step_um: float
) -> pd.DataFrame:
    """Return the box of the whole image (:data:`hcs.tables.schema.WELL_ROIS`).

    Parameters
    ----------
    n_planes : int
    frame_shape : tuple of int
        Height and width, pixels.
    pixel_size_um, z_step_um : float
        As the image's own metadata has them: 1 where it has none.

    Examples
    --------
    >>> well_roi(1, (100, 200), 0.5, 1.0).filter(like="len").iloc[0].tolist()
    [100.0, 50.0, 1.0]
    """
    box = _box_of_image(n_planes, frame_shape, pixel_size_um, z_step_um)
    return WELL_ROIS.arrange(box.assign(FieldIndex="well_1"))


def fov_roi(
    n_planes: int, frame_shape: tuple[int, int], pixel_size_um: float, z_step_um: float
) -> pd.DataFrame:
    """Return the field of view's box, which here is the image (:data:`hcs.tables.schema.FOV_ROIS`).

    Parameters
    ----------
    n_planes, frame_shape, pixel_size_um, z_step_um
        As in :func:`well_roi`.
    """
    box = _box_of_image(n_planes, frame_shape, pixel_size_um, z_step_um)
    return FOV_ROIS.arrange(box.assign(FieldIndex="FOV_1"))


def masking_rois(
    objects: pd.DataFrame, pixel_size_um: float, z_step_um: float = 1.0
) -> pd.DataFrame:
    """Return for every id the box that holds it in all frames.

    Parameters
    ----------
    objects : DataFrame
        Object table of a field (:data:`hcs.tables.schema.OBJECTS`), of all its frames.
    pixel_size_um, z_step_um : float
        As the image's own metadata has them: 1 where it has none.

    Returns
    -------
    DataFrame
        A row per id, by id (:data:`hcs.tables.schema.MASKING_ROIS`); one plane deep, as label
        images are.
    """
    boxes = objects.groupby("label")
    table = pd.DataFrame(index=boxes.size().index)
    for axis in "xy":
        start = boxes[f"bbox_{axis}_start_pixel"].min()
        stop = boxes[f"bbox_{axis}_stop_pixel"].max()
        table[f"{axis}_micrometer"] = start * pixel_size_um
        table[f"len_{axis}_micrometer"] = (stop - start) * pixel_size_um
    table["z_micrometer"], table["len_z_micrometer"] = 0.0, z_step_um
    return MASKING_ROIS.arrange(table.reset_index())


def _box_of_image(
    n_planes: int, frame_shape: tuple[int, int], pixel_size_um: float, z_step_um: float
) -> pd.DataFrame:
    height, width = frame_shape
    lengths = {"x": width * pixel_size_um, "y": height * pixel_size_um, "z": n_planes * z_step_um}
    start = {f"{axis}_micrometer": 0.0 for axis in lengths}
    return pd.DataFrame([start | {f"len_{a}_micrometer": n for a, n in lengths.items()}])
