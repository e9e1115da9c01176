"""Organoids and spheroids in a gel, in brightfield."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged, shuffled
from cellbrook.training.synthetic._fields import blur, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import Stamped, bump, ellipses, keep_area, roughen, scatter, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]

HABITS = ("cystic", "dense", "budding", "mixed")


def _bodies(scene: Scene, habit: str) -> tuple[Stamped, int]:
    """Return organoids, the nearer ones in front, and how many were drawn."""
    d = scene.diameter
    n = max(3, scene.count(scene.log_uniform(0.03, 0.6)))
    round_ = ellipses(
        scene.vary(n, 0.5 * d, scene.uniform(0.1, 0.45)),
        1 + scene.uniform(0.05, 0.4) * scene.rng.beta(1.3, 2.5, n),
        scene.turn(n),
    )
    smooth = habit == "cystic" or scene.chance(0.3)
    table = roughen(scene.rng, round_, scene.uniform(0.004, 0.02) if smooth else scene.uniform(0.02, 0.09))
    if habit in ("budding", "mixed"):  # crypts, or one part that outgrew the other
        share = 0.9 if habit == "budding" else 0.4
        for _ in range(int(scene.rng.integers(2, 6))):
            height = np.where(scene.rng.uniform(size=n) < share, scene.rng.gamma(2.0, 0.18, n), 0)
            table = bump(table, scene.turn(n), scene.rng.uniform(0.15, 0.5, n), np.minimum(height, 1.1))
        table = keep_area(table, round_)
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.75, 1.3), scene.uniform(0, 0.8))
    bodies = stamp(scene.shape, centres, table, "front" if scene.chance(0.6) else "nearest")
    return ragged(scene, bodies, d * scene.uniform(0.002, 0.012)), n


def _matter(scene: Scene, bodies: Stamped, habit: str, n: int) -> Field:
    """Return how much light each pixel of the organoids takes away (Y, X); negative where it gathers some."""
    d = scene.diameter
    rho = np.minimum(bodies.rho, 1)
    inside = bodies.labels > 0
    hollow = {"cystic": 0.92, "dense": 0.06, "budding": 0.4}.get(habit, 0.5)
    is_hollow = per_object((scene.rng.uniform(size=n) < hollow).astype(np.float32), bodies.labels)
    # a wall of cells around a clear space: two lines that refract, dark without and bright within or the other way round
    wall = per_object(np.minimum(scene.vary(n, scene.uniform(0.06, 0.25), 0.4), 0.5), bodies.labels)
    within = smoothstep(rho - (1 - wall), -0.06, 0.06)
    lines = smoothstep(rho, 0.93, 1.0) - np.float32(scene.uniform(0.2, 1.0)) * np.exp(
        -0.5 * ((rho - (1 - wall)) / 0.05) ** 2
    )
    grain = fractal_noise(scene.rng, scene.shape, max(1.5, d * scene.uniform(0.05, 0.15)), 3)
    grain = shuffled(scene, grain, bodies.labels)
    cells = np.float32(scene.uniform(0.05, 0.35)) * grain
    thickness = np.sqrt(np.maximum(1 - rho * rho, 0))
    dark = per_object(scene.vary(n, scene.uniform(0.3, 1.3), scene.uniform(0.1, 0.5)), bodies.labels)
    solid = dark * (np.float32(0.35) + np.float32(0.65) * thickness) * (1 + cells)
    shell = np.float32(scene.uniform(0.15, 0.6)) * dark * within * (1 + cells)
    shell += np.float32(scene.uniform(0.0, 0.12)) * dark * (1 - within)
    if scene.chance(0.6):  # dead cells gather in the middle
        core = smoothstep(smooth_noise(scene.rng, scene.shape, 0.25 * d), 0.2, 1.0)
        core *= smoothstep(1 - rho, 0.3, 0.6)
        shell += np.float32(scene.uniform(0.1, 0.9)) * dark * core * (1 + 0.4 * grain)
    shell += np.float32(scene.choose_sign(0.8) * scene.uniform(0.1, 0.7)) * lines
    return np.where(inside, np.where(is_hollow > 0, shell, solid), 0).astype(np.float32)


def organoids(scene: Scene) -> Painting:
    """Paint organoids: hollow, dense or budding, at any depth of a gel; single cells and flecks are not labelled."""
    d = scene.diameter
    habit = str(scene.rng.choice(HABITS, p=[0.3, 0.25, 0.2, 0.25]))
    bodies, n = _bodies(scene, habit)
    inside = bodies.labels > 0
    taken = _matter(scene, bodies, habit, n)
    # each lies at a depth of its own
    off = scene.rng.uniform(size=n) < scene.rng.choice([0.0, scene.uniform(0.1, 0.6)], p=[0.4, 0.6])
    far = per_object(off.astype(np.float32), bodies.labels) > 0
    soft = d * scene.uniform(0.02, 0.07)
    taken = blur(np.where(far, 0, taken).astype(np.float32), max(0.5, 0.01 * d)) + blur(
        np.where(far, taken, 0).astype(np.float32), soft
    )
    # what an edge bends away from itself gathers beside it
    rim = max(0.8, d * scene.uniform(0.012, 0.04))
    mask = np.where(far, 0, inside).astype(np.float32)
    halo = blur(mask, rim) - blur(mask, 2.5 * rim)
    taken += np.float32(scene.choose_sign(0.7) * scene.uniform(0.2, 1.6)) * halo
    if scene.chance(0.5):  # others far above or below: shades without an edge
        ghosts = specks(scene, int(scene.rng.integers(1, 5)), (0.3 * d, 0.6 * d), (0.1, 0.5))
        taken += blur(ghosts, d * scene.uniform(0.15, 0.35))
    if scene.chance(0.7):  # single cells and flecks
        few = int(scene.rng.integers(2, 4 + min(120, scene.count(0.3))))
        dirt = blur(specks(scene, few, (max(0.6, 0.015 * d), max(0.9, 0.07 * d)), (0.1, 1.0)), 0.7)
        taken += np.float32(scene.uniform(0.3, 1.0)) * (dirt - np.float32(0.8) * blur(dirt, 0.06 * d + 0.5))
    gel = np.float32(scene.uniform(0, 0.08)) * fractal_noise(
        scene.rng, scene.shape, d * scene.uniform(0.2, 1), 3
    )
    shade = np.float32(scene.uniform(0, 0.2)) * smooth_noise(scene.rng, scene.shape, 0.7 * max(scene.shape))
    contrast = scene.log_uniform(0.15, 0.9)
    light = np.float32(scene.uniform(0.45, 0.75)) * np.exp(
        -np.float32(contrast) * taken + gel * contrast + shade
    )
    camera = transmission_camera(scene.rng, max(0.5, 0.02 * d), 0.08 * contrast)
    image = expose(scene.rng, light[None].astype(np.float32), camera)
    return Painting(image, bodies.labels, ("brightfield",), "cells")
