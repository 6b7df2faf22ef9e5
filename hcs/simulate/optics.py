"""From optical path to grey levels: phase contrast, bright field, light path and camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hcs.simulate.draw import Image

# Zernike phase contrast: the ring passes the undiffracted light and what lies close to it, weaker
# and a quarter wave late; its width makes halo and shade-off
RING_SIGMA_PX = 16.0
RING_AMPLITUDE = 0.6

# bright field a little out of focus shows phase: 0.55 um light, 0.65 um pixels
_WAVELENGTH_PX = 0.55 / 0.65
_DEFOCUS_PX = 18.0
_BORDER_PX = 24

CAMERA_OFFSET = 400.0
# grey level of the unshaded background of the label-free channel
BACKGROUND_GREY = 14000.0
_READ_NOISE_SHARE = 0.25


def phase_contrast(path_rad: Image) -> Image:
    """Return the intensity behind a positive phase contrast objective; 1 without a specimen.

    The image is ``|U - L - i a L|^2`` of the wave ``U = exp(i path)`` and its low pass ``L``: thin
    objects are dark with a bright halo, thick round ones turn bright.

    Examples
    --------
    >>> import numpy as np
    >>> image = phase_contrast(np.zeros((32, 32), np.float32))
    >>> bool(np.allclose(image, 1, atol=1e-5))
    True
    """
    sharp = cv2.GaussianBlur(path_rad, (0, 0), 0.7)
    real, imaginary = np.cos(sharp), np.sin(sharp)
    low_real, low_imaginary = (_wide_blur(part, RING_SIGMA_PX) for part in (real, imaginary))
    a = np.float32(RING_AMPLITUDE)
    out_real = real - low_real + a * low_imaginary
    out_imaginary = imaginary - low_imaginary - a * low_real
    return np.asarray((out_real**2 + out_imaginary**2) / a**2)


def bright_field(path_rad: Image) -> Image:
    """Return the intensity of a bright field out of focus by some micrometers (Fresnel)."""
    border = _BORDER_PX
    padded = np.pad(path_rad, border, mode="reflect")
    wave = fft.fft2(np.exp(1j * padded.astype(np.complex64)))
    fy = fft.fftfreq(padded.shape[0]).astype(np.float32)[:, None]
    fx = fft.fftfreq(padded.shape[1]).astype(np.float32)[None, :]
    square = fy**2 + fx**2
    transfer = np.exp(-1j * np.pi * _WAVELENGTH_PX * _DEFOCUS_PX * square - 6.0 * square)
    image = np.abs(fft.ifft2(wave * transfer.astype(np.complex64))) ** 2
    return np.asarray(image[border:-border, border:-border], np.float32)


def light(
    shape: tuple[int, int],
    vignetting: float,
    blobs: int,
    blob_depth: float,
    rng: np.random.Generator,
) -> Image:
    """Return the light that reaches each pixel of the camera, 1 on average.

    Vignetting off the axis, a slope, and out-of-focus shadows of dust, which stay with the camera
    when the stage drifts.
    """
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    cy, cx, slope_y, slope_x = rng.uniform(-0.3, 0.3, 4)
    field = 1 - vignetting * ((y - cy) ** 2 + (x - cx) ** 2) / 2
    field = field + 0.4 * vignetting * (slope_y * y + slope_x * x)
    for _ in range(blobs):
        at_y, at_x = rng.uniform(-1, 1, 2)
        sigma = rng.uniform(0.025, 0.055) * 512 / max(shape)
        squared = ((y - at_y) ** 2 + (x - at_x) ** 2) / sigma**2
        depth = blob_depth * rng.uniform(0.4, 1.0) * rng.choice([-1.0, 1.0])
        field = field * (1 - depth * np.exp(-0.5 * np.minimum(squared, 50)))
    return np.asarray(field / field.mean(), dtype=np.float32)


def expose(
    intensity: Image, background_grey: float, noise: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return what the camera records.

    Parameters
    ----------
    intensity : ndarray of float32, shape (y, x)
        1 where the grey level is ``background_grey``.
    background_grey : float
        Above the camera's offset.
    noise : float
        Standard deviation at intensity 1, relative: shot noise and a share of read noise.
    rng : numpy.random.Generator
    """
    shot = np.maximum(intensity, 0) * (1 - _READ_NOISE_SHARE) + _READ_NOISE_SHARE
    noisy = intensity + noise * np.sqrt(shot) * rng.standard_normal(intensity.shape, np.float32)
    return quantise(noisy.astype(np.float32), background_grey)


def quantise(intensity: Image, background_grey: float) -> NDArray[np.uint16]:
    """Return grey levels of a 16-bit camera, clipped at its ends."""
    grey = np.rint(CAMERA_OFFSET + background_grey * intensity)
    return np.asarray(np.clip(grey, 0, 65535), np.uint16)


def _wide_blur(image: Image, sigma_px: float) -> Image:
    """Return a wide Gaussian blur, made at a quarter of the pixels."""
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    half = cv2.GaussianBlur(half, (0, 0), sigma_px / 2, borderType=cv2.BORDER_REFLECT)
    return np.asarray(
        cv2.resize(half, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    )
