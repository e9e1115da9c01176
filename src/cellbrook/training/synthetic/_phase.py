"""Adherent animal cells in phase contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import Camera, expose, fluorescence_camera, transmission_camera
from cellbrook.training.synthetic._fields import blur, fractal_noise, smooth_noise, smoothstep, warp_index
from cellbrook.training.synthetic._nuclei import background, nucleus_outlines, paint_nuclei, specks
from cellbrook.training.synthetic._scene import Painting, Scene
from cellbrook.training.synthetic._shapes import (
    Stamped,
    bump,
    ellipses,
    keep_area,
    lattice,
    roughen,
    scatter,
    stamp,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]


def cell_layout(scene: Scene, confluent: bool, coverage: float) -> tuple[NDArray[np.float32], float]:
    """Return cell centres (N, 2) and the factor by which outlines should exceed the typical size."""
    d = scene.diameter
    if confluent:
        # the Voronoi cells of a lattice of this spacing have the area of the wanted disc
        spacing = d * float(np.sqrt(np.pi / 4 * 2 / np.sqrt(3)))
        return lattice(scene.rng, scene.shape, spacing, scene.uniform(0.1, 0.25)), scene.uniform(1.25, 1.5)
    n = scene.count(coverage)
    spacing = d * scene.uniform(0.65, 1.1)
    return scatter(scene.rng, scene.shape, n, spacing, scene.uniform(0, 0.9)), 1.0


def spread_outlines(scene: Scene, diameter: NDArray[np.float32], longest: float, spiky: float) -> Field:
    """Return radius tables (N, angles) of spread cells: spindles and polygons with thin processes."""
    n = len(diameter)
    elongation = 1 + (longest - 1) * scene.rng.beta(1.3, 2.0, n)
    axis = scene.turn(n)
    if scene.chance(0.4):  # cells of one field often lie along each other
        axis = (axis[0] + 0.25 * scene.rng.standard_normal(n)).astype(np.float32)
    round_ = ellipses(diameter / 2, elongation, axis)
    table = roughen(scene.rng, round_, scene.uniform(0.03, 0.14), 2, 7)
    for k in range(4):
        at = axis + (k % 2) * np.pi + scene.rng.normal(0, 0.25 if k < 2 else 1.2, n)
        height = np.where(scene.rng.uniform(size=n) < spiky, scene.rng.gamma(2.0, 0.45, n), 0)
        table = bump(table, at.astype(np.float32), scene.rng.uniform(0.08, 0.3, n), height, sharp=True)
    return keep_area(np.minimum(table, 1.8 * diameter[:, None]), round_)


def borders(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return where a pixel's right or lower neighbour carries another label (Y, X)."""
    out = np.zeros(labels.shape, bool)
    out[:-1] |= labels[:-1] != labels[1:]
    out[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return out


def ragged(scene: Scene, stamped: Stamped, amplitude: float) -> Stamped:
    """Return the same objects with finely uneven outlines (coarse and fine displacement, px)."""
    rows, columns = warp_index(scene.rng, scene.shape, scene.diameter * scene.uniform(0.25, 0.6), amplitude)
    return Stamped(stamped.labels[rows, columns], stamped.rho[rows, columns])


def inner_nuclei(scene: Scene, cells: Stamped, centres: NDArray[np.float32], share: float) -> Stamped:
    """Return one nucleus in most cells, about `share` of the cell's diameter wide."""
    n = len(centres)
    size = scene.vary(n, share * scene.diameter, 0.12)
    table = nucleus_outlines(scene, size, 0.03)
    moved = centres + scene.rng.normal(0, 0.06 * scene.diameter, (n, 2)).astype(np.float32)
    return stamp(scene.shape, moved, table, "front", owner=cells.labels)


def phase_cells(scene: Scene) -> Painting:
    """Paint adherent cells in phase contrast, at times with a nuclear stain as second channel."""
    d = scene.diameter
    confluent = scene.chance(0.25)
    centres, enlarge = cell_layout(scene, confluent, scene.log_uniform(0.05, 0.8))
    n = len(centres)
    longest = 1.6 if confluent else scene.log_uniform(1.3, 5.0)
    spiky = 0.1 if confluent else float(scene.rng.choice([0.05, scene.uniform(0.2, 0.8)]))
    table = spread_outlines(scene, scene.vary(n, d * enlarge, scene.uniform(0.08, 0.3)), longest, spiky)
    round_share = scene.rng.choice([0.0, 0.04, scene.uniform(0.1, 1.0)], p=[0.3, 0.5, 0.2])
    rounded = scene.rng.uniform(size=n) < round_share
    discs = ellipses(scene.vary(n, 0.34 * d, 0.12), scene.vary(n, 1.1, 0.06), scene.turn(n))
    balls = roughen(scene.rng, discs, 0.03)
    table = np.where(rounded[:, None], balls, table)
    cells = stamp(scene.shape, centres, table, "nearest")
    cells = ragged(scene, cells, d * scene.uniform(0.005, 0.04))
    share = scene.uniform(0.3, 0.5)
    nuclei = inner_nuclei(scene, cells, centres, share)

    light = _transmitted(scene, cells, nuclei, rounded)
    camera = transmission_camera(scene.rng, max(0.6, 0.03 * d))
    image = expose(scene.rng, light[None], camera)
    names: tuple[str, ...] = ("phase",)
    if scene.chance(0.4):
        image = np.concatenate([image, _nuclear_channel(scene, nuclei, n, camera)])
        names = ("phase", "nuclei")
    return Painting(image, cells.labels, names, "cells")


def _nuclear_channel(scene: Scene, nuclei: Stamped, n: int, like: Camera) -> Field:
    level = np.concatenate([np.zeros(1, np.float32), scene.vary(n, 0.5, scene.uniform(0.1, 0.5))])
    stain = paint_nuclei(scene, nuclei, level)
    stain = blur(stain, scene.diameter * scene.uniform(0.005, 0.03))
    camera = fluorescence_camera(scene.rng, max(0.5, 0.03 * scene.diameter))
    taken = expose(scene.rng, (stain + background(scene, stain))[None], camera)
    # one file, one number format
    return np.asarray(np.rint(taken * (like.ceiling / camera.ceiling)), dtype=np.float32)


def _transmitted(scene: Scene, cells: Stamped, nuclei: Stamped, rounded: NDArray[np.bool_]) -> Field:
    """Return the light (Y, X) that passes: thickness less its blurred self, which is what makes the halo."""
    d = scene.diameter
    inside = cells.labels > 0
    rho = np.minimum(cells.rho, 1)
    ball = np.concatenate([[False], rounded])[cells.labels]
    dome = np.sqrt(np.maximum(1 - rho * rho, 0))
    lamella = np.float32(scene.uniform(0.1, 0.6))
    body = lamella + (1 - lamella) * dome ** scene.uniform(1.0, 3.0)
    body *= np.concatenate([np.zeros(1, np.float32), scene.vary(len(rounded), 1.0, 0.18)])[cells.labels]
    body = np.where(inside, body, 0).astype(np.float32)

    fine = max(1.2, d * scene.uniform(0.025, 0.05))
    grains = smoothstep(smooth_noise(scene.rng, scene.shape, fine), scene.uniform(0.6, 1.2), 2.4)
    dark_grains = smoothstep(smooth_noise(scene.rng, scene.shape, fine * 1.4), scene.uniform(0.9, 1.4), 2.4)
    mottled = fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.08, 0.2), 2)
    in_nucleus = nuclei.labels > 0
    near_centre = smoothstep(1 - rho, 0.0, scene.uniform(0.2, 0.6))
    body_texture = np.float32(scene.uniform(0.0, 0.9)) * grains * near_centre
    body_texture -= np.float32(scene.uniform(0.0, 0.5)) * dark_grains * near_centre
    body_texture += np.float32(scene.uniform(0.02, 0.16)) * mottled
    texture = np.where(inside, body_texture, 0)
    quiet = scene.uniform(0.2, 1.0)
    texture = np.where(in_nucleus, quiet * texture, texture)
    # the nucleus: its own thickness, an envelope, one or two dense nucleoli
    nucleus = np.where(in_nucleus, 0.5 + 0.5 * np.sqrt(np.maximum(1 - nuclei.rho**2, 0)), 0)
    envelope = np.where(in_nucleus, smoothstep(nuclei.rho, 0.7, 0.95), 0)
    nucleoli = smoothstep(smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.06, 0.1)), 1.1, 1.7)
    nucleoli = np.where(in_nucleus & (nuclei.rho < 0.8), nucleoli, 0)
    body += np.float32(scene.uniform(-0.15, 0.4)) * nucleus.astype(np.float32)
    texture = texture + scene.uniform(-0.1, 0.35) * envelope + scene.uniform(0, 0.7) * nucleoli
    # rounded cells are thick, hence bright, whatever the sign of the contrast
    shine = np.where(ball & inside, dome * scene.uniform(0.5, 2.0), 0).astype(np.float32)

    edge = max(0.8, d * scene.uniform(0.015, 0.04))
    body = blur(body, edge)
    halo_px = d * scene.log_uniform(0.05, 0.25)
    halo = scene.uniform(0.5, 1.0)
    relief = body - np.float32(halo) * (0.6 * blur(body, halo_px) + 0.4 * blur(body, 3 * halo_px))
    seam = blur((borders(cells.labels) & inside).astype(np.float32), edge)
    sign = scene.rng.choice([-1.0, -1.0, 1.0])
    contrast = scene.log_uniform(0.12, 0.8)
    light = sign * contrast * relief
    light += np.float32(contrast * scene.uniform(0.2, 1.0)) * blur(texture.astype(np.float32), 0.5) * sign
    light += np.float32(contrast * scene.uniform(-0.6, 0.9)) * seam
    light += shine - np.float32(0.9) * blur(shine, 0.12 * d)
    if scene.chance(0.5):  # grains and flecks on the dish
        n = int(scene.rng.integers(1, 2 + min(150, scene.count(0.6))))
        dirt = specks(scene, n, (max(0.6, 0.015 * d), max(0.9, 0.07 * d)), (0.03, 0.5))
        dirt = blur(dirt, 0.6)
        light += np.float32(scene.uniform(-1, 1)) * (dirt - np.float32(0.9) * blur(dirt, max(1.0, 0.06 * d)))
    uneven = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.3, 2))
    light += np.float32(scene.uniform(0, 0.03)) * uneven
    return np.asarray(np.maximum(np.float32(0.45) + light, np.float32(0.02)), dtype=np.float32)
