"""Animal cells without stain: in phase contrast, relief (differential interference) contrast and brightfield."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import Camera, expose, transmission_camera
from cellbrook.training.synthetic._cells import (
    cell_layout,
    inner_nuclei,
    nuclear_channel,
    per_object,
    ragged,
    spread_outlines,
    with_nuclei,
)
from cellbrook.training.synthetic._fields import blur, fractal_noise, smooth_noise, smoothstep, warp_index
from cellbrook.training.synthetic._nuclei import specks
from cellbrook.training.synthetic._scene import Painting
from cellbrook.training.synthetic._shapes import Stamped, borders, ellipses, roughen, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.training.synthetic._scene import Scene

    Field = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class _Culture:
    """Cells of one field and how they sit on the dish.

    Attributes
    ----------
    cells, nuclei : Stamped
        A nucleus carries the label of its cell.
    rounded : ndarray of shape (N,), bool
        Cells rounded up: dividing, dying or in suspension.
    mitotic : ndarray of shape (N,), float32
        1 where the chromatin is condensed, else 0.
    habit : str
        One of `HABITS`.
    """

    cells: Stamped
    nuclei: Stamped
    rounded: NDArray[np.bool_]
    mitotic: Field
    habit: str


HABITS = ("sheet", "spindle", "round", "spread", "mixed")


def _islands(scene: Scene, centres: Field) -> Field:
    """Return the centres (N, 2) that lie in patches of a sheet whose free edges are smooth."""
    wide = smooth_noise(scene.rng, scene.shape, scene.diameter * scene.uniform(2, 6))
    at = np.clip(np.rint(centres), 0, np.array(scene.shape) - 1).astype(np.intp)
    kept = centres[wide[at[:, 0], at[:, 1]] < scene.uniform(-0.5, 1.2)]
    return kept if len(kept) else centres[len(centres) // 2 :][:1]


def _culture(scene: Scene) -> _Culture:
    """Draw the cells of one field, all of one habit or mixed."""
    d = scene.diameter
    habit = str(scene.rng.choice(HABITS, p=[0.3, 0.2, 0.12, 0.18, 0.2]))
    closed = habit == "sheet"
    densest = {"round": 0.75, "spindle": 0.9, "spread": 0.7}.get(habit, 0.85)
    centres, enlarge = cell_layout(scene, closed, scene.log_uniform(0.06, densest))
    if closed and scene.chance(0.55):
        centres = _islands(scene, centres)
    n = len(centres)
    longest = {"sheet": 1.6, "spindle": scene.uniform(3, 7), "round": 1.15, "spread": 1.7}.get(
        habit, scene.log_uniform(1.3, 5.0)
    )
    spiky = {"sheet": 0.08, "spindle": 0.25, "round": 0.0, "spread": scene.uniform(0.2, 0.7)}.get(
        habit, float(scene.rng.choice([0.05, scene.uniform(0.2, 0.8)]))
    )
    table = spread_outlines(
        scene, scene.vary(n, d * enlarge, scene.uniform(0.08, 0.3)), longest, spiky, habit != "spindle"
    )
    if habit == "spread":  # ruffled margins
        table = roughen(scene.rng, table, scene.uniform(0.02, 0.07), 5, 12)
    share = (
        1.0 if habit == "round" else scene.rng.choice([0.0, 0.05, scene.uniform(0.1, 0.5)], p=[0.3, 0.5, 0.2])
    )
    rounded = scene.rng.uniform(size=n) < share
    # spread cells that round up shrink; a field of round cells (suspension) has the typical size
    radius = scene.vary(n, (0.5 if habit == "round" else 0.36) * d, 0.12)
    discs = roughen(scene.rng, ellipses(radius, scene.vary(n, 1.1, 0.06), scene.turn(n)), 0.02)
    table = np.where(rounded[:, None], discs, table)
    mitotic = (rounded & (scene.rng.uniform(size=n) < 0.5) & (habit != "round")).astype(np.float32)
    cells = stamp(scene.shape, centres, table, "nearest")
    if habit in ("spindle", "mixed") and scene.chance(0.7):  # long cells are bent
        rows, columns = warp_index(
            scene.rng, scene.shape, d * scene.uniform(0.8, 1.6), d * scene.uniform(0.05, 0.14)
        )
        cells = Stamped(cells.labels[rows, columns], cells.rho[rows, columns])
    cells = ragged(scene, cells, d * scene.uniform(0.004, 0.025))
    nuclei = inner_nuclei(scene, cells, centres, scene.uniform(0.35, 0.62), table)
    return _Culture(cells, nuclei, rounded, mitotic, habit)


def _matter(scene: Scene, culture: _Culture) -> tuple[Field, Field]:
    """Return optical thickness (Y, X), about 1 in a cell's middle, and its fine texture (Y, X)."""
    d = scene.diameter
    cells, nuclei, n = culture.cells, culture.nuclei, len(culture.rounded)
    inside = cells.labels > 0
    rho = np.minimum(cells.rho, 1)
    dome = np.sqrt(np.maximum(1 - rho * rho, 0))
    lamella = np.float32(scene.uniform(0.2, 0.9))
    body = lamella + (1 - lamella) * dome ** scene.uniform(1.0, 3.0)
    body = body * per_object(scene.vary(n, 1.0, scene.uniform(0.05, 0.3)), cells.labels)

    if scene.chance(0.6):  # folds and swellings inside the cell
        folds = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.12, 0.35))
        body = body * np.exp(np.float32(scene.uniform(0.1, 0.4)) * folds * (rho < 0.95))
    if culture.habit == "spread" or scene.chance(0.15):  # ruffles: thick ridges along parts of the margin
        ridge = smoothstep(rho, 0.7, 0.88) * (1 - smoothstep(rho, 0.94, 1.0))
        where = smoothstep(smooth_noise(scene.rng, scene.shape, 0.3 * d), -0.2, 0.8)
        body = body + np.float32(scene.uniform(0.2, 1.0)) * ridge * where

    fine = max(1.2, d * scene.uniform(0.02, 0.045))
    central = smoothstep(1 - rho, 0.0, scene.uniform(0.2, 0.6))
    texture = np.float32(scene.uniform(0.03, 0.2)) * fractal_noise(
        scene.rng, scene.shape, d * scene.uniform(0.06, 0.2), 2
    )
    bright = smoothstep(smooth_noise(scene.rng, scene.shape, fine), scene.uniform(0.6, 1.2), 2.2)
    texture += np.float32(scene.uniform(0.0, 1.2)) * bright * central
    dark = smoothstep(smooth_noise(scene.rng, scene.shape, fine * 1.4), scene.uniform(0.9, 1.4), 2.2)
    texture -= np.float32(scene.uniform(0.0, 0.7)) * dark * central
    # the nucleus: quieter, with its own thickness, an envelope, and dense nucleoli
    core = nuclei.labels > 0
    texture = np.where(core, np.float32(scene.uniform(0.15, 0.8)) * texture, texture)
    envelope = smoothstep(nuclei.rho, 0.75, 0.97) * core
    nucleoli = smoothstep(smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.05, 0.09)), 1.0, 1.5)
    texture = texture + np.float32(scene.uniform(-0.1, 0.5)) * envelope
    texture = texture + np.float32(scene.uniform(0.0, 1.0)) * nucleoli * (core & (nuclei.rho < 0.8))
    height = 0.5 + 0.5 * np.sqrt(np.maximum(1 - nuclei.rho**2, 0))
    body = body + np.float32(scene.uniform(-0.2, 0.5)) * np.where(core, height, 0)
    return np.where(inside, body, 0).astype(np.float32), np.where(inside, texture, 0).astype(np.float32)


