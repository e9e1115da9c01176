"""Stained blood smears: white cells to find among red ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged
from cellbrook.training.synthetic._fields import blur, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import (
    Stamped,
    bump,
    ellipses,
    keep_area,
    roughen,
    scatter,
    stamp,
)
from cellbrook.training.synthetic._stained import RGB, dye, transmit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]

# Relative optical densities in red, green and blue.
NUCLEUS = (0.55, 0.80, 0.30)
CYTOPLASM = (0.65, 0.60, 0.35)
GRANULES = (0.20, 0.75, 0.50)
RED_CELL = (0.10, 0.70, 0.60)


def _white_cells(scene: Scene) -> tuple[Stamped, Field, Field]:
    """Return white cells, their centres (N, 2) and radii (N,) in px."""
    d = scene.diameter
    height, width = scene.shape
    n = max(1, round(scene.count(1.0) * scene.log_uniform(0.015, 0.2)))
    centres = scatter(scene.rng, scene.shape, n, 1.1 * d, scene.uniform(0, 0.5))
    # one cell near the middle, so that the smear's subject is in the picture
    centres[0] = np.array([height, width]) / 2 + scene.rng.normal(0, 0.12, 2) * min(height, width)
    radius = scene.vary(n, 0.5 * d, scene.uniform(0.03, 0.15))
    table = ellipses(radius, scene.vary(n, 1.1, 0.06), scene.turn(n))
    table = roughen(scene.rng, table, scene.uniform(0.005, 0.035), 2, 6)
    # neighbours in the smear press dents into them
    table = keep_area(bump(table, scene.turn(n), 0.5, -np.abs(scene.rng.normal(0, 0.06, n))), table)
    cells = stamp(scene.shape, centres, table, "nearest")
    return ragged(scene, cells, 0.012 * d), centres, radius


def _lobed_nuclei(scene: Scene, cells: Stamped, centres: Field, radius: Field) -> Stamped:
    """Return nuclei: round and large, kidney-shaped, a bent band, or of two to five lobes on an arc."""
    where: list[Field] = []
    tables: list[Field] = []
    owners: list[int] = []
    for i, (centre, r) in enumerate(zip(centres, radius.tolist(), strict=True)):
        kind = scene.rng.choice(["round", "kidney", "band", "lobed"], p=[0.3, 0.15, 0.15, 0.4])
        if kind in ("band", "lobed"):
            lobes = 7 if kind == "band" else int(scene.rng.integers(2, 6))
            start, span = scene.uniform(-np.pi, np.pi), scene.uniform(1.8, 4.6)
            turn = start + np.linspace(0, span, lobes)
            out = r * scene.uniform(0.3, 0.58)
            at = np.stack([np.sin(turn), np.cos(turn)], axis=1) * out
            wide = scene.uniform(0.22, 0.34) if kind == "band" else scene.uniform(0.26, 0.42)
            size = scene.vary(lobes, r * wide, 0.12)
            if scene.chance(
                0.7
            ):  # strands of chromatin hold the lobes together, mostly thick enough to be seen
                at = np.concatenate([at, (at[1:] + at[:-1]) / 2])
                size = np.concatenate([size, np.full(lobes - 1, r * scene.uniform(0.06, 0.24), np.float32)])
        else:
            at = scene.rng.normal(0, 0.08 * r, (1, 2))
            size = scene.vary(1, r * (scene.uniform(0.65, 0.92) if kind == "round" else 0.68), 0.05)
        table = roughen(
            scene.rng, ellipses(size, scene.vary(len(size), 1.2, 0.12), scene.turn(len(size))), 0.04
        )
        if kind == "kidney":
            table = bump(table, scene.turn(1), 0.55, -scene.uniform(0.3, 0.65))
        where.append(centre + at)
        tables.append(table)
        owners += [i + 1] * len(size)
    lobes_of = stamp(scene.shape, np.concatenate(where), np.concatenate(tables), "nearest")
    owner = np.array([0, *owners], np.int32)[lobes_of.labels]
    mine = (owner == cells.labels) & (owner > 0) & (cells.rho < 0.97)
    return Stamped(np.where(mine, owner, 0).astype(np.int32), np.where(mine, lobes_of.rho, 9))


def _red_cells(scene: Scene, away: NDArray[np.bool_]) -> Field:
    """Return the amount of red-cell stain (Y, X): discs with a pale middle, some overlapping, some ghosts."""
    d = scene.diameter * scene.uniform(0.5, 0.8)
    coverage = float(
        scene.rng.choice([0.0, scene.uniform(0.02, 0.2), scene.uniform(0.2, 0.75)], p=[0.15, 0.3, 0.55])
    )
    n = round(coverage * scene.shape[0] * scene.shape[1] / (np.pi / 4 * d * d))
    if n == 0:
        return np.zeros(scene.shape, np.float32)
    total = np.zeros(scene.shape, np.float32)
    pallor = scene.uniform(0.0, 0.8)
    ghost = scene.chance(0.25)  # lysed cells leave an outline only
    for _ in range(2):  # two layers: their stain adds up where they overlap
        m = max(1, n // 2)
        centres = scatter(scene.rng, scene.shape, m, 0.97 * d, 0.3)
        table = roughen(
            scene.rng, ellipses(scene.vary(m, d / 2, 0.08), scene.vary(m, 1.1, 0.08), scene.turn(m)), 0.02
        )
        discs = stamp(scene.shape, centres, table, "nearest")
        rho = np.minimum(discs.rho, 1)
        amount = per_object(scene.vary(m, 1.0, 0.12), discs.labels) * (
            1 - pallor * smoothstep(1 - rho, 0.3, 0.9)
        )
        if ghost:
            amount = amount * (0.1 + smoothstep(rho, 0.75, 0.95))
        total += amount.astype(np.float32)
    return np.asarray(np.where(away, total, 0), dtype=np.float32)


def blood_smear(scene: Scene) -> Painting:
    """Paint a Giemsa-like smear; white cells are the objects, red cells and platelets are not."""
    d = scene.diameter
    cells, centres, radius = _white_cells(scene)
    nuclei = _lobed_nuclei(scene, cells, centres, radius)
    n = len(radius)
    inside, core = cells.labels > 0, nuclei.labels > 0

    red = _red_cells(scene, ~inside) * np.float32(scene.log_uniform(0.08, 0.9))
    # a thin bright line often separates a white cell from the red ones around it
    if scene.chance(0.5):
        red *= 1 - np.float32(scene.uniform(0.3, 1)) * np.minimum(
            2 * blur(inside.astype(np.float32), 0.03 * d), 1
        )
    fine = max(1.2, d * scene.uniform(0.02, 0.05))
    chromatin = smooth_noise(scene.rng, scene.shape, max(1.5, d * scene.uniform(0.05, 0.1)))
    nucleus = per_object(scene.vary(n, scene.uniform(0.9, 2.0), 0.15), nuclei.labels)
    nucleus = nucleus * np.exp(np.float32(scene.uniform(0.05, 0.3)) * chromatin)
    plasm = per_object(scene.vary(n, scene.log_uniform(0.1, 0.6), 0.25), cells.labels) * ~core
    plasm = plasm * np.exp(0.2 * fractal_noise(scene.rng, scene.shape, 0.15 * d, 2))
    if scene.chance(0.4):  # a darker cell border
        plasm = plasm * (1 + np.float32(scene.uniform(0.2, 1.2)) * smoothstep(cells.rho, 0.8, 1.0))
    spots = smoothstep(smooth_noise(scene.rng, scene.shape, fine), scene.uniform(0.2, 1.0), 1.8)
    granular = per_object(scene.rng.gamma(0.7, 0.35, n), cells.labels) * spots * ~core
    granular = granular + 0.15 * per_object(scene.rng.gamma(0.7, 0.5, n), cells.labels) * ~core
    soft = max(0.6, d * scene.uniform(0.008, 0.025))
    platelets = np.zeros(scene.shape, np.float32)
    if scene.chance(0.4):
        m = int(scene.rng.integers(1, 12))
        outline = roughen(
            scene.rng, ellipses(scene.vary(m, 0.06 * d, 0.3), scene.vary(m, 1.3, 0.2), scene.turn(m)), 0.1
        )
        bits = stamp(scene.shape, (scene.rng.uniform(0, 1, (m, 2)) * scene.shape).astype(np.float32), outline)
        platelets = (scene.uniform(0.2, 0.8) * (bits.labels > 0) * ~inside).astype(np.float32)

    purple = dye(scene, NUCLEUS, 0.15)
    grey_blue, pink = dye(scene, CYTOPLASM, 0.2), dye(scene, GRANULES, 0.25)
    red_dye = dye(scene, RED_CELL, 0.3)
    stains = [
        (blur((nucleus * core).astype(np.float32) + platelets, soft), purple),
        (blur(plasm.astype(np.float32), soft), grey_blue),
        (blur(granular.astype(np.float32), soft), pink),
        (blur(red, soft), red_dye),
    ]
    tint = scene.rng.choice(["white", "grey", "yellow", "pink"], p=[0.3, 0.2, 0.3, 0.2])
    glass = {
        "white": np.array([0.98, 0.97, 0.97]),
        "grey": np.full(3, scene.uniform(0.6, 0.9)),
        "yellow": np.array([0.97, scene.uniform(0.75, 0.95), scene.uniform(0.35, 0.75)]),
        "pink": np.array([0.95, scene.uniform(0.7, 0.9), scene.uniform(0.75, 0.95)]),
    }[str(tint)] * np.exp(scene.rng.normal(0, 0.02, 3))
    light = transmit(stains, glass.astype(np.float32))
    if scene.chance(0.5):  # plasma: a faint mottled film
        film = fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.1, 0.6), 2)
        light *= np.exp(-np.float32(scene.uniform(0.005, 0.04)) * film)[None]
    camera = transmission_camera(scene.rng, max(0.5, 0.025 * d), 0.3, colour=True)
    return Painting(expose(scene.rng, light, camera), cells.labels, RGB, "cells", nuclei.labels)
