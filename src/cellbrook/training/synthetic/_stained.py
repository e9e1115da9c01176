"""Stained sections in transmitted light, by the Beer-Lambert law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, transmission_camera
from cellbrook.training.synthetic._cells import per_object, ragged
from cellbrook.training.synthetic._fields import blur, fibres, fractal_noise, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import nucleus_outlines
from cellbrook.training.synthetic._scene import Painting, Scene
from cellbrook.training.synthetic._shapes import Stamped, borders, ellipses, roughen, scatter, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

RGB = ("red", "green", "blue")
# Optical densities of the two dyes in red, green and blue, relative to each other.
HEMATOXYLIN = (0.55, 0.76, 0.31)
VIOLET = (0.45, 0.88, 0.12)  # thionin-like dyes, used alone
EOSIN = (0.20, 0.90, 0.33)
ERYTHROCYTE = (0.08, 0.72, 0.66)
BROWN = (0.27, 0.57, 0.78)  # diaminobenzidine
RED = (0.15, 0.80, 0.58)  # other chromogens of antibodies


def dye(scene: Scene, typical: tuple[float, float, float], spread: float) -> NDArray[np.float32]:
    """Return a random stain vector (3,) near a typical one, of length 1."""
    vector = np.array(typical) * np.exp(spread * scene.rng.standard_normal(3))
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def transmit(density: list[tuple[Field, NDArray[np.float32]]], glass: NDArray[np.float32]) -> Field:
    """Return the light (3, Y, X) behind dyes of the given amounts (Y, X) and colours (3,)."""
    total = sum(amount[None] * colour[:, None, None] for amount, colour in density)
    return np.asarray(glass[:, None, None] * np.exp(-total), dtype=np.float32)


def _erythrocytes(scene: Scene, away: NDArray[np.bool_]) -> Field:
    """Return the amount of red-cell colour (Y, X): smooth discs without a nucleus, heaped in vessels."""
    d = scene.diameter * scene.uniform(0.55, 0.95)
    n = max(2, min(500, round(scene.log_uniform(0.02, 0.4) * away.size / (np.pi / 4 * d * d))))
    centres = scatter(scene.rng, scene.shape, n, 0.95 * d, scene.uniform(0.6, 1.0))
    table = roughen(
        scene.rng, ellipses(scene.vary(n, d / 2, 0.1), scene.vary(n, 1.15, 0.12), scene.turn(n)), 0.03
    )
    discs = stamp(scene.shape, centres, table, "nearest")
    pale = np.float32(scene.uniform(0, 0.5)) * smoothstep(1 - np.minimum(discs.rho, 1), 0.3, 0.9)
    amount = per_object(scene.vary(n, scene.uniform(0.5, 1.3), 0.15), discs.labels) * (1 - pale)
    return blur(np.where(away, amount, 0).astype(np.float32), 0.03 * d + 0.3)


def _dyes(
    scene: Scene, purple_only: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the colours (3,) of the nuclear dye, of the counterstain and of the light, each from wide ranges."""
    look = "violet" if purple_only and scene.chance(0.5) else "usual"
    blue = dye(scene, VIOLET if look == "violet" else HEMATOXYLIN, 0.12)
    if purple_only:
        pink = blue
    else:
        pink = dye(scene, EOSIN, 0.15)
        if scene.chance(0.35):  # sections all in purple: the two dyes hardly differ
            share = np.float32(scene.uniform(0.4, 0.85))
            pink = share * blue + (1 - share) * pink
    glass = np.clip(1 - np.abs(scene.rng.normal(0, 0.05, 3)), 0.7, 1)
    if scene.chance(0.25):  # a scanner's cast: lilac, cream, bluish or grey
        casts = (
            (0.72, 0.64, 0.84),
            (0.96, 0.92, 0.82),
            (0.85, 0.9, 0.97),
            (0.8, 0.8, 0.8),
            (0.95, 0.83, 0.9),
        )
        glass = glass * np.array(casts[int(scene.rng.integers(len(casts)))])
    return blue, pink.astype(np.float32), glass.astype(np.float32)


def _chromogen(scene: Scene, nuclei: Stamped, bodies: Stamped, grain: Field, ground: Field) -> Field:
    """Return how much of an antibody's dye there is (Y, X): in nuclei, cell bodies or borders of some cells."""
    d = scene.diameter
    n = int(max(nuclei.labels.max(initial=0), bodies.labels.max(initial=0)))
    positive = scene.rng.uniform(size=n) < scene.uniform(0.05, 0.95)
    level = scene.vary(n, scene.log_uniform(0.3, 1.8), scene.uniform(0.1, 0.5)) * positive
    where = scene.rng.choice(["nuclei", "bodies", "borders"], p=[0.5, 0.25, 0.25])
    if where == "nuclei":
        amount = per_object(level, nuclei.labels)
        amount = blur(amount, d * scene.uniform(0.015, 0.045))
    elif where == "bodies":
        left = 1 - np.float32(scene.uniform(0.3, 1.0)) * (nuclei.labels > 0)
        amount = blur(per_object(level, bodies.labels) * left, 0.04 * d)
    else:
        line = per_object(level, bodies.labels) * borders(bodies.labels)
        width = d * scene.uniform(0.02, 0.06)
        amount = blur(line.astype(np.float32), width) * np.float32(2.5 * width)
    amount = amount * np.exp(np.float32(scene.uniform(0.1, 0.5)) * grain)
    unspecific = np.float32(scene.log_uniform(0.005, 0.15)) * np.exp(0.5 * ground)
    return np.asarray(amount + unspecific, dtype=np.float32)


