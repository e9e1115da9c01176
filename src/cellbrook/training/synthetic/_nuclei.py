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

MANNERS = ("smooth", "mottled", "spots", "holes", "coarse", "chromocentres", "nucleoli")


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
    table = bump(table, scene.turn(n), 0.5, depth)
    if scene.chance(0.3):  # lobed and blebbed ones
        odd = scene.rng.uniform(size=n) < scene.uniform(0.05, 0.5)
        for _ in range(3):
            height = np.where(odd, scene.rng.normal(0, 0.3, n).clip(-0.45, 0.6), 0)
            table = bump(table, scene.turn(n), scene.rng.uniform(0.25, 0.7, n), height)
    return keep_area(table, round_)


def chromatin(scene: Scene, rho: Field) -> Field:
    """Return the relative brightness (Y, X) inside nuclei: mean near 1, texture in one of several manners."""
    d = scene.diameter
    shape = rho.shape
    manner = scene.rng.choice(MANNERS, p=[0.18, 0.24, 0.14, 0.1, 0.12, 0.12, 0.1])
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
    elif manner == "chromocentres":  # the few round bright spots of mouse nuclei
        noise = smooth_noise(scene.rng, shape, max(1.3, d * scene.uniform(0.045, 0.11)))
        start = scene.uniform(0.9, 1.5)
        out += np.float32(scene.uniform(0.5, 3.0)) * smoothstep(noise, start, start + 0.5) * (rho < 0.92)
    elif manner == "nucleoli":  # one to few round dark places with an edge
        noise = smooth_noise(scene.rng, shape, max(1.5, d * scene.uniform(0.15, 0.3)))
        out *= 1 - np.float32(scene.uniform(0.3, 0.85)) * smoothstep(noise, 1.1, 1.4) * (rho < 0.8)
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


def _part(scene: Scene, table: Field, level: Field, centres: Field) -> tuple[Field, Field, Field]:
    """Turn a few nuclei into pairs of bright parallel plates (anaphase), each plate an object."""
    n = len(table)
    some = np.flatnonzero(scene.rng.uniform(size=n) < scene.uniform(0, 0.03))
    radius = np.sqrt((table[some] ** 2).mean(axis=1))
    axis = scene.turn(len(some))
    bars = roughen(scene.rng, ellipses(radius * 0.5, scene.vary(len(some), 2.4, 0.1), axis), 0.04)
    off = np.stack([np.cos(axis), -np.sin(axis)], axis=1) * (radius * scene.uniform(0.45, 0.9))[:, None]
    table, level, centres = table.copy(), level.copy(), centres.copy()
    table[some] = bars
    level[some] *= np.float32(scene.uniform(1.3, 2.5))
    twins = centres[some] - off
    centres[some] += off
    return (
        np.concatenate([table, bars]).astype(np.float32),
        np.concatenate([level, level[some]]).astype(np.float32),
        np.concatenate([centres, twins]).astype(np.float32),
    )


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


SCENES = ("ordinary", "unequal", "sparse", "crowded", "edge")


def fluo_nuclei(scene: Scene) -> Painting:
    """Paint fluorescent nuclei: dim beside bright, in and out of focus, touching, with unlabelled debris."""
    d = scene.diameter
    manner = str(scene.rng.choice(SCENES, p=[0.4, 0.2, 0.12, 0.16, 0.12]))
    n = max(4, scene.count(scene.log_uniform(0.035, 0.65)))
    if manner == "sparse":
        n = int(scene.rng.integers(1, 9))
    elif manner == "crowded":
        n = max(4, scene.count(scene.uniform(0.6, 0.95)))
    size = scene.vary(n, d, scene.uniform(0.05, 0.28))
    irregular = scene.uniform(0.005, 0.03) if scene.chance(0.7) else scene.uniform(0.03, 0.08)
    table = nucleus_outlines(scene, size, irregular)
    spread = scene.uniform(0.1, 0.4) if scene.chance(0.5) else scene.uniform(0.4, 0.9)
    middle = scene.uniform(0.3, 0.7)
    if manner == "unequal":  # most dim, few many times brighter
        spread, middle = scene.uniform(0.7, 1.1), scene.uniform(0.12, 0.3)
    level = np.maximum(scene.vary(n, middle, spread), np.float32(0.05))
    table, level = _divide(scene, table, level)
    loosest = 0.9 if manner == "crowded" else 1.15
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.7, loosest), scene.uniform(0, 0.9))
    table, level, centres = _part(scene, table, level, centres)
    if manner == "edge":  # a culture or tissue that ends within the field
        wide = smooth_noise(scene.rng, scene.shape, scene.uniform(0.3, 0.8) * max(scene.shape))
        at = np.clip(np.rint(centres), 0, np.array(scene.shape) - 1).astype(np.intp)
        there = wide[at[:, 0], at[:, 1]] < scene.uniform(-0.3, 0.5)
        there[0] = True
        table, level, centres = table[there], level[there], centres[there]
    n = len(level)
    # a third of the fields hold nuclei that press against each other with straight borders
    pressed = scene.chance(0.6 if manner == "crowded" else 0.4)
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
            (0.1, 8.0 if scene.chance(0.35) else 1.6),
        )
        picture += blur(dirt, scene.uniform(0.3, 1.2))
        if scene.chance(0.4):  # it glows
            picture += np.float32(scene.uniform(0.2, 1)) * blur(dirt, 0.15 * d + 1)
    if scene.chance(0.25):  # nuclei far below the focus: light without an edge, unlabelled
        ghosts = specks(scene, int(scene.rng.integers(1, 6)), (0.4 * d, 0.8 * d), (0.03, 0.25))
        picture += blur(ghosts, 0.4 * d)
    faintest = float(np.quantile(level, 0.1))
    camera = fluorescence_camera(scene.rng, max(0.5, 0.06 * d), faintest, float(ground.mean()))
    return Painting(expose(scene.rng, picture[None], camera), stamped.labels, ("nuclei",), "nuclei")
