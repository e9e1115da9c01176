"""The classical baseline: Otsu's threshold and a watershed of the distance transform, from scikit-image.

One recipe for every image; its defaults are the best of a small search on dsb2018's training split, and no
parameter is set by image set.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import disk, opening
from skimage.segmentation import watershed


def segment(
    image: np.ndarray,
    axes: str,
    polarity: str = "auto",
    channel: int = 0,
    sigma: float = 1.0,
    spread: float = 0.7,
    clip: float = 99.9,
    root: bool = True,
    min_area: int = 30,
) -> np.ndarray:
    """Return labels of shape (Y, X), uint32.

    1. Grey: RGB is turned into luminance; of several channels one is taken. Clip the extremes.
    2. Smooth, then Otsu (of the square root of intensity if `root`: helps dim objects beside bright ones).
       With `polarity` "auto", objects are what covers less of the image: if more than half of it is above the
       threshold, they are dark on bright.
    3. Open by a small disk, fill holes, drop specks.
    4. One seed a maximum of the smoothed distance transform, seeds at least `spread` times the typical object
       radius apart (the area-weighted median of the components' inscribed radii), then watershed.
    """
    if axes == "YXS":
        gray = rgb2gray(image)
    elif axes == "CYX":
        gray = image[channel].astype(float)
    else:
        gray = image.astype(float)
    low, high = np.percentile(gray, (100 - clip, clip))
    if high <= low:
        return np.zeros(gray.shape, np.uint32)
    # without the clip one hot pixel decides where the histogram's bins lie
    smooth = gaussian(np.clip((gray - low) / (high - low), 0, 1), sigma)
    if root:
        smooth = np.sqrt(smooth)
    above = smooth > threshold_otsu(smooth)
    bright = above.mean() <= 0.5 if polarity == "auto" else polarity == "bright"
    objects = above if bright else ~above
    objects = ndimage.binary_fill_holes(opening(objects, disk(1)))
    components, count = ndimage.label(objects)
    areas = np.bincount(components.ravel())
    keep = areas >= min_area
    keep[0] = False
    objects = keep[components]
    if not objects.any():
        return np.zeros(gray.shape, np.uint32)
    distance = ndimage.distance_transform_edt(objects)
    components, count = ndimage.label(objects)
    radii = ndimage.maximum(distance, components, np.arange(1, count + 1))
    sizes = np.bincount(components.ravel())[1:]
    order = np.argsort(radii)
    middle = order[np.searchsorted(np.cumsum(sizes[order]), sizes.sum() / 2)]
    apart = int(np.clip(round(spread * radii[middle]), 3, 40))
    seeds = np.zeros(gray.shape, np.int32)
    peaks = peak_local_max(
        gaussian(distance, 1.0), min_distance=apart, labels=components, exclude_border=False
    )
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, seeds, mask=objects)
    return drop_small(labels, min_area)


def drop_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    areas = np.bincount(labels.ravel())
    keep = areas >= min_area
    keep[0] = False
    return np.where(keep[labels], labels, 0).astype(np.uint32)
