"""Shapes and inner parts that several families of whole cells share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, fluorescence_camera
from cellbrook.training.synthetic._fields import blur, smooth_noise, warp_index
from cellbrook.training.synthetic._nuclei import background, paint_nuclei, specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import (
    N_ANGLES,
    Stamped,
    angles,
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

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]


def cell_layout(scene: Scene, confluent: bool, coverage: float) -> tuple[Field, float]:
    """Return cell centres (N, 2) and the factor by which outlines should exceed the typical size."""
    d = scene.diameter
    if confluent:
        # the Voronoi cells of a lattice of this spacing have the area of the wanted disc
        spacing = d * float(np.sqrt(np.pi / 4 * 2 / np.sqrt(3)))
        return lattice(scene.rng, scene.shape, spacing, scene.uniform(0.1, 0.25)), scene.uniform(1.3, 1.6)
    n = max(4, scene.count(coverage))
    spacing = d * scene.uniform(0.65, 1.1)
    return scatter(scene.rng, scene.shape, n, spacing, scene.uniform(0, 0.9)), 1.0


def spread_outlines(
    scene: Scene, diameter: Field, longest: float, spiky: float, varied: bool = True
) -> Field:
    """Return radius tables (N, angles) of spread cells: spindles and polygons with thin processes.

    `longest` is the greatest elongation (`varied`) or the common one, `spiky` the chance of each of four
    processes.
    """
    n = len(diameter)
    elongation = 1 + (longest - 1) * (scene.rng.beta(1.3, 2.0, n) if varied else scene.rng.beta(4.0, 2.5, n))
    axis = scene.turn(n)
    if scene.chance(0.4 if varied else 0.6):  # cells of one field often lie along each other
        axis = (axis[0] + 0.25 * scene.rng.standard_normal(n)).astype(np.float32)
    round_ = ellipses(diameter / 2, elongation, axis)
    table = roughen(scene.rng, round_, scene.uniform(0.03, 0.14), 2, 7)
    long_and_thin = scene.chance(0.3)
    for k in range(4):
        at = axis + (k % 2) * np.pi + scene.rng.normal(0, 0.25 if k < 2 else 1.2, n)
        height = np.where(
            scene.rng.uniform(size=n) < spiky, scene.rng.gamma(2.0, 0.8 if long_and_thin else 0.45, n), 0
        )
        width = scene.rng.uniform(0.06, 0.14, n) if long_and_thin else scene.rng.uniform(0.08, 0.3, n)
        table = bump(table, at.astype(np.float32), width, height, sharp=True)
    return keep_area(np.minimum(table, 1.8 * diameter[:, None]), round_)


def ragged(scene: Scene, stamped: Stamped, amplitude: float) -> Stamped:
    """Return the same objects with unevenly displaced outlines, by about `amplitude` px."""
    rows, columns = warp_index(scene.rng, scene.shape, scene.diameter * scene.uniform(0.25, 0.6), amplitude)
    return Stamped(stamped.labels[rows, columns], stamped.rho[rows, columns])


def inner_nuclei(scene: Scene, cells: Stamped, centres: Field, share: float, outline: Field) -> Stamped:
    """Return one nucleus in most cells, about `share` of the typical diameter wide, stretched as its cell.

    `outline` (N, angles) holds the radii of the cells in px; nuclei are kept off their narrow sides.
    """
    n = len(centres)
    theta = angles()
    moment = (outline**2) @ np.exp(2j * theta) / np.maximum((outline**2).sum(axis=1), 1e-6)
    axis = np.angle(moment) / 2
    stretch = np.minimum(1 + 2.0 * np.abs(moment), 2.2) * scene.vary(n, 1.08, 0.06)
    across = ((axis + np.pi / 2 + np.pi) / (2 * np.pi) * N_ANGLES).astype(np.intp) % N_ANGLES
    narrow = outline[np.arange(n), across]
    radius = np.minimum(scene.vary(n, 0.5 * share * scene.diameter, 0.12), 0.85 * narrow * np.sqrt(stretch))
    turned = (axis + scene.rng.normal(0, 0.15, n)).astype(np.float32)
    table = roughen(scene.rng, ellipses(radius, stretch, turned), scene.uniform(0.005, 0.03))
    dented = np.where(scene.rng.uniform(size=n) < scene.uniform(0, 0.2), -scene.rng.uniform(0.1, 0.35, n), 0)
    table = keep_area(bump(table, scene.turn(n), 0.5, dented), table)
    moved = centres + scene.rng.normal(0, 0.05 * scene.diameter, (n, 2)).astype(np.float32)
    return stamp(scene.shape, moved, table, "front", owner=cells.labels)


def per_object(values: Field, labels: NDArray[np.int32], outside: float = 0.0) -> Field:
    """Return each pixel's object's value (Y, X), float32; `values` starts with label 1."""
    table = np.concatenate([[outside], values]).astype(np.float32)
    return table[labels]


def shuffled(scene: Scene, field: Field, labels: NDArray[np.int32]) -> Field:
    """Return `field` (Y, X) with another part of it in each object, so that texture ends at borders."""
    n = int(labels.max(initial=0)) + 1
    shift = scene.rng.integers(0, max(field.shape), (2, n))
    rows = np.arange(field.shape[0])[:, None] + shift[0][labels]
    columns = np.arange(field.shape[1])[None, :] + shift[1][labels]
    return np.asarray(field[rows % field.shape[0], columns % field.shape[1]], dtype=np.float32)


def nuclear_channel(
    scene: Scene, nuclei: Stamped, cells: Stamped, n: int, ceiling: float, mitotic: Field | None = None
) -> Field:
    """Return a nuclear stain (1, Y, X) in the number format of the other channel, whose ceiling is given.

    `mitotic` (N,) marks cells whose chromatin is condensed: brighter, in plates.
    """
    d = scene.diameter
    level = scene.vary(n, 0.5, scene.uniform(0.1, 0.35) if scene.chance(0.6) else scene.uniform(0.35, 0.8))
    if mitotic is not None:
        level = level * (1 + np.float32(scene.uniform(0.5, 3.0)) * mitotic)
    stain = paint_nuclei(scene, nuclei, np.concatenate([[0], level]).astype(np.float32))
    stain = blur(stain, d * (scene.uniform(0.005, 0.03) if scene.chance(0.75) else scene.uniform(0.03, 0.06)))
    ground = background(scene, stain, 0.6 * d)
    if scene.chance(0.5):  # dye or light from the cell's body: a haze as wide as the cell
        body = blur((cells.labels > 0).astype(np.float32), 0.06 * d)
        mottled = np.exp(0.3 * smooth_noise(scene.rng, scene.shape, 0.25 * d + 2))
        ground = ground + np.float32(scene.log_uniform(0.01, 0.12)) * body * mottled
    if scene.chance(0.25):  # debris takes the dye too
        dirt = specks(scene, int(scene.rng.integers(1, 12)), (0.5, max(0.8, 0.05 * d)), (0.1, 1.5))
        ground = ground + blur(dirt, 0.8)
    faintest = 0.4 * float(np.quantile(level, 0.1))
    camera = fluorescence_camera(scene.rng, max(0.5, 0.03 * d), faintest, float(ground.mean()))
    taken = expose(scene.rng, (stain + ground)[None].astype(np.float32), camera)
    return np.asarray(np.rint(taken * (ceiling / camera.ceiling)), dtype=np.float32)


def with_nuclei(
    scene: Scene, main: tuple[str, Field], stain: Field, cells: Stamped, nuclei: Stamped
) -> Painting:
    """Return the painting of cells with a nuclear channel, before or after the main one."""
    name, image = main
    planes, names = [image, stain], [name, "nuclei"]
    if scene.chance(0.5):
        planes, names = planes[::-1], names[::-1]
    return Painting(
        np.concatenate(planes).astype(np.float32), cells.labels, tuple(names), "cells", nuclei.labels
    )
