"""Fluorescent nuclei on a dark field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, fluorescence_camera
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._scene import Painting, Scene
from cellbrook.training.synthetic._shapes import (
    Stamped,
    borders,
    bump,
    ellipses,
    keep_area,
    roughen,
    scatter,
    stamp,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

MANNERS = ("smooth", "mottled", "spots", "holes", "coarse")


def nucleus_outlines(
    scene: Scene, diameter: NDArray[np.float32], irregular: float, longest: float = 2.0
) -> Field:
    """Return radius tables (N, angles) of nuclei with the given equivalent diameters in px."""
    n = len(diameter)
    longest = scene.uniform(1.15, longest)
    elongation = 1 + (longest - 1) * scene.rng.beta(1.5, 2.5, n)
    axis = scene.turn(n)
    if n and scene.chance(0.25):  # in many tissues and stretched cultures nuclei lie along each other
        axis = (axis[0] + scene.rng.normal(0, 0.35, n)).astype(np.float32)
    round_ = ellipses(diameter / 2, elongation, axis)
    table = roughen(scene.rng, round_, irregular)
    dented = scene.rng.uniform(size=n) < scene.uniform(0, 0.15)
    depth = np.where(dented, -scene.rng.uniform(0.1, 0.35, n), 0)
    return keep_area(bump(table, scene.turn(n), 0.5, depth), round_)


def chromatin(scene: Scene, rho: Field) -> Field:
    """Return the relative brightness (Y, X) inside nuclei: mean near 1, texture in one of several manners."""
    d = scene.diameter
    shape = rho.shape
    manner = scene.rng.choice(MANNERS, p=[0.2, 0.3, 0.2, 0.15, 0.15])
    fine = max(1.2, d * scene.uniform(0.05, 0.12))
    out = 1 + np.float32(scene.uniform(0.02, 0.12)) * smooth_noise(scene.rng, shape, fine)
    if manner == "mottled":
        out += np.float32(scene.uniform(0.1, 0.3)) * fractal_noise(scene.rng, shape, fine * 2.5, 2)
    elif manner == "spots":
        noise = smooth_noise(scene.rng, shape, max(1.3, d * scene.uniform(0.06, 0.13)))
        out += np.float32(scene.uniform(0.3, 1.3)) * smoothstep(noise, scene.uniform(0.9, 1.5), 2.6)
    elif manner == "holes":
        noise = smooth_noise(scene.rng, shape, max(1.5, d * scene.uniform(0.12, 0.22)))
        out -= np.float32(scene.uniform(0.25, 0.7)) * smoothstep(noise, 0.9, 1.8) * (rho < 0.75)
    elif manner == "coarse":
        noise = smooth_noise(scene.rng, shape, max(1.5, d * scene.uniform(0.15, 0.3)))
        out *= np.exp(np.float32(scene.uniform(0.25, 0.6)) * noise)
    if scene.chance(0.5):  # a dome rather than a slab
        out *= 1 - np.float32(scene.uniform(0.1, 0.7)) * np.minimum(rho, 1) ** 2
    elif scene.chance(0.2):  # chromatin along the envelope
        out *= 1 + np.float32(scene.uniform(0.1, 0.6)) * smoothstep(rho, 0.6, 0.95)
    return np.asarray(np.maximum(out, np.float32(0.05)), dtype=np.float32)


def paint_nuclei(scene: Scene, stamped: Stamped, brightness: Field) -> Field:
    """Return the light of nuclei (Y, X); `brightness` is 0 for the background, then one value an object."""
    own = brightness[stamped.labels]
    light = own * chromatin(scene, stamped.rho)
    return np.where(stamped.labels > 0, light, 0).astype(np.float32)


def _divide(scene: Scene, table: Field, brightness: Field) -> tuple[Field, Field]:
    """Turn a few nuclei into bright, narrow plates (metaphase) or small bright balls (dying cells)."""
    n = len(table)
    kind = scene.rng.uniform(size=n)
    plates, balls = kind < scene.uniform(0, 0.04), kind > 1 - scene.uniform(0, 0.08)
    radius = np.sqrt((table**2).mean(axis=1))
    bars = roughen(scene.rng, ellipses(radius * 0.62, scene.vary(n, 2.1, 0.15), scene.turn(n)), 0.06)
    table = np.where(plates[:, None], bars, table)
    table = np.where(balls[:, None], ellipses(radius * 0.55, scene.vary(n, 1.2, 0.1), scene.turn(n)), table)
    brightness = brightness * np.where(plates | balls, scene.vary(n, 2.2, 0.3), 1)
    return table, brightness.astype(np.float32)


def specks(scene: Scene, n: int, size: tuple[float, float], level: tuple[float, float]) -> Field:
    """Return the light (Y, X) of `n` unlabelled specks; radii and brightness log-uniform in the ranges."""
    if n == 0:
        return np.zeros(scene.shape, np.float32)
    radius = np.exp(scene.rng.uniform(np.log(size[0]), np.log(size[1]), n)).astype(np.float32)
    outline = roughen(scene.rng, ellipses(radius, scene.vary(n, 1.3, 0.25), scene.turn(n)), 0.2)
    centres = (scene.rng.uniform(0, 1, (n, 2)) * scene.shape).astype(np.float32)
    dirt = stamp(scene.shape, centres, outline)
    value = np.exp(scene.rng.uniform(np.log(level[0]), np.log(level[1]), n)).astype(np.float32)
    return np.concatenate([np.zeros(1, np.float32), value])[dirt.labels]


def background(scene: Scene, light: Field, reach: float) -> Field:
    """Return the haze (Y, X) of bright objects, about `reach` px wide, and the medium's own uneven glow."""
    glow = np.zeros(scene.shape, np.float32)
    if scene.chance(0.6):
        glow += np.float32(scene.log_uniform(0.03, 0.45)) * blur(light, reach * scene.uniform(0.3, 1.2))
    base = scene.log_uniform(0.002, 0.25)
    uneven = scene.uniform(0, 0.6) * smooth_noise(scene.rng, scene.shape, scene.uniform(1.5, 6) * reach + 20)
    if scene.chance(0.2):  # autofluorescent strands of what lies between
        strands = fibres(scene.rng, scene.shape, max(1.5, 0.15 * reach), 3 * reach)
        glow += np.float32(scene.log_uniform(0.003, 0.05)) * np.maximum(strands, 0)
    return np.asarray(glow + np.float32(base) * np.exp(uneven), dtype=np.float32)