def _relief(
    scene: Scene, culture: _Culture, *, highest: float, groove: float, deep: float
) -> tuple[Field, Field]:
    """Return optical thickness and texture as `_matter`, rounded cells as balls, and grooves between cells of a sheet.

    `highest` is how much a ball may rise, `groove` half a groove's width in diameters, `deep` the least depth in a sheet.
    """
    d, cells = scene.diameter, culture.cells
    inside = cells.labels > 0
    body, texture = _matter(scene, culture)
    ball = per_object(culture.rounded.astype(np.float32), cells.labels) * inside
    dome = np.sqrt(np.maximum(1 - np.minimum(cells.rho, 1) ** 2, 0))
    body = body + (scene.uniform(0.5, highest) * ball * dome).astype(np.float32)
    # cells of a sheet thin out towards their neighbours: without a groove nothing would tell them apart
    cut = blur((borders(cells.labels) & inside).astype(np.float32), max(0.8, groove * d))
    least = deep if inside.mean() > 0.6 else 0.1
    return body * (1 - np.float32(scene.uniform(least, 1.0)) * np.minimum(cut * (1.2 + 0.05 * d), 1)), texture


def _dish(scene: Scene, light: Field, contrast: float) -> Field:
    """Return `light` with what lies on a culture dish: flecks, uneven ground."""
    d = scene.diameter
    if scene.chance(0.5):
        n = int(scene.rng.integers(1, 2 + min(150, scene.count(0.6))))
        dirt = specks(scene, n, (max(0.6, 0.015 * d), max(0.9, 0.06 * d)), (0.05, 0.7))
        dirt = blur(dirt, 0.6)
        dirt = dirt - np.float32(0.9) * blur(dirt, max(1.0, 0.06 * d))
        light = light + np.float32(contrast * scene.uniform(-1, 1)) * dirt
    uneven = smooth_noise(scene.rng, scene.shape, d * scene.uniform(0.5, 3) + 8)
    light = light + np.float32(contrast * scene.uniform(0, 0.08)) * uneven
    return np.asarray(np.maximum(np.float32(0.45) + light, np.float32(0.02)), dtype=np.float32)


