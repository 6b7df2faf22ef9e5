"""How deep each pixel lies in its object: what a network learns in order to tell cells apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from hcs.labels.split import distance_map, in_raster_order


def distance_target(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return each pixel's depth in its own object, as a share of the object's greatest depth.

    Objects that touch are outside of each other, so a valley lies between them; an object that
    the image's rim cuts keeps its depth there. After the distance map of Bonte et al. 2022, whose
    unit is not published; a share is ours.

    Parameters
    ----------
    labels : ndarray of integer, shape (y, x)
        0 is background.

    Returns
    -------
    ndarray of float32, shape (y, x)
        In [0, 1]; 0 exactly on the background, 1 at the deepest pixels of every object.

    Examples
    --------
    >>> distance_target(np.array([[0, 4, 4, 4, 9, 9, 0]] * 5))[2].tolist()
    [0.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0]
    """
    ordered = in_raster_order(labels)
    depth = np.zeros(labels.shape, dtype=np.float32)
    for number, box in enumerate(ndi.find_objects(ordered.view(np.int32)), start=1):
        # one pixel around it, so that the object sees what is outside
        wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        inside = ordered[wider] == number
        distance = distance_map(inside)
        depth[wider][inside] = distance[inside] / distance.max()
    return depth
