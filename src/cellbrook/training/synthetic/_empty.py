"""Images without a cell: what a model must say nothing about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import Camera, expose
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import ellipses, stamp
from cellbrook.training.synthetic._stained import EOSIN, HEMATOXYLIN, RGB, dye, transmit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]

CONTENTS = ("noise", "glow", "defocus", "dust", "thread", "bubbles", "bar", "texture")


def _glow(scene: Scene) -> Field:
    """Return uneven ground without an edge: gradients, stains, haze."""
    reach = scene.diameter * scene.uniform(2, 8) + 30
    stain = np.float32(scene.uniform(0.05, 0.5)) * smooth_noise(scene.rng, scene.shape, reach)
    return np.asarray(np.exp(stain), dtype=np.float32)


def _defocus(scene: Scene) -> Field:
    """Return cells so far out of focus that nobody could outline them."""
    d = scene.diameter
    n = max(1, min(400, scene.count(scene.log_uniform(0.02, 0.8))))
    blobs = specks(scene, n, (0.35 * d, 0.7 * d), (0.3, 1.0))
    return blur(blobs, d * scene.uniform(0.8, 2.0)) * 2


def _dust(scene: Scene) -> Field:
    """Return flecks much smaller than cells, sharp or soft."""
    n = int(scene.rng.integers(1, 40))
    top = min(3.5, max(0.9, 0.12 * scene.diameter))
    return blur(specks(scene, n, (0.5, top), (0.1, 1.0)), scene.uniform(0.3, 1.5))


def _thread(scene: Scene) -> Field:
    """Return a few winding threads and scratches across the field."""
    out = np.zeros(scene.shape, np.float32)
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    for _ in range(int(scene.rng.integers(1, 4))):
        angle = scene.uniform(-np.pi, np.pi)
        middle = scene.rng.uniform(0.1, 0.9, 2) * scene.shape
        bend = scene.uniform(0, 25) * smooth_noise(scene.rng, scene.shape, scene.uniform(60, 200))
        across = (y - middle[0]) * np.cos(angle) - (x - middle[1]) * np.sin(angle) + bend
        along = (x - middle[1]) * np.cos(angle) + (y - middle[0]) * np.sin(angle)
        ends = smoothstep(-np.abs(along), -scene.uniform(200, 900), 0)
        line = np.exp(-0.5 * (across / scene.uniform(0.6, 2.5)) ** 2)
        out += np.float32(scene.uniform(0.2, 1.0)) * line * (ends > 0)
    return out


def _bubbles(scene: Scene) -> Field:
    """Return air bubbles: wide rings, with a smooth inside, larger than any cell."""
    n = int(scene.rng.integers(1, 4))
    radius = scene.vary(n, scene.uniform(0.15, 0.5) * min(scene.shape), 0.3)
    centres = (scene.rng.uniform(0, 1, (n, 2)) * scene.shape).astype(np.float32)
    discs = stamp(scene.shape, centres, ellipses(radius, np.full(n, 1.03), scene.turn(n)), "front")
    depth = (1 - np.minimum(discs.rho, 1)) * np.concatenate([[0], radius])[discs.labels]
    ring = np.where(discs.labels > 0, np.exp(-depth / np.float32(scene.uniform(1.5, 8))), 0)
    inner = np.where(discs.labels > 0, np.exp(-0.5 * ((depth - scene.uniform(6, 12)) / 1.5) ** 2), 0)
    return blur((ring - scene.uniform(0, 1.2) * inner).astype(np.float32), scene.uniform(0.5, 1.5))


def _bar(scene: Scene) -> Field:
    """Return a scale bar with a row of strokes above it, as burned into an exported picture."""
    out = np.zeros(scene.shape, np.float32)
    height, width = scene.shape
    thick = int(scene.rng.integers(2, 8))
    length = int(width * scene.uniform(0.1, 0.3))
    top = int(height * (scene.uniform(0.75, 0.85) if scene.chance(0.7) else scene.uniform(0.12, 0.2)))
    left = int(width * scene.uniform(0.15, 0.55))
    out[top : top + thick, left : left + length] = 1
    size = int(scene.rng.integers(8, 20))
    stroke = max(1, size // 8)
    for glyph in range(int(scene.rng.integers(3, 7))):
        x, y = left + glyph * int(0.75 * size), top - size - 4
        on = scene.rng.uniform(size=6) < 0.6
        half, wide = size // 2, size // 2
        # strokes of a digit: three lying, three standing
        for k in range(3):
            if on[k]:
                out[y + k * half : y + k * half + stroke, x : x + wide] = 1
        for k, (dy, dx) in enumerate(((0, 0), (0, wide), (half, 0))):
            if on[3 + k]:
                out[y + dy : y + dy + half, x + dx : x + dx + stroke] = 1
    return out


def _texture(scene: Scene) -> Field:
    """Return structureless matter: gel, plastic, precipitate, scratched or fibrous ground."""
    if scene.chance(0.5):
        strands = fibres(
            scene.rng, scene.shape, scene.log_uniform(1.5, 12), scene.diameter * scene.uniform(1, 4) + 10
        )
        return np.float32(0.2) * strands
    return np.float32(0.2) * fractal_noise(scene.rng, scene.shape, scene.log_uniform(4, 120), 4, 0.7)


def empty(scene: Scene) -> Painting:
    """Paint a field without cells: noise, glow, far blur, dust, threads, bubbles, scale bars, texture."""
    look = str(scene.rng.choice(["dark", "bright", "colour"], p=[0.5, 0.35, 0.15]))
    chosen = scene.rng.choice(CONTENTS, size=int(scene.rng.integers(1, 4)), replace=False)
    paint = {
        "glow": _glow,
        "defocus": _defocus,
        "dust": _dust,
        "thread": _thread,
        "bubbles": _bubbles,
        "bar": _bar,
        "texture": _texture,
    }
    matter = np.zeros(scene.shape, np.float32)
    for name in chosen:
        if name != "noise":
            matter += np.float32(scene.log_uniform(0.05, 1.0)) * paint[str(name)](scene)
    noisy = scene.log_uniform(400 if look == "colour" else 20, 6000)
    ceiling = 255.0 if look == "colour" else float(scene.rng.choice([255.0, 255.0, 4095.0, 65535.0]))
    # strongly compressed: of many small differences only the blocks' mean values are left
    squeezed = scene.chance(0.2)
    camera = Camera(
        psf_px=scene.uniform(0.4, 1.3),
        photons=noisy * (100 if squeezed else 1),
        read_noise=scene.log_uniform(0.001, 0.05) * (0.05 if squeezed else 1),
        grain_px=scene.uniform(0.4, 1.2) if scene.chance(0.3) else 0.0,
        shading=scene.uniform(0, 0.5),
        full_scale=ceiling * scene.log_uniform(0.1, 1.0) if look == "dark" else 0.9 * ceiling,
        offset=ceiling * scene.uniform(0, 0.06) if look == "dark" else 0.0,
        ceiling=ceiling,
        blockiness=scene.log_uniform(0.01, 0.12) if squeezed or scene.chance(0.2) else 0.0,
    )
    if look == "dark":
        light = (np.float32(scene.log_uniform(0.01, 0.3)) + matter)[None]
    elif look == "bright":
        sign = np.float32(scene.choose_sign(0.4))
        light = (np.float32(scene.uniform(0.3, 0.7)) * np.exp(0.6 * sign * matter))[None]
    else:
        amount = [(np.maximum(matter, 0), dye(scene, EOSIN, 0.3))]
        amount.append((np.abs(matter) * scene.log_uniform(0.02, 0.5), dye(scene, HEMATOXYLIN, 0.2)))
        glass = np.clip(1 - np.abs(scene.rng.normal(0, 0.08, 3)), 0.6, 1).astype(np.float32)
        light = transmit(amount, glass)
    image = expose(scene.rng, np.maximum(light, 0).astype(np.float32), camera)
    names: tuple[str, ...] = {"colour": RGB, "dark": ("fluorescence",)}.get(look, ("brightfield",))
    if look == "dark" and scene.chance(0.2):  # two channels, both of nothing
        second = expose(scene.rng, np.full((1, *scene.shape), scene.log_uniform(0.01, 0.3)), camera)
        image, names = np.concatenate([image, second]), ("cytoplasm", "nuclei")
    labels = np.zeros(scene.shape, np.int32)
    contents = (*map(str, chosen), *(["blocks"] if camera.blockiness else []))
    return Painting(image, labels, names, "cells" if scene.chance(0.5) else "nuclei", contents=contents)