def phase_cells(scene: Scene) -> Painting:
    """Paint animal cells in phase contrast, at times with a nuclear stain as second channel."""
    d = scene.diameter
    culture = _culture(scene)
    cells, rounded = culture.cells, culture.rounded
    inside = cells.labels > 0
    body, texture = _matter(scene, culture)
    edge = max(0.7, d * scene.uniform(0.012, 0.03))
    body = blur(body, edge)
    # thickness less its blurred self is what a phase ring does; the difference at the edge is the halo.
    # A narrow blur leaves outlines alone: bodies as grey as the ground, told apart by texture and seams.
    flat = scene.chance(0.35)
    near = d * (scene.log_uniform(0.015, 0.05) if flat else scene.log_uniform(0.03, 0.12))
    share = scene.uniform(0.8, 1.0) if flat else scene.uniform(0.45, 0.65)
    far = blur(body, near * scene.uniform(3, 6))
    relief = body - np.float32(scene.uniform(0.6, 1.0)) * (share * blur(body, near) + (1 - share) * far)
    texture = texture * np.float32(scene.uniform(1.0, 2.0) if flat else 1.0)
    sign = np.float32(scene.rng.choice([-1.0, -1.0, 1.0]))
    contrast = scene.log_uniform(0.12, 0.6)
    mask = inside.astype(np.float32)
    glow = np.where(inside, 0, blur(mask, near) + 0.5 * blur(mask, 2.5 * near))
    # a closed sheet has no ground between cells: its seams alone tell them apart
    least = 0.5 if flat or mask.mean() > 0.8 else 0.1
    seam = blur((borders(cells.labels) & inside).astype(np.float32), edge)
    light = sign * relief + np.float32(scene.uniform(0.2, 1.0)) * sign * blur(texture, 0.5)
    light += np.float32(scene.choose_sign(0.75) * scene.uniform(0.0, 0.9)) * glow.astype(np.float32)
    light += np.float32(scene.choose_sign(0.7) * scene.uniform(least, 1.2)) * seam
    # rounded cells are thick, hence bright whatever the sign, inside a dark ring
    ball = per_object(rounded.astype(np.float32), cells.labels) * inside
    dome = np.sqrt(np.maximum(1 - np.minimum(cells.rho, 1) ** 2, 0))
    shine = (ball * dome * scene.uniform(0.3, 2.5) * (1 + 0.5 * texture)).astype(np.float32)
    light = np.where(ball > 0, 0.3 * light, light) + shine - np.float32(0.9) * blur(shine, 0.08 * d)
    if rounded.any() and scene.chance(0.6):  # and the brightest halo of the field
        reach = d * scene.uniform(0.03, 0.07)
        light += np.where(ball > 0, 0, np.float32(scene.uniform(0.5, 2.5)) * blur(ball, reach))

    quiet = 0.2 if flat or scene.chance(0.6) else 0.45
    camera = transmission_camera(scene.rng, max(0.6, 0.025 * d), quiet * contrast)
    image = expose(scene.rng, _dish(scene, np.float32(contrast) * light, contrast)[None], camera)
    return _perhaps_with_nuclei(scene, ("phase", image), culture, camera)


