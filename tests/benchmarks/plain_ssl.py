"""Recipe R (METHODS A5) written plainly with OpenCV, scikit-image and scikit-learn.

The other side of the benchmark: the same steps in the same order, the library call that a
practitioner would reach for at each, no step of the product but its drift estimate.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.filters.rank import entropy as rank_entropy
from skimage.measure import label, regionprops_table
from skimage.morphology import closing, dilation, disk, remove_small_holes, remove_small_objects
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB

from hcs.ssl.drift import drift, moved_by


def segment_pair(frame, reference, low, high):
    """Return the mask of a frame."""
    here, there = stretch(frame, low, high), stretch(reference, low, high)
    sigma = min(noise(here, there) / 10.6, 4.0)
    if sigma >= 0.5:
        here, there = (cv2.GaussianBlur(image, (0, 0), sigma) for image in (here, there))
    moved = flow(here, there)
    shift = drift(here, there, moved.transpose(2, 0, 1)[::-1])
    there = moved_by(there, shift)
    difference = np.abs(here.astype(np.float32) - there.astype(np.float32))
    change = np.log1p(cv2.blur(difference, (7, 7)))
    features = np.stack([entropy(here), gradient(here), contrast(here)], axis=-1)
    cell, background = labels(change, np.hypot(*(moved - shift[::-1]).transpose(2, 0, 1)), features)
    classifier = classify(features, cell, background)
    raw = classifier.predict(features.reshape(-1, 3)).reshape(here.shape).astype(bool)
    if not separable(features, cell, background, change, raw):
        return np.zeros(here.shape, bool)
    reached = np.maximum(features, classifier.theta_[0])
    found = classifier.predict(reached.reshape(-1, 3)).reshape(here.shape).astype(bool)
    classifier.predict_proba(reached.reshape(-1, 3))
    return clean(found, raw, here)


def stretch(frame, low, high):
    return np.clip(np.rint((frame.astype(float) - low) * (255 / (high - low))), 0, 255).astype(
        np.uint8
    )


def noise(here, there):
    difference = np.abs(here.astype(np.float32) - there.astype(np.float32))
    around = cv2.blur(difference, (7, 7))
    still = difference[around <= np.quantile(around, 0.3)]
    kernel = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
    laplacian = cv2.filter2D(here.astype(np.float32), cv2.CV_32F, kernel)
    temporal = 1.4826 * np.median(still) / np.sqrt(2)
    return min(temporal, np.median(np.abs(laplacian)) / 0.6745 / 6)


def flow(here, there):
    half = (here.shape[1] // 2, here.shape[0] // 2)
    small = [cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in (here, there)]
    back = cv2.calcOpticalFlowFarneback(*small, None, 0.5, 3, 9, 3, 5, 1.1, 0)
    return cv2.resize(-2 * back, here.shape[::-1], interpolation=cv2.INTER_LINEAR)


def entropy(here):
    padded = np.pad(here, 3, mode="symmetric")
    return rank_entropy(padded, np.ones((7, 7), np.uint8))[3:-3, 3:-3]


def gradient(here):
    grey = here.astype(np.float32)
    right = np.diff(grey, axis=1, append=grey[:, -1:])
    down = np.diff(grey, axis=0, append=grey[-1:])
    return np.log1p(cv2.blur(np.hypot(right, down), (7, 7)))


def contrast(here):
    small = (here.shape[1] // 8, here.shape[0] // 8)
    coarse = cv2.medianBlur(cv2.resize(here, small, interpolation=cv2.INTER_AREA), 41)
    background = cv2.resize(coarse.astype(np.float32), here.shape[::-1])
    smooth = cv2.GaussianBlur(here.astype(np.float32), (0, 0), 1.5)
    return np.log1p(np.abs(smooth - background))


def labels(change, magnitude, features):
    textured = features[..., 0] > 1e-3
    split = threshold_otsu(change[textured], nbins=1024)
    changed = np.median(change[textured & (change > split)])
    still = np.quantile(change[textured & (change <= split)], 0.8)
    logarithm = np.log10(magnitude + 1e-4)
    moving = logarithm > threshold_otsu(logarithm[::4, ::4])
    return textured & (change > changed) & moving, textured & (change < still)


def classify(features, cell, background):
    chosen = cell | background
    classifier = GaussianNB(priors=[0.5, 0.5]).fit(features[chosen], cell[chosen])
    grid = features[::3, ::3].reshape(-1, 3)
    found = classifier.predict(grid)
    prior = np.clip(found.mean(), 0.02, 0.98)
    return GaussianNB(priors=[1 - prior, prior]).fit(grid, found)


def separable(features, cell, background, change, raw):
    chosen = cell | background
    areas = [roc_auc_score(cell[chosen], features[chosen, j]) for j in range(3)]
    return min(np.mean(areas), roc_auc_score(raw.ravel(), change.ravel())) >= 0.75


def clean(found, raw, here):
    areas = np.sort(regionprops_table(label(raw, connectivity=2), properties=["area"])["area"])[
        ::-1
    ]
    areas = areas[areas >= 16]
    typical = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2, side="right")]
    smallest = int(np.clip(round(typical / 4), 16, 550))
    mask = remove_small_objects(found, max_size=smallest - 1, connectivity=2)
    mask = remove_small_holes(mask, max_size=smallest)
    mask = refine(mask, here)
    mask = remove_small_objects(mask, max_size=15, connectivity=2)
    return remove_small_holes(closing(mask, disk(2)), max_size=smallest)


def refine(mask, here):
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    components = label(mask, connectivity=2)
    deepest = ndimage.maximum(depth, components, np.arange(components.max() + 1))
    core = mask & (depth > np.minimum(6, 0.6 * np.asarray(deepest)[components]))
    wide = dilation(mask, disk(3))
    grey = cv2.GaussianBlur(here.astype(np.float32), (0, 0), 1)
    n_core, core_sum = box(core), box(core * grey)
    n_out, out_sum, out_squares = box(~wide), box(~wide * grey), box(~wide * grey**2)
    mean = out_sum / np.maximum(n_out, 1)
    variance = np.maximum(out_squares / np.maximum(n_out, 1) - mean**2, 1)
    odds = ((grey - mean) ** 2 - (grey - core_sum / np.maximum(n_core, 1)) ** 2) / (2 * variance)
    odds[(n_core < 0.5) | (n_out < 0.5)] = 0
    odds = cv2.blur(np.clip(odds, -8, 8), (5, 5))
    return core | (wide & (odds > 0))


def box(values):
    return cv2.boxFilter(values.astype(np.float64), -1, (21, 21), normalize=False)
