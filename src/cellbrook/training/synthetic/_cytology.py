"""Smears of squamous cells in transmitted light: small dark nuclei in wide, thin, overlapping cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import nucleus_outlines, specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import bump, ellipses, keep_area, roughen, scatter, stamp
from cellbrook.training.synthetic._stained import EOSIN, HEMATOXYLIN, RGB, dye, transmit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]

CYAN = (0.85, 0.45, 0.28)  # the counterstain of young squamous cells


def _bodies(scene: Scene, wide: Field, centres: Field) -> tuple[Field, Field]:
    """Return what two counterstains absorb (Y, X): sheets that lie on each other and add up."""
    n = len(wide)
    elongation = 1 + scene.uniform(0.1, 0.9) * scene.rng.beta(1.5, 2.5, n)
    round_ = ellipses(wide / 2, elongation.astype(np.float32), scene.turn(n))
    table = roughen(scene.rng, round_, scene.uniform(0.02, 0.08), 2, 7)
    for _ in range(5):  # corners and straight sides
        table = bump(table, scene.turn(n), 0.3, scene.rng.normal(0, 0.15, n).clip(-0.3, 0.4))
    table = keep_area(table, round_)
    shade = scene.vary(n, scene.log_uniform(0.06, 0.55), scene.uniform(0.15, 0.5))
    layer = scene.rng.integers(0, 4, n)
    pink = scene.rng.uniform(size=n) < scene.uniform(0, 1)
    absorbed = [np.zeros(scene.shape, np.float32), np.zeros(scene.shape, np.float32)]
    for k in range(4):
        members = np.flatnonzero(layer == k)
        sheet = ragged(
            scene, stamp(scene.shape, centres[members], table[members], "front"), 0.07 * scene.diameter
        )
        rho = np.minimum(sheet.rho, 1)
        own = per_object(shade[members], sheet.labels)
        own = own * (1 + np.float32(scene.uniform(-0.3, 0.6)) * smoothstep(rho, 0.75, 0.98))
        own = own * (1 + np.float32(scene.uniform(0, 0.8)) * smoothstep(1 - rho, 0.4, 0.9))  # thicker inside
        folds = fibres(scene.rng, scene.shape, max(1.5, 0.12 * scene.diameter), 2 * scene.diameter)
        own = own * (1 + np.float32(scene.uniform(0, 0.5)) * smoothstep(folds, 1.0, 2.0))
        for c, wanted in enumerate((pink, ~pink)):
            mine = per_object(wanted[members].astype(np.float32), sheet.labels)
            absorbed[c] += (own * mine).astype(np.float32)
    grain = np.exp(
        np.float32(scene.uniform(0.03, 0.2)) * fractal_noise(scene.rng, scene.shape, 0.5 * scene.diameter, 3)
    )
    edge = scene.uniform(0.3, 1.2)
    return blur(absorbed[0] * grain, edge), blur(absorbed[1] * grain, edge)


def cytology(scene: Scene) -> Painting:
    """Paint a smear, in grey or in colours; what is labelled are the nuclei."""
    d = scene.diameter
    area = float(scene.shape[0] * scene.shape[1])
    ratio = scene.log_uniform(1.7, 6.5)
    n = round(scene.log_uniform(0.08, 1.3) * area / (np.pi / 4 * (d * ratio) ** 2))
    n = max(2, min(600, n))
    wide = np.minimum(scene.vary(n, d * ratio, scene.uniform(0.1, 0.35)), np.float32(0.8 * min(scene.shape)))
    centres = scatter(scene.rng, scene.shape, n, d * ratio * scene.uniform(0.35, 1.0), scene.uniform(0, 0.95))
    pink, cyan = _bodies(scene, wide, centres)

    here = np.flatnonzero(scene.rng.uniform(size=n) < scene.uniform(0.75, 1.0))
    size = scene.vary(len(here), d, scene.uniform(0.06, 0.28))
    off = scene.rng.normal(0, 0.1, (len(here), 2)).astype(np.float32) * wide[here, None]
    table = nucleus_outlines(scene, size, scene.uniform(0.01, 0.06))
    stamped = ragged(
        scene, stamp(scene.shape, centres[here] + off, table, "front"), d * scene.uniform(0.005, 0.03)
    )
    inside = stamped.labels > 0
    dark = scene.vary(len(here), scene.uniform(0.4, 1.5), scene.uniform(0.1, 0.4))
    texture = np.exp(
        np.float32(scene.uniform(0.05, 0.3))
        * smooth_noise(scene.rng, scene.shape, max(1.3, d * scene.uniform(0.06, 0.2)))
    )
    dome = 1 - np.float32(scene.uniform(0, 0.5)) * np.minimum(stamped.rho, 1) ** 2
    chromatin = np.where(inside, per_object(dark, stamped.labels) * texture * dome, 0).astype(np.float32)
    chromatin = blur(chromatin, max(0.3, d * scene.uniform(0.015, 0.07)))
    if scene.chance(0.5):  # grains and shreds
        few = int(scene.rng.integers(1, 40))
        chromatin += np.float32(scene.uniform(0.1, 0.8)) * blur(
            specks(scene, few, (0.03 * d, 0.15 * d), (0.2, 1.0)), 0.5
        )

    blue = dye(scene, HEMATOXYLIN, 0.12)
    glass = np.clip(1 - np.abs(scene.rng.normal(0, 0.05, 3)), 0.7, 1).astype(np.float32)
    light = transmit(
        [(chromatin, blue), (pink, dye(scene, EOSIN, 0.2)), (cyan, dye(scene, CYAN, 0.2))], glass
    )
    colour = scene.chance(0.35)
    if not colour:
        seen = np.abs(scene.rng.normal(1, 0.3, 3)).astype(np.float32)
        light = np.tensordot(seen / seen.sum(), light, 1)[None].astype(np.float32)
        names: tuple[str, ...] = ("brightfield",)
    else:
        names = RGB
    camera = transmission_camera(scene.rng, max(0.5, 0.05 * d), 0.25, colour=colour)
    return Painting(expose(scene.rng, light, camera), stamped.labels, names, "nuclei")
