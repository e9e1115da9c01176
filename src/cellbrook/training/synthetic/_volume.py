"""Stacks of stained balls: nuclei of spheroids, embryos and tissue as a confocal microscope shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, fluorescence_camera
from cellbrook.training.synthetic._fields import blur, blur_axis0
from cellbrook.training.synthetic._shapes import MIN_AREA_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class VolumeSample:
    """One generated stack and its labels.

    Attributes
    ----------
    image : ndarray of shape (C, Z, Y, X), float32
        Camera units: whole numbers from 0 to 255, 4095 or 65535.
    labels : ndarray of shape (Z, Y, X), uint16
        0 = background, 1..n = objects of at least 10 voxels.
    channel_names : tuple of str
        One name a channel.
    family : str
        One of `VOLUME_FAMILIES`.
    diameter_px : float
        Typical object diameter in Y and X, in px.
    anisotropy : float
        Distance of planes over the pixel size in Y and X; an object spans `diameter_px / anisotropy` planes.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint16]
    channel_names: tuple[str, ...]
    family: str
    diameter_px: float
    anisotropy: float


def blur_volume(volume: Field, sigma_z: float, sigma: float) -> Field:
    """Return a stack (Z, Y, X) convolved with a Gaussian; standard deviations in planes and in px."""
    out = np.stack([blur(plane, sigma) for plane in volume])
    if sigma_z >= 0.2:
        out = blur_axis0(out.reshape(len(out), -1), sigma_z).reshape(out.shape)
    return np.asarray(out, dtype=np.float32)


def _centres(scene: Scene, extent: NDArray[np.float64], n: int, spacing: float) -> NDArray[np.float64]:
    """Return up to `n` points (N, 3) in the box `extent`, none nearer to another than `spacing`."""
    kept = np.empty((0, 3))
    clumped = scene.chance(0.5)
    for _ in range(12 * n):
        if len(kept) == n:
            break
        if clumped and len(kept) and scene.chance(0.8):  # beside an earlier one
            step = scene.rng.standard_normal(3)
            step *= spacing * scene.uniform(1.0, 1.3) / np.linalg.norm(step)
            point = kept[scene.rng.integers(len(kept))] + step
        else:
            point = scene.rng.uniform(0, 1, 3) * extent
        if (point < 0).any() or (point > extent).any():
            continue
        if len(kept) == 0 or ((kept - point) ** 2).sum(axis=1).min() > spacing**2:
            kept = np.concatenate([kept, point[None]])
    return kept


def _balls(
    scene: Scene, shape: tuple[int, int, int], centres: NDArray[np.float64], anisotropy: float
) -> tuple[NDArray[np.int32], Field]:
    """Return labels and relative radius (Z, Y, X) of turned ellipsoids; neighbours share a border."""
    labels = np.zeros(shape, np.int32)
    rho = np.ones(shape, np.float32)
    to_px = np.array([1 / anisotropy, 1, 1])
    for i, centre in enumerate(centres):
        radii = scene.vary(3, 0.5 * scene.diameter, 0.08)
        axes, _ = np.linalg.qr(scene.rng.standard_normal((3, 3)))
        reach = float(radii.max()) + 1
        low = np.maximum(np.floor((centre - reach) * to_px).astype(int), 0)
        high = np.minimum(np.ceil((centre + reach) * to_px).astype(int) + 1, shape)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        away = ((grid / to_px - centre) @ axes) / radii
        mine = np.sqrt((away**2).sum(axis=-1)).astype(np.float32)
        take = mine < rho[box]
        np.copyto(rho[box], mine, where=take)
        np.copyto(labels[box], i + 1, where=take)
    return labels, rho


def spheres_3d(scene: Scene, depth: int, anisotropy: float) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return the image (1, Z, Y, X) and labels (Z, Y, X) of stained balls, dimmer and hazier with depth."""
    d = scene.diameter
    shape = (depth, *scene.shape)
    extent = np.array(shape) * np.array([anisotropy, 1, 1])
    n = max(1, round(scene.log_uniform(0.05, 0.45) * float(extent.prod()) / (np.pi / 6 * d**3)))
    centres = _centres(scene, extent, min(n, 1500), d * scene.uniform(0.85, 1.1))
    labels, rho = _balls(scene, shape, centres, anisotropy)
    area = np.bincount(labels.ravel(), minlength=len(centres) + 1)
    keep = area >= MIN_AREA_PX
    keep[0] = False
    numbered = np.where(keep, np.cumsum(keep), 0).astype(np.uint16)[labels]

    level = scene.vary(int(keep.sum()), 0.5, scene.uniform(0.1, 0.5))
    own = np.concatenate([[0], level]).astype(np.float32)[numbered]
    fine = max(0.7, 0.07 * d)
    noise = scene.rng.standard_normal(shape, dtype=np.float32)
    grain = blur_volume(noise, fine / anisotropy, fine)
    grain /= grain.std() + np.float32(1e-6)
    light = own * np.exp(np.float32(scene.uniform(0.05, 0.35)) * grain)
    light *= 1 - np.float32(scene.uniform(0, 0.5)) * rho**2
    psf = min(scene.uniform(0.5, 1.5), 0.08 * d)
    # the point spread of a microscope is two to five times as long as it is wide
    light = blur_volume(light.astype(np.float32), psf * scene.uniform(2, 5) / anisotropy, psf)
    haze = np.float32(scene.log_uniform(0.02, 0.3)) * blur_volume(light, 0.5 * d / anisotropy, 0.5 * d)
    fade = np.exp(-np.linspace(0, scene.uniform(0, 1.2), depth, dtype=np.float32))[:, None, None]
    ground = np.float32(scene.log_uniform(0.005, 0.1))
    faintest = float(np.quantile(level, 0.1)) * float(fade.min()) if len(level) else 0.2
    camera = fluorescence_camera(scene.rng, psf, faintest, float(ground))
    # one lamp lights all planes: they pass as channels
    return expose(scene.rng, (light + haze) * fade + ground, camera)[None], numbered
