"""What a network is trained to make small; each takes a weight per pixel, 0 where truth is unknown.

All take the raw output of a network, shape (b, k, y, x), in float32: logits where the target is a
mask. What a pixel of weight 0 holds, in output or target, never matters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from hcs.isl.recipe import Recipe

LossFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_SMOOTH = 1.0  # B3: intersection and union both have one pixel added
_SSIM_WINDOW_PX, _SSIM_SIGMA_PX = 11, 1.5  # Wang et al. 2004
_C1, _C2 = 0.01**2, 0.03**2  # the same, for values in [0, 1]
_SCALE_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003
_LEAST_SIMILARITY = 1e-4  # its power has a finite slope


def loss_of(recipe: Recipe) -> LossFunction:
    """Return the loss of a recipe: called with output, target and weight or None."""
    if recipe.loss == "distance+mask":
        return partial(distance_and_mask, distance_weight=recipe.distance_weight)
    return {
        "l1": l1,
        "mse": mse,
        "l1+ms-dssim": l1_and_ms_dssim,
        "jaccard": jaccard,
        "bce+dice": bce_and_dice,
    }[recipe.loss]


def l1(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference (B5).

    Parameters
    ----------
    output, target : tensor of float32, shape (b, k, y, x)
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    output, target = _known(output, target, weight)
    return _mean((output - target).abs(), weight)


def mse(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared difference.

    Parameters
    ----------
    output, target : tensor of float32, shape (b, k, y, x)
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    output, target = _known(output, target, weight)
    return _mean((output - target).square(), weight)


def l1_and_ms_dssim(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return half the mean absolute difference and half (1 - MS-SSIM) (VSCyto2D).

    Parameters
    ----------
    output, target : tensor of float32, shape (b, k, y, x)
        Near [0, 1].
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    return (l1(output, target, weight) + 1 - ms_ssim(output, target, weight)) / 2


def ms_ssim(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the multi-scale structural similarity of Wang et al. 2003, 1 for equal images.

    Images under 176 pixels have fewer than the published five scales, with the same proportions.

    Parameters
    ----------
    output, target : tensor of float32, shape (b, k, y, x)
        Near [0, 1]; sides of 11 pixels at least.
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    output, target = _known(output, target, weight)
    powers = _scale_powers(min(output.shape[-2:]))
    out = torch.ones(output.shape[:2], device=output.device)
    for scale, power in enumerate(powers):
        last = scale == len(powers) - 1
        luminance, contrast = _similarity(output, target)
        similarity = luminance * contrast if last else contrast
        inner = None if weight is None else _inner(weight)
        out = out * _image_means(similarity, inner).clamp(min=_LEAST_SIMILARITY) ** power
        if not last:
            output, target = functional.avg_pool2d(output, 2), functional.avg_pool2d(target, 2)
            weight = None if weight is None else functional.avg_pool2d(weight, 2)
    return out.mean()


def jaccard(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return 1 - (intersection + 1) / (union + 1) of probabilities, over the whole batch (B3).

    A batch without any foreground has loss 0 where nothing is found, and a gradient (B6.4).

    Parameters
    ----------
    output : tensor of float32, shape (b, 1, y, x)
        Logits.
    target : tensor of float32, shape (b, 1, y, x)
        0 or 1.
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    output, target = _known(output, target, weight)
    found, true = _weighted(output.sigmoid(), weight), _weighted(target, weight)
    both = (output.sigmoid() * true).sum()
    return 1 - (both + _SMOOTH) / (found.sum() + true.sum() - both + _SMOOTH)


def bce_and_dice(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the sum of binary cross-entropy and 1 - Dice of probabilities, Dice over the batch.

    Parameters
    ----------
    output : tensor of float32, shape (b, 1, y, x)
        Logits.
    target : tensor of float32, shape (b, 1, y, x)
        0 or 1.
    weight : tensor of float32, shape (b, 1, y, x), optional
    """
    output, target = _known(output, target, weight)
    found, true = _weighted(output.sigmoid(), weight), _weighted(target, weight)
    both = (output.sigmoid() * true).sum()
    dice = (2 * both + _SMOOTH) / (found.sum() + true.sum() + _SMOOTH)
    return _cross_entropy(output, target, weight) + 1 - dice


def distance_and_mask(
    output: Tensor, target: Tensor, weight: Tensor | None = None, *, distance_weight: float
) -> Tensor:
    """Return eq. 2, `distance_weight` MSE of the distance map + cross-entropy of the mask (B3, B4).

    Parameters
    ----------
    output : tensor of float32, shape (b, 2, y, x)
        Distance map, then mask logit.
    target : tensor of float32, shape (b, 2, y, x)
        Distance map in [0, 1], then 0 or 1.
    weight : tensor of float32, shape (b, 1, y, x), optional
    distance_weight : float
        What the distance map counts against the mask.
    """
    output, target = _known(output, target, weight)
    distance = _mean((output[:, :1] - target[:, :1]).square(), weight)
    return distance_weight * distance + _cross_entropy(output[:, 1:], target[:, 1:], weight)


def _known(output: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put 0 in both where the truth is unknown: there might be NaN, which 0 times does not end."""
    if weight is None:
        return output, target
    return output.where(weight > 0, 0), target.where(weight > 0, 0)


def _weighted(values: Tensor, weight: Tensor | None) -> Tensor:
    return values if weight is None else values * weight


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    total = weight.expand_as(values).sum()
    # a batch of unknown pixels has loss 0 and gradient 0
    return (values * weight).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def _cross_entropy(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    each = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    return _mean(each, weight)


def _image_means(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of each image and channel, shape (b, k); 1 where nothing is known."""
    if weight is None:
        return values.mean(dim=(-2, -1))
    total = weight.sum(dim=(-2, -1))
    sums = (values * weight).sum(dim=(-2, -1))
    return torch.where(total > 0, sums / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)


def _scale_powers(side: int) -> list[float]:
    fitting = [p for i, p in enumerate(_SCALE_POWERS) if side >> i >= _SSIM_WINDOW_PX]
    return [power / sum(fitting) for power in fitting]


def _similarity(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarity of luminance, and of contrast and structure, of each whole window."""
    mean_o, mean_t = _smooth(output), _smooth(target)
    var_o = _smooth(output.square()) - mean_o.square()
    var_t = _smooth(target.square()) - mean_t.square()
    both = _smooth(output * target) - mean_o * mean_t
    luminance = (2 * mean_o * mean_t + _C1) / (mean_o.square() + mean_t.square() + _C1)
    return luminance, (2 * both + _C2) / (var_o + var_t + _C2)


def _smooth(images: Tensor) -> Tensor:
    """Return Gaussian means where the window fits: each side is 10 pixels shorter."""
    x = torch.arange(_SSIM_WINDOW_PX, dtype=images.dtype, device=images.device)
    bell = torch.exp(-((x - _SSIM_WINDOW_PX // 2) ** 2) / (2 * _SSIM_SIGMA_PX**2))
    bell = (bell / bell.sum()).expand(images.shape[1], 1, -1)
    channels = images.shape[1]
    rows = functional.conv2d(images, bell[:, :, :, None], groups=channels)
    return functional.conv2d(rows, bell[:, :, None, :], groups=channels)


def _inner(weight: Tensor) -> Tensor:
    margin = _SSIM_WINDOW_PX // 2
    return weight[..., margin:-margin, margin:-margin]