def fluo_nuclei(scene: Scene) -> Painting:
    """Paint fluorescent nuclei: dim beside bright, in and out of focus, touching, with unlabelled debris."""
    d = scene.diameter
    coverage = scene.log_uniform(0.035, 0.65)
    n = max(4, scene.count(coverage))
    size = scene.vary(n, d, scene.uniform(0.05, 0.28))
    irregular = scene.uniform(0.005, 0.03) if scene.chance(0.7) else scene.uniform(0.03, 0.08)
    table = nucleus_outlines(scene, size, irregular)
    unequal = scene.uniform(0.1, 0.4) if scene.chance(0.5) else scene.uniform(0.4, 1.0)
    level = np.maximum(scene.vary(n, scene.uniform(0.3, 0.7), unequal), np.float32(0.05))
    table, level = _divide(scene, table, level)
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.75, 1.15), scene.uniform(0, 0.9))
    # a third of the fields hold nuclei that press against each other with straight borders
    pressed = scene.chance(0.4)
    stamped = stamp(scene.shape, centres, table, "nearest" if pressed else "front")

    values = np.concatenate([np.zeros(1, np.float32), level])
    light = paint_nuclei(scene, stamped, values)
    if pressed and scene.chance(0.6):  # nuclei thin out towards each other
        seam = blur((borders(stamped.labels) & (stamped.labels > 0)).astype(np.float32), 0.5 + 0.02 * d)
        light = light * (1 - np.float32(scene.uniform(0.2, 0.8)) * np.minimum(seam * (1.5 + 0.05 * d), 1))
    blurred_ones = scene.rng.uniform(size=n + 1) < scene.rng.choice([0.0, scene.uniform(0.05, 0.5)])
    far = blurred_ones[stamped.labels]
    if far.any():
        defocus = d * scene.uniform(0.04, 0.12)
        light = np.where(far, 0, light) + blur(np.where(far, light, 0).astype(np.float32), defocus)
    light = blur(light, scene.rng.choice([0.0, d * scene.uniform(0.01, 0.05)]))

    ground = background(scene, light, d)
    picture = light + ground
    if scene.chance(0.4):  # debris: small, bright, nobody's nucleus
        few = scene.count(0.02)
        small, large = max(0.5, 0.03 * d), max(0.7, 0.13 * d)
        dirt = specks(
            scene,
            int(scene.rng.integers(1, 4 + few)),
            (small, large),
            (0.1, 6.0 if scene.chance(0.25) else 1.6),
        )
        picture += blur(dirt, scene.uniform(0.3, 1.2))
    if scene.chance(0.25):  # nuclei far below the focus: light without an edge, unlabelled
        ghosts = specks(scene, int(scene.rng.integers(1, 6)), (0.4 * d, 0.8 * d), (0.03, 0.25))
        picture += blur(ghosts, 0.4 * d)
    faintest = float(np.quantile(level, 0.1))
    camera = fluorescence_camera(scene.rng, max(0.5, 0.06 * d), faintest, float(ground.mean()))
    return Painting(expose(scene.rng, picture[None], camera), stamped.labels, ("nuclei",), "nuclei")