def he_tissue(scene: Scene) -> Painting:
    """Paint nuclei in a section stained with hematoxylin and eosin, or with a purple dye alone."""
    return _section(scene, antibody=False)


def ihc_tissue(scene: Scene) -> Painting:
    """Paint nuclei in a section where an antibody carries a dye, mostly brown, over pale blue nuclei."""
    return _section(scene, antibody=True)


def _section(scene: Scene, antibody: bool) -> Painting:
    d = scene.diameter
    n = max(4, scene.count(scene.log_uniform(0.04, 0.6) if scene.chance(0.75) else scene.uniform(0.5, 0.85)))
    size = scene.vary(n, d, scene.uniform(0.1, 0.3))
    table = nucleus_outlines(scene, size, scene.uniform(0.01, 0.09), 3.2)
    centres = scatter(scene.rng, scene.shape, n, d * scene.uniform(0.6, 1.1), scene.uniform(0, 0.7))
    stamped = ragged(scene, stamp(scene.shape, centres, table, "front"), d * scene.uniform(0.005, 0.035))
    inside = stamped.labels > 0
    rho = stamped.rho

    # --- ground: eosin fibres, gaps, basophilic cytoplasm
    purple_only = not antibody and scene.chance(0.25)
    ground = fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.3, 1.5), 4, scene.uniform(0.6, 0.9))
    strands = fibres(
        scene.rng, scene.shape, max(1.5, d * scene.uniform(0.08, 0.3)), d * scene.uniform(0.6, 2)
    )
    ground = (
        ground
        + scene.uniform(0, 0.9) * strands
        + 0.4 * fractal_noise(scene.rng, scene.shape, 0.15 * d + 2, 2)
    )
    amount = scene.uniform(0.03, 0.2) if purple_only or antibody else scene.log_uniform(0.15, 0.8)
    eosin: Field = amount * np.exp(scene.uniform(0.15, 0.5) * ground)
    gaps = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.4, 1.5))
    if scene.chance(0.6):
        low = scene.uniform(0.7, 1.8)
        eosin *= 1 - scene.uniform(0.5, 1.0) * smoothstep(gaps, low, low + scene.uniform(0.2, 0.6))
    bodies = ragged(scene, stamp(scene.shape, centres, table * np.float32(1.9), "nearest"), 0.12 * d)
    if scene.chance(0.45):  # cell bodies: each its own shade, with pale or dark seams between them
        shade = scene.vary(n, 1.0, scene.uniform(0.05, 0.35))
        body = blur(per_object(shade, bodies.labels, 1.0), 0.04 * d + 0.5)
        seam = blur(borders(bodies.labels).astype(np.float32), 0.03 * d + 0.5) * np.float32(0.04 * d + 1)
        eosin = eosin * body * np.exp(np.float32(scene.uniform(-1.2, 0.5)) * np.minimum(seam, 1))
    eosin = eosin * np.exp(np.float32(scene.uniform(0.03, 0.15)) * smooth_noise(scene.rng, scene.shape, 1.8))
    if scene.chance(0.3):  # clear space around nuclei
        around = smoothstep(blur(inside.astype(np.float32), 0.12 * d), 0.05, 0.5)
        eosin *= 1 - scene.uniform(0.2, 0.8) * around
    base = scene.log_uniform(0.03, 0.5) * (0.5 if purple_only or antibody else 1)
    basophil: Field = base * np.exp(
        0.6 * fractal_noise(scene.rng, scene.shape, d * scene.uniform(0.3, 1.5), 4)
    )

    # --- nuclei: from pale and hollow to nearly black
    dark = scene.vary(n, scene.uniform(0.7, 1.5), scene.uniform(0.15, 0.5))
    vesicular = scene.chance(0.3)  # a field of pale nuclei, with a fine rim and a nucleolus
    first, second = (2.5, 0.8) if vesicular else (0.6, scene.uniform(0.7, 4))
    hollow = scene.rng.beta(first, second, n).astype(np.float32)
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

    blue_dye, pink_dye, glass = _dyes(scene, purple_only)
    faded = scene.chance(0.6 if antibody else 0.2)
    strength = np.float32(scene.uniform(0.35, 0.8) if faded else scene.uniform(0.8, 1.7))
    hematoxylin = (basophil + chromatin).astype(np.float32) * strength
    stains = [(hematoxylin, blue_dye), (eosin * strength, pink_dye)]
    if antibody:
        stains = [
            (hematoxylin, blue_dye),
            (eosin * strength, blue_dye),
        ]  # the ground takes what blue there is
        colour = dye(scene, BROWN if scene.chance(0.8) else RED, 0.12)
        stains.append((_chromogen(scene, stamped, bodies, grain, ground), colour))
    elif scene.chance(0.3):
        red = _erythrocytes(scene, ~inside)
        stains = [(hematoxylin * (1 - 0.6 * np.minimum(red, 1) * ~inside), blue_dye), stains[1]]
        stains.append((red * strength, dye(scene, ERYTHROCYTE, 0.2)))
    light = transmit(stains, glass)
    camera = transmission_camera(scene.rng, max(0.5, 0.04 * d), 0.3, colour=True)
    return Painting(expose(scene.rng, light, camera), stamped.labels, RGB, "nuclei")
