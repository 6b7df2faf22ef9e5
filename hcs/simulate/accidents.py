"""What goes wrong in a night: chosen frames and fields spoiled before the camera."""

from __future__ import annotations

import cv2
import numpy as np

from hcs.simulate.draw import Image
from hcs.simulate.settings import AccidentKind

_OUT_OF_FOCUS_SIGMA_PX = 6.0
# light of a lamp or an exposure time set far too high
_OVEREXPOSURE = 8.0


def spoil(
    images: tuple[Image, ...], accident: AccidentKind | None, frame: int, n_frames: int
) -> tuple[Image, ...]:
    """Return the channels of a frame as an accident leaves them.

    A blank frame is the middle one; the focus is lost over the middle third; a saturated field is
    so in all frames. Wells without cells or images are made so elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> (image,) = spoil((np.ones((2, 2), np.float32),), "blank_frame", frame=1, n_frames=3)
    >>> float(image.max())
    0.0
    """
    if accident == "blank_frame" and frame == n_frames // 2:
        return tuple(np.zeros_like(image) for image in images)
    if accident == "out_of_focus" and n_frames // 3 <= frame < max(2 * n_frames // 3, 1):
        return tuple(
            np.asarray(cv2.GaussianBlur(i, (0, 0), _OUT_OF_FOCUS_SIGMA_PX)) for i in images
        )
    if accident == "saturated":
        return tuple(image * np.float32(_OVEREXPOSURE) for image in images)
    return images
