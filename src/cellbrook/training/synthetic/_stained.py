"""Stained sections in transmitted light, by the Beer-Lambert law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import nucleus_outlines
from cellbrook.training.synthetic._scene import Painting, Scene
from cellbrook.training.synthetic._shapes import borders, scatter, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

RGB = ("red", "green", "blue")
# Optical densities of the two dyes in red, green and blue, relative to each other.
HEMATOXYLIN = (0.55, 0.76, 0.31)
VIOLET = (0.45, 0.88, 0.12)  # thionin-like dyes, used alone
EOSIN = (0.20, 0.90, 0.33)


def dye(scene: Scene, typical: tuple[float, float, float], spread: float) -> NDArray[np.float32]:
    """Return a random stain vector (3,) near a typical one, of length 1."""
    vector = np.array(typical) * np.exp(spread * scene.rng.standard_normal(3))
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def transmit(density: list[tuple[Field, NDArray[np.float32]]], glass: NDArray[np.float32]) -> Field:
    """Return the light (3, Y, X) behind dyes of the given amounts (Y, X) and colours (3,)."""
    total = sum(amount[None] * colour[:, None, None] for amount, colour in density)
    return np.asarray(glass[:, None, None] * np.exp(-total), dtype=np.float32)


def he_tissue(scene: Scene) -> Painting:
    """Paint nuclei in a section stained with hematoxylin and eosin, or with a purple dye alone."""
    d = scene.diameter
    n = max(4, scene.count(scene.log_uniform(0.04, 0.6)))
    size = scene.vary(n, d, scene.uniform(0.1, 0.3))
    table = nucleus_outlines(scene, size, scene.uniform(0.01, 0.09), 3.2)
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.7, 1.1), scene.uniform(0, 0.7))
    stamped = ragged(scene, stamp(scene.shape, centres, table, "front"), d * scene.uniform(0.005, 0.035))
    inside = stamped.labels > 0
    rho = stamped.rho

    # --- ground: eosin fibres, gaps, basophilic cytoplasm
    purple_only = scene.chance(0.25)
    ground = fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.3, 1.5), 4, scene.uniform(0.6, 0.9))
    strands = fibres(
        scene.rng, scene.shape, max(1.5, d * scene.uniform(0.08, 0.3)), d * scene.uniform(0.6, 2)
    )
    ground = (
        ground
        + scene.uniform(0, 0.9) * strands
        + 0.4 * fractal_noise(scene.rng, scene.shape, 0.15 * d + 2, 2)
    )
    amount = scene.uniform(0.03, 0.2) if purple_only else scene.log_uniform(0.15, 0.8)
    eosin: Field = amount * np.exp(scene.uniform(0.15, 0.5) * ground)
    gaps = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.4, 1.5))
    if scene.chance(0.6):
        low = scene.uniform(0.7, 1.8)
        eosin *= 1 - scene.uniform(0.5, 1.0) * smoothstep(gaps, low, low + scene.uniform(0.2, 0.6))
    if scene.chance(0.45):  # cell bodies: each its own shade, with pale or dark seams between them
        bodies = ragged(scene, stamp(scene.shape, centres, table * np.float32(1.9), "nearest"), 0.12 * d)
        shade = scene.vary(n, 1.0, scene.uniform(0.05, 0.35))
        body = blur(per_object(shade, bodies.labels, 1.0), 0.04 * d + 0.5)
        seam = blur(borders(bodies.labels).astype(np.float32), 0.03 * d + 0.5) * np.float32(0.04 * d + 1)
        eosin = eosin * body * np.exp(np.float32(scene.uniform(-1.2, 0.5)) * np.minimum(seam, 1))
    eosin = eosin * np.exp(np.float32(scene.uniform(0.03, 0.15)) * smooth_noise(scene.rng, scene.shape, 1.8))
    if scene.chance(0.3):  # clear space around nuclei
        around = smoothstep(blur(inside.astype(np.float32), 0.12 * d), 0.05, 0.5)
        eosin *= 1 - scene.uniform(0.2, 0.8) * around
    base = scene.log_uniform(0.03, 0.5) * (0.5 if purple_only else 1)
    basophil: Field = base * np.exp(
        0.6 * fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.3, 1.5), 4)
    )

    # --- nuclei: from pale and hollow to nearly black
    dark = scene.vary(n, scene.uniform(0.7, 1.5), scene.uniform(0.15, 0.5))
    hollow = scene.rng.beta(0.6, scene.uniform(0.7, 4), n).astype(np.float32)
    hollow_of = np.concatenate([np.zeros(1, np.float32), hollow])[stamped.labels]
    fine = max(1.3, d * scene.uniform(0.06, 0.14))
    grain = smooth_noise(scene.rng, scene.shape, fine)
    clumps = smoothstep(smooth_noise(scene.rng, scene.shape, max(1.5, 0.1 * d)), 1.0, 1.8)
    rim = smoothstep(rho, 0.6, 0.92)
    inner = 1 - hollow_of * np.float32(0.75) * (1 - rim) + hollow_of * np.float32(0.7) * clumps
    inner *= np.exp(np.float32(scene.uniform(0.1, 0.35)) * grain * (0.5 + hollow_of))
    own = np.concatenate([np.zeros(1, np.float32), dark])[stamped.labels]
    chromatin: Field = np.where(inside, own * inner, 0).astype(np.float32)
    soft = scene.rng.uniform(size=n + 1) < scene.uniform(0, 0.3)
    far = soft[stamped.labels] & inside
    chromatin = np.where(far, 0, chromatin) + blur(np.where(far, chromatin, 0).astype(np.float32), 0.07 * d)
    chromatin = blur(chromatin, d * scene.uniform(0.015, 0.045))
    if scene.chance(0.4):  # nuclei cut off above or below the focus: shades, unlabelled
        few = int(scene.rng.integers(1, 2 + n // 3))
        ghosts = stamp(
            scene.shape,
            (scene.rng.uniform(0, 1, (few, 2)) * scene.shape).astype(np.float32),
            nucleus_outlines(scene, scene.vary(few, 0.8 * d, 0.3), 0.05),
        )
        shade = blur((ghosts.labels > 0).astype(np.float32), 0.2 * d)
        basophil = basophil + scene.uniform(0.1, 0.4) * shade
    # eosin recedes inside, but not up to the outline: a gap there would draw a bright ring that slides lack
    eosin = (eosin * (1 - scene.uniform(0.0, 0.7) * smoothstep(1 - rho, 0.1, 0.35))).astype(np.float32)

    violet = purple_only and scene.chance(0.5)
    blue_dye = dye(scene, VIOLET if violet else HEMATOXYLIN, 0.1)
    pink_dye = blue_dye if purple_only else dye(scene, EOSIN, 0.15)
    strength = np.float32(scene.uniform(0.8, 1.7))
    glass = np.clip(1 - np.abs(scene.rng.normal(0, 0.05, 3)), 0.7, 1).astype(np.float32)
    hematoxylin = (basophil + chromatin).astype(np.float32) * strength
    light = transmit([(hematoxylin, blue_dye), (eosin * strength, pink_dye)], glass)
    camera = transmission_camera(scene.rng, max(0.5, 0.04 * d), 0.3, colour=True)
    return Painting(expose(scene.rng, light, camera), stamped.labels, RGB, "nuclei")
