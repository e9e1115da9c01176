"""Random crops that look like other microscopes: geometry, intensity, channels, and what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from cellbrook.networks.base import TARGET_VALUES
from cellbrook.training.painting import painted_cytoplasm, painted_nuclei
from cellbrook.training.synthetic._camera import quantise_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.data import LabelledImage


@dataclass(frozen=True, slots=True)
class AugmentParams:
    """How far crops may stray from the image they are cut from.

    Parameters
    ----------
    crop : int
        Side of a crop, in pixels.
    diameter_px : float
        Typical diameter that objects are brought to.
    diameter_spread : float
        Standard deviation of its natural logarithm, for most crops.
    wide_share : float
        Share of the crops whose diameter is drawn evenly, in the logarithm, from `wide_range_px` instead.
    wide_range_px : tuple of float
        That range.
    native_share : float
        Share of the crops that keep about the size they were taken at: fine structure is that of a microscope there,
        not of a resampling.
    zoom_range : tuple of float
        Magnifications are kept within this, whatever the diameter asks for.
    channels : int
        Channels of the crop; missing ones are zero.
    in_order : bool
        Channels stay where they are, for a network to which their order means something.
    target_plane : bool
        Add a plane after the channels that says what the labels outline.
    upright_share : float
        Share of the crops that are turned by right angles only: the rows of a camera and the blocks of a compression lie
        along the axes.
    upright_share_empty : float
        The same for images without objects: nothing there is like a cell but such rows and blocks.
    calm_share : float
        Share of the crops whose intensities hardly change: as images of one microscope do among themselves.
    told_share : float
        Share of the crops that say what is wanted; the others leave it open.
    paint_share : float
        Share of the one-channel crops that get a second, painted channel: nuclei for labels of cells, and the other
        way round.
    """

    crop: int = 256
    diameter_px: float = 28.0
    diameter_spread: float = 0.35
    wide_share: float = 0.4
    wide_range_px: tuple[float, float] = (7.0, 110.0)
    native_share: float = 0.0
    zoom_range: tuple[float, float] = (0.2, 4.0)
    channels: int = 3
    in_order: bool = False
    target_plane: bool = True
    upright_share: float = 0.25
    upright_share_empty: float = 0.7
    calm_share: float = 0.0
    told_share: float = 0.6
    paint_share: float = 0.0


def random_crop(
    item: LabelledImage, rng: np.random.Generator, params: AugmentParams
) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.bool_]]:
    """Cut a rotated, scaled, flipped crop and change its intensities.

    Returns
    -------
    image : ndarray of shape (channels [+ 1], crop, crop), float32
        The last plane is the target's, where `params` asks for one.
    labels : ndarray of shape (crop, crop), uint32
        Objects cut by the border keep their part.
    inside : ndarray of shape (crop, crop), bool
        False where the crop reaches beyond the image; there the image is mirrored and nothing is known.
    """
    target = item.target
    # where both can be seen, half of the crops ask for the nuclei
    wanted = item.nuclei if item.nuclei is not None and rng.random() < 0.5 else item.labels
    image, labels, inside = _warp(item, wanted, rng, params)
    if wanted is not item.labels:
        target = "nuclei"
    elif len(image) == 1 and rng.random() < params.paint_share:
        if target == "nuclei":
            image = np.concatenate([image, painted_cytoplasm(labels, rng)[None]])
        else:
            nuclei, channel = painted_nuclei(labels, rng)
            image = np.concatenate([image, channel[None]])
            if rng.random() < 0.3:
                labels, target = nuclei, "nuclei"
    several = len(image) == 2 or item.nuclei is not None
    calm = params.calm_share > 0 and rng.random() < params.calm_share
    image = _channels(_calm(image, rng) if calm else _intensities(image, rng), rng, params)
    if params.target_plane:
        # with several stains the wish must be known, and "either" means the cells; else it may be left open
        told = rng.random() < params.told_share or (several and target == "nuclei")
        value = TARGET_VALUES[target if told else "either"]
        image = np.concatenate([image, np.full((1, *image.shape[1:]), value, np.float32)])
    return image, labels, inside


def _warp(
    item: LabelledImage, wanted: NDArray[np.uint32], rng: np.random.Generator, p: AugmentParams
) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.bool_]]:
    if p.native_share > 0 and item.diameter_px > 0 and rng.random() < p.native_share:
        diameter = item.diameter_px * np.exp(rng.normal(0, 0.1))
    elif rng.random() < p.wide_share or item.diameter_px == 0:
        diameter = np.exp(rng.uniform(*np.log(p.wide_range_px)))
    else:
        diameter = p.diameter_px * np.exp(rng.normal(0, p.diameter_spread))
    zoom = float(np.clip(diameter / (item.diameter_px or 24.0), *p.zoom_range))
    image = torch.from_numpy(item.image)[None]
    labels = torch.from_numpy(wanted.astype(np.float32))[None, None]
    # shrinking by interpolation alone would alias: average blocks first, whole ones, so that image and labels stay aligned
    block = int(max(1, min(1 / zoom, *labels.shape[-2:])))
    if block > 1:
        rows, cols = (n // block * block for n in labels.shape[-2:])
        image = F.avg_pool2d(image[..., :rows, :cols], block)
        labels = labels[..., :rows, :cols]
    height, width = labels.shape[-2:]
    squeeze = np.exp(rng.normal(0, 0.08))
    angle = rng.uniform(0, 2 * np.pi)
    upright = p.upright_share if item.diameter_px else p.upright_share_empty
    if rng.random() < upright:
        squeeze, angle = 1.0, rng.integers(4) * np.pi / 2
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    # crop pixel -> image pixel, both relative to their centres
    to_image = np.array([[cos, -sin], [sin, cos]]) @ np.diag([squeeze / zoom, flip / squeeze / zoom])
    if len(item.boxes) and rng.random() < 0.8:
        centre = item.boxes[rng.integers(len(item.boxes))] + rng.normal(0, p.crop / zoom / 6, 2)
    else:
        centre = rng.uniform([0, 0], [height, width])
    # stay inside where the image is larger than the crop
    reach = p.crop / zoom / 2
    size = np.array([height, width], dtype=np.float64)
    centre = np.where(
        size > 2 * reach, np.clip(centre, reach, size - reach), size / 2 + rng.uniform(-0.1, 0.1, 2) * size
    )
    steps = np.arange(p.crop) - (p.crop - 1) / 2
    grid_y, grid_x = np.meshgrid(steps, steps, indexing="ij")
    source_y = centre[0] - 0.5 + to_image[0, 0] * grid_y + to_image[0, 1] * grid_x
    source_x = centre[1] - 0.5 + to_image[1, 0] * grid_y + to_image[1, 1] * grid_x
    grid = np.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], axis=-1).astype(
        np.float32
    )[None]
    grid_t = torch.from_numpy(grid)
    warped = F.grid_sample(image, grid_t, mode="bilinear", padding_mode="reflection", align_corners=False)[
        0
    ].numpy()
    cut = F.grid_sample(labels, grid_t, mode="nearest", padding_mode="reflection", align_corners=False)[
        0, 0
    ].numpy()
    inside = (source_y > -0.5) & (source_y < height - 0.5) & (source_x > -0.5) & (source_x < width - 0.5)
    return warped, np.where(inside, cut, 0).astype(np.uint32), inside


def _calm(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    gain, offset = np.exp(rng.normal(0, 0.1, (len(image), 1, 1))), rng.normal(0, 0.05, (len(image), 1, 1))
    return (image * gain + offset).astype(np.float32)


def _intensities(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    channels, size, _ = image.shape
    if channels == 3 and rng.random() < 0.5:  # other stains, other white balance
        mixing = (np.eye(3) + rng.normal(0, 0.15, (3, 3))).astype(np.float32)
        image = np.tensordot(mixing, image, 1)
    if rng.random() < 0.35:  # stretched by its own percentiles, as a small image would be
        low, high = np.percentile(image, (1, 99), axis=(1, 2), keepdims=True)
        image = ((image - low) / np.maximum(high - low, 0.05)).astype(np.float32)
    if rng.random() < 0.35:
        image = np.sign(image) * np.abs(image) ** np.float32(np.exp(rng.normal(0, 0.35)))
    gain = np.exp(rng.normal(0, 0.2, (channels, 1, 1)))
    if rng.random() < 0.08:  # a sparse field: the percentiles are those of the background
        gain = gain * np.exp(rng.uniform(0, np.log(16)))
    offset = rng.normal(0, 0.08, (channels, 1, 1))
    image = (image * gain + offset).astype(np.float32)
    if rng.random() < 0.2:  # uneven illumination
        small = torch.from_numpy(rng.normal(0, 0.25, (1, 1, 4, 4)).astype(np.float32))
        shade = F.interpolate(small, size=(size, size), mode="bicubic", align_corners=True)[0].numpy()
        image = image * np.exp(shade) if rng.random() < 0.5 else image + shade
    if rng.random() < 0.25:
        image = blurred(image, np.exp(rng.uniform(np.log(0.5), np.log(2.5))))
    if rng.random() < 0.4:
        strength = np.exp(rng.uniform(np.log(0.01), np.log(0.2)))
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        if rng.random() < 0.3:
            noise = blurred(noise, 0.8) * 2
        image = image + np.float32(strength) * noise
    if rng.random() < 0.06:  # compressed at the size it is shown at
        step = np.exp(rng.uniform(np.log(0.02), np.log(0.15)))
        off = rng.integers(0, 8, 2)
        around = np.pad(image, ((0, 0), (off[0], 0), (off[1], 0)), mode="reflect")
        image = np.stack([quantise_blocks(c, step) for c in around])[:, off[0] :, off[1] :]
    if rng.random() < 0.12:
        image = 1 - image
    return image.astype(np.float32, copy=False)


def blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the channels of `image` convolved with a Gaussian of `sigma` pixels."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = torch.from_numpy((kernel / kernel.sum()).astype(np.float32))
    x = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[:, None]
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="reflect"), weights[None, None, None, :])
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), weights[None, None, :, None])
    return x[:, 0].numpy()


def _channels(image: NDArray[np.float32], rng: np.random.Generator, p: AugmentParams) -> NDArray[np.float32]:
    """Bring the channels into any order, if it means nothing; a gray image fills one then, or all with the same."""
    if not p.in_order and image.shape[0] == 1 and rng.random() < 0.3:
        return np.repeat(image, p.channels, axis=0)
    full = np.zeros((p.channels, *image.shape[1:]), np.float32)
    full[: image.shape[0]] = image[: p.channels]
    if not p.in_order and (len(image) > 1 or rng.random() < 0.5):  # no order of several is the usual one
        full = full[rng.permutation(p.channels)]
    return np.ascontiguousarray(full)
