"""Whole cells in fluorescence: stained cytoplasm and stained membranes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, fluorescence_camera
from cellbrook.training.synthetic._cells import (
    cell_layout,
    inner_nuclei,
    nuclear_channel,
    per_object,
    ragged,
    shuffled,
    spread_outlines,
    with_nuclei,
)
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import background, specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import Stamped, borders, ellipses, lattice, roughen, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]


def _finish(scene: Scene, light: Field, cells: Stamped, nuclei: Stamped, n: int, name: str) -> Painting:
    """Take the picture of `light`, with a nuclear channel half of the time."""
    ground = background(scene, light, 0.8 * scene.diameter)
    camera = fluorescence_camera(scene.rng, max(0.5, 0.03 * scene.diameter), 0.15, float(ground.mean()))
    image = expose(scene.rng, (light + ground)[None], camera)
    if scene.chance(0.5):
        stain = nuclear_channel(scene, nuclei, cells, n, camera.ceiling)
        return with_nuclei(scene, (name, image), stain, cells, nuclei)
    return Painting(image, cells.labels, (name,), "cells")


def cyto_fluo(scene: Scene) -> Painting:
    """Paint cells with a stained cytoplasm: even, granular or fibrous, the nucleus dark, bright or hidden."""
    d = scene.diameter
    confluent = scene.chance(0.35)
    centres, enlarge = cell_layout(scene, confluent, scene.log_uniform(0.08, 0.85))
    n = len(centres)
    longest = scene.log_uniform(1.3, 3.5)
    table = spread_outlines(
        scene, scene.vary(n, d * enlarge, scene.uniform(0.08, 0.3)), longest, scene.uniform(0, 0.5)
    )
    cells = stamp(scene.shape, centres, table, "nearest")
    cells = ragged(scene, cells, d * scene.uniform(0.005, 0.05))
    nuclei = inner_nuclei(scene, cells, centres, scene.uniform(0.35, 0.6), table)
    rho = np.minimum(cells.rho, 1)

    unequal = scene.uniform(0.05, 0.3) if scene.chance(0.5) else scene.uniform(0.3, 0.4 if confluent else 0.7)
    # where cells cover everything, something must tell neighbours apart: a dim rim, a gap or a bright outline
    dim_rim = scene.uniform(0.4 if confluent else 0.0, 0.85)
    light = per_object(scene.vary(n, 0.5, unequal), cells.labels)
    light = light * (1 - np.float32(dim_rim) * smoothstep(rho, 0.1, 1.0))
    grain = fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.06, 0.3), 3)
    grain = shuffled(scene, grain, cells.labels)
    light = light * np.exp(np.float32(scene.uniform(0.03, 0.35)) * grain)
    manner = scene.rng.choice(["even", "granules", "fibres", "vacuoles"], p=[0.35, 0.25, 0.15, 0.25])
    if manner == "granules":
        spots = smooth_noise(scene.rng, scene.shape, max(1.2, d * scene.uniform(0.03, 0.07)))
        light = light * (
            1 + np.float32(scene.uniform(0.4, 1.2 if confluent else 3)) * smoothstep(spots, 0.8, 2.2)
        )
    elif manner == "fibres":
        strands = fibres(
            scene.rng, scene.shape, max(1.3, d * scene.uniform(0.03, 0.07)), d * scene.uniform(0.4, 1.2)
        )
        strands = shuffled(scene, strands, cells.labels)
        light = light * np.exp(np.float32(scene.uniform(0.2, 0.6)) * strands)
    elif manner == "vacuoles":
        holes = smooth_noise(scene.rng, scene.shape, max(1.5, d * scene.uniform(0.06, 0.12)))
        light = light * (1 - np.float32(scene.uniform(0.3, 0.8)) * smoothstep(holes, 0.9, 1.5))
    core = nuclei.labels > 0
    soft = smoothstep(1 - nuclei.rho, 0.0, 0.15)
    change = scene.rng.choice([scene.uniform(-0.85, -0.3), 0.0, scene.uniform(0.2, 1.5)], p=[0.5, 0.25, 0.25])
    light = light * (1 + np.float32(change) * soft * core)
    if scene.chance(0.3):  # cortex or ruffles: the outline itself is brighter
        light = light * (1 + np.float32(scene.uniform(0.3, 1.5)) * smoothstep(rho, 0.8, 1.0))
    light = np.where(cells.labels > 0, light, 0).astype(np.float32)
    if scene.chance(0.8 if confluent else 0.25):  # thin dark gaps between neighbours
        gap = blur((borders(cells.labels) & (cells.labels > 0)).astype(np.float32), 0.5 + 0.015 * d)
        deep = np.float32(scene.uniform(0.5 if confluent else 0.2, 0.95))
        light = light * (1 - deep * np.minimum(gap * (1.5 + 0.04 * d), 1))
    light = blur(light, d * scene.uniform(0.005, 0.04))
    if scene.chance(0.3):
        dirt = specks(scene, int(scene.rng.integers(1, 12)), (0.5, max(0.8, 0.06 * d)), (0.1, 1.2))
        light = light + blur(dirt, 0.7)
    return _finish(scene, light, cells, nuclei, n, "cytoplasm")


def membrane(scene: Scene) -> Painting:
    """Paint a tissue by its cell borders, at times with gaps in the tissue and a nuclear channel."""
    d = scene.diameter
    spacing = d * float(np.sqrt(np.pi / 4 * 2 / np.sqrt(3)))
    centres = lattice(scene.rng, scene.shape, spacing, scene.uniform(0.08, 0.3))
    stretch = scene.log_uniform(1.0, 2.0)
    if scene.chance(0.4):
        hole = smooth_noise(scene.rng, scene.shape, d * scene.uniform(1.5, 4))
        at = np.clip(np.rint(centres), 0, np.array(scene.shape) - 1).astype(np.intp)
        centres = centres[hole[at[:, 0], at[:, 1]] < scene.uniform(0.3, 1.5)]
        if len(centres) == 0:
            centres = np.array(scene.shape, np.float32)[None] / 2
    n = len(centres)
    axis = np.full(n, scene.uniform(-np.pi, np.pi), np.float32)
    table = ellipses(scene.vary(n, 0.72 * d, scene.uniform(0.03, 0.2)), np.full(n, stretch), axis)
    cells = stamp(scene.shape, centres, roughen(scene.rng, table, 0.03), "nearest")
    cells = ragged(scene, cells, d * scene.uniform(0.02, 0.09))
    nuclei = inner_nuclei(scene, cells, centres, scene.uniform(0.4, 0.65), table)
    inside = cells.labels > 0

    width = max(0.6, d * scene.log_uniform(0.015, 0.07))
    line = borders(cells.labels)
    # staining differs from cell to cell and along each border
    along = np.exp(np.float32(scene.uniform(0.1, 0.6)) * fractal_noise(scene.rng, scene.shape, 0.5 * d, 3))
    own = per_object(scene.vary(n, 1.0, scene.uniform(0.05, 0.5)), cells.labels, 1.0)
    wall = blur((line * own * along).astype(np.float32), width) * np.float32(width * 2.5)
    if scene.chance(0.3):
        wall += np.float32(scene.uniform(0.2, 0.8)) * blur(wall, 2.5 * width)
    body = per_object(scene.vary(n, scene.log_uniform(0.02, 0.3), scene.uniform(0.1, 0.5)), cells.labels)
    body = body * np.exp(
        np.float32(scene.uniform(0.05, 0.4)) * fractal_noise(scene.rng, scene.shape, 0.2 * d, 2)
    )
    if scene.chance(0.3):
        spots = smooth_noise(scene.rng, scene.shape, max(1.2, 0.06 * d))
        body = body + np.float32(scene.uniform(0.05, 0.4)) * smoothstep(spots, 1.2, 2.4) * inside
    if scene.chance(0.35):
        core = smoothstep(1 - nuclei.rho, 0.0, 0.2) * (nuclei.labels > 0)
        body = body * (1 + np.float32(scene.uniform(-0.8, 0.8)) * core)
    light = np.float32(scene.uniform(0.4, 0.9)) * wall + blur(body.astype(np.float32), 0.6)
    return _finish(scene, light.astype(np.float32), cells, nuclei, n, "membrane")
