"""Budding yeast in brightfield and phase contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged
from cellbrook.training.synthetic._fields import blur, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import Stamped, ellipses, roughen, scatter, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]


def _budding(scene: Scene) -> tuple[Stamped, Field, int]:
    """Return round cells and their buds, each radius (N,) in px, and the number of objects."""
    d = scene.diameter
    n = max(4, scene.count(scene.log_uniform(0.03, 0.65)))
    radius = scene.vary(n, 0.52 * d, scene.uniform(0.06, 0.18))
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.95, 1.1), scene.uniform(0.2, 1.0))
    budding = np.flatnonzero(scene.rng.uniform(size=n) < scene.uniform(0.1, 0.6))
    bud = radius[budding] * scene.rng.uniform(0.3, 0.85, len(budding))
    toward = scene.turn(len(budding))
    reach = (radius[budding] + bud) * 0.97
    at = centres[budding] + np.stack([np.sin(toward), np.cos(toward)], axis=1) * reach[:, None]
    # a bud grows into free space, not into a neighbour
    mothers = stamp(scene.shape, centres, ellipses(radius, np.ones(n), np.zeros(n)), "nearest")
    tip = centres[budding] + (at - centres[budding]) * (1 + 0.4 * bud / reach)[:, None]
    tip = np.clip(np.rint(tip), 0, np.array(scene.shape) - 1).astype(np.intp)
    free = mothers.labels[tip[:, 0], tip[:, 1]] == 0
    at, bud, toward = at[free], bud[free], toward[free]
    radius = np.concatenate([radius, bud])
    centres = np.concatenate([centres, at])
    stretch = scene.vary(len(radius), scene.uniform(1.05, 1.3), 0.06)
    axis = np.concatenate([scene.turn(n), toward])
    table = roughen(scene.rng, ellipses(radius, np.maximum(stretch, 1), axis), 0.012, 2, 4)
    cells = stamp(scene.shape, centres.astype(np.float32), table, "nearest")
    return ragged(scene, cells, 0.01 * d), radius, len(radius)


def yeast_brightfield(scene: Scene) -> Painting:
    """Paint budding yeast: a dark or bright rim, halo, vacuoles; a bud is an object of its own."""
    d = scene.diameter
    cells, radius, n = _budding(scene)
    inside = cells.labels > 0
    mask = inside.astype(np.float32)
    rho = np.minimum(cells.rho, 1)
    depth = (1 - rho) * per_object(radius, cells.labels)  # px from the outline inwards
    contrast = scene.log_uniform(0.15, 0.8)
    rim_px = max(0.9, d * scene.uniform(0.03, 0.09))
    body_noise = smooth_noise(scene.rng, scene.shape, max(1.5, d * scene.uniform(0.08, 0.2)))
    own = per_object(scene.vary(n, 1.0, 0.2), cells.labels)

    light: Field
    if scene.chance(0.4):  # phase contrast: a dark body in a bright halo
        dome = blur((np.sqrt(1 - 0.8 * rho * rho) * own).astype(np.float32), rim_px * 0.5)
        near = d * scene.uniform(0.08, 0.2)
        light = -dome + np.float32(scene.uniform(0.6, 1.6)) * (
            0.6 * blur(dome, near) + 0.5 * blur(dome, 2.5 * near)
        )
        light += np.float32(scene.uniform(0, 1)) * np.where(inside, 0, blur(mask, near)).astype(np.float32)
    else:  # brightfield: the wall refracts, dark and bright rings that swap with the focus
        swap = np.float32(scene.choose_sign(0.6))
        ring = np.exp(-0.5 * ((depth - rim_px) / (0.7 * rim_px)) ** 2) * inside
        second = np.exp(-0.5 * ((depth - 3.2 * rim_px) / rim_px) ** 2) * inside
        halo = np.where(inside, 0, blur(mask, 1.3 * rim_px)) * 1.6
        light = swap * (scene.uniform(0.0, 0.9) * halo - ring + scene.uniform(0.0, 0.7) * second)
        light = light + np.float32(scene.uniform(-0.4, 0.5)) * np.where(
            inside, own * smoothstep(1 - rho, 0.1, 0.6), 0
        )
        light = blur(light, rim_px * 0.35)
    light = light + np.float32(scene.uniform(0.0, 0.25)) * np.where(inside, body_noise, 0)
    if scene.chance(0.6):  # vacuole: a round, mostly paler space in many cells
        holes = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.15, 0.3))
        hole = smoothstep(holes, 0.8, 1.2) * smoothstep(1 - rho, 0.15, 0.35)
        light = light + np.float32(scene.uniform(-0.3, 0.6)) * hole
    if scene.chance(0.4):
        dirt = specks(scene, int(scene.rng.integers(1, 10)), (0.5, max(0.8, 0.08 * d)), (0.1, 0.9))
        dirt = blur(dirt, 0.8)
        light = light + np.float32(scene.uniform(-1, 1)) * (dirt - 0.8 * blur(dirt, 0.1 * d + 1))
    uneven = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.7, 3) + 8)
    light = light + np.float32(scene.uniform(0, 0.06)) * uneven
    base = scene.uniform(0.25, 0.55)
    picture = np.maximum(base * (1 + contrast * light), 0.01).astype(np.float32)
    camera = transmission_camera(scene.rng, max(0.5, 0.03 * d), 0.4 * contrast * base)
    return Painting(expose(scene.rng, picture[None], camera), cells.labels, ("brightfield",), "cells")