def _perhaps_with_nuclei(
    scene: Scene, main: tuple[str, Field], culture: _Culture, camera: Camera
) -> Painting:
    if scene.chance(0.5):
        n = len(culture.rounded)
        stain = nuclear_channel(scene, culture.nuclei, culture.cells, n, camera.ceiling, culture.mitotic)
        return with_nuclei(scene, main, stain, culture.cells, culture.nuclei)
    return Painting(main[1].astype(np.float32), culture.cells.labels, (main[0],), "cells")


def dic(scene: Scene) -> Painting:
    """Paint animal cells in relief contrast: the slope of their thickness along one direction."""
    d = scene.diameter
    culture = _culture(scene)
    body, texture = _relief(scene, culture, highest=2.0, groove=0.02, deep=0.6)
    thick = blur(body, max(0.8, d * scene.uniform(0.015, 0.04)))
    thick = thick + np.float32(scene.uniform(0.05, 0.35)) * blur(texture, max(0.6, 0.012 * d))
    if scene.chance(0.4):
        n = int(scene.rng.integers(1, 2 + min(100, scene.count(0.4))))
        thick += blur(specks(scene, n, (max(0.6, 0.015 * d), max(0.9, 0.06 * d)), (0.05, 0.5)), 0.7)
    angle = scene.uniform(-np.pi, np.pi)
    slope_y, slope_x = np.gradient(thick)
    # slopes scale with 1/d: the same cell at twice the size rises half as steeply
    relief = (np.sin(angle) * slope_y + np.cos(angle) * slope_x) * np.float32(0.08 * d + 0.4)
    contrast = scene.log_uniform(0.15, 1.2)
    light = np.tanh(np.float32(contrast) * relief) * 0.45
    light += np.float32(scene.uniform(-0.06, 0.06)) * thick
    camera = transmission_camera(scene.rng, max(0.6, 0.025 * d), 0.15 * contrast)
    image = expose(scene.rng, _dish(scene, light.astype(np.float32), 0.2 * contrast)[None], camera)
    return _perhaps_with_nuclei(scene, ("dic", image), culture, camera)


def brightfield_cells(scene: Scene) -> Painting:
    """Paint animal cells in brightfield, a little out of focus.

    In focus they are all but clear. Off it, light gathers where their thickness curves one way and is missed where it curves
    the other (transport of intensity, Teague 1983), so that outlines are lines of one sign beside lines of the other.
    """
    d = scene.diameter
    culture = _culture(scene)
    body, texture = _relief(scene, culture, highest=2.5, groove=0.015, deep=0.5)
    thick = body + np.float32(scene.uniform(0.1, 0.7)) * texture
    focus = max(0.7, d * scene.log_uniform(0.008, 0.04))
    sharp, soft = blur(thick, focus), blur(thick, 2 * focus)
    curved = sharp - soft
    if scene.chance(0.4):  # farther off, a second pair of lines
        curved = curved - np.float32(scene.uniform(0.3, 0.9)) * (soft - blur(thick, 4 * focus))
    sign = np.float32(scene.choose_sign(0.5))
    contrast = scene.log_uniform(0.15, 0.8)
    light = np.float32(contrast * scene.uniform(0.7, 1.5)) * sign * curved
    light -= np.float32(contrast * scene.uniform(-0.02, 0.07)) * soft
    camera = transmission_camera(scene.rng, max(0.5, 0.02 * d), 0.05 * contrast)
    camera = replace(camera, shading=min(camera.shading, 0.3 * contrast))
    image = expose(scene.rng, _dish(scene, light.astype(np.float32), 0.4 * contrast)[None], camera)
    return _perhaps_with_nuclei(scene, ("brightfield", image), culture, camera)
