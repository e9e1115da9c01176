"""Rod-shaped bacteria in phase contrast and fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._camera import expose, fluorescence_camera, transmission_camera
from cellbrook.training.synthetic._fields import blur, smooth_noise, smoothstep
from cellbrook.training.synthetic._nuclei import background, specks
from cellbrook.training.synthetic._scene import Painting, Scene
from cellbrook.training.synthetic._shapes import Stamped, ellipses, scatter, stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]


def _capsule(
    along: Field, across: Field, half_length: Field, width: Field, waist: Field | float = 0.0
) -> Field:
    """Return the relative distance (1 on the outline) from rods with round ends; `waist` pinches the middle."""
    beyond = np.maximum(np.abs(along) - np.maximum(half_length - width / 2, 0), 0)
    here = width * (1 - waist * np.exp(-((along / (0.3 * width)) ** 2)))
    return np.asarray(2 * np.hypot(beyond, across) / here, dtype=np.float32)


def _waists(scene: Scene, length: Field, width: Field) -> Field:
    """Return how deeply each rod is pinched: the longest divide, yet count as one until they part."""
    dividing = (length > 3.2 * width) & (scene.rng.uniform(size=length.shape) < scene.uniform(0, 0.5))
    return np.where(dividing, scene.rng.uniform(0.1, 0.4, length.shape), 0).astype(np.float32)


def _colony(
    scene: Scene, stamped: Stamped, centre: NDArray[np.float64], radius: float, width: float, aspect: float
) -> Stamped:
    """Add rods packed side by side, as a brick wall bent by a smooth warp, inside a ragged disc."""
    height, breadth = scene.shape
    bend = scene.uniform(1.5, 4) * aspect * width
    strength = bend * scene.uniform(0.03, 0.2)
    # no rod whose middle lies in the disc may be cut off by the window
    window_px = radius + aspect * width + 3 * strength
    box = (
        slice(max(0, int(centre[0] - window_px)), min(height, int(centre[0] + window_px) + 1)),
        slice(max(0, int(centre[1] - window_px)), min(breadth, int(centre[1] + window_px) + 1)),
    )
    y, x = np.mgrid[box].astype(np.float32)
    if y.size == 0:
        return stamped
    angle = scene.uniform(-np.pi, np.pi)
    u = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
    v = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
    shape = (y.shape[0], y.shape[1])
    u = u + np.float32(strength) * smooth_noise(scene.rng, shape, bend)
    v = v + np.float32(strength) * smooth_noise(scene.rng, shape, bend)
    # neighbours are never quite level
    v = v + np.float32(width * scene.uniform(0.08, 0.22)) * smooth_noise(scene.rng, shape, 2.5 * width)

    pitch = width * (scene.uniform(1.0, 1.1) if scene.chance(0.65) else scene.uniform(1.1, 1.3))
    reach = 1.5 * window_px
    n_rows = int(2 * reach / pitch) + 2
    row = np.clip(np.floor((v + reach) / pitch).astype(np.intp), 0, n_rows - 1)
    # rods of one row one after the other: their ends, by cumulative length, shifted at random between rows
    per_row = int(2.6 * reach / (aspect * width)) + 4
    lengths = scene.vary(n_rows * per_row, aspect * width, 0.25).reshape(n_rows, per_row)
    lengths = np.maximum(lengths, 1.3 * width)
    ends = np.cumsum(lengths, axis=1) - 1.3 * reach - scene.rng.uniform(0, 2, (n_rows, 1)) * aspect * width
    stride = float(ends.max() - ends.min()) + 1e3
    flat = (ends + stride * np.arange(n_rows)[:, None]).ravel()
    index = np.searchsorted(flat, (u + stride * row).ravel()).reshape(shape)
    index = np.clip(index, 0, flat.size - 1)
    wide = scene.vary(flat.size, width, 0.05)
    half = (lengths.ravel() / 2).astype(np.float32)
    middle_u = (ends.ravel() - lengths.ravel() / 2).astype(np.float32)
    shift = scene.rng.uniform(-0.1, 0.1, flat.size).astype(np.float32) * np.float32(width)
    middle_v = (((np.arange(flat.size) // per_row) + 0.5) * pitch - reach).astype(np.float32) + shift
    gap = np.float32(scene.uniform(0.0, 0.12) * width)
    waist = _waists(scene, 2 * half, wide)
    rho = _capsule(u - middle_u[index], v - middle_v[index], half[index] - gap, wide[index], waist[index])
    ragged = radius * (0.75 + 0.25 * np.cos(3 * np.arctan2(middle_v, middle_u) + angle))
    member = np.hypot(middle_u, middle_v) < ragged * 0.85
    member &= scene.rng.uniform(size=flat.size) > scene.rng.choice([0.0, 0.08, 0.3], p=[0.6, 0.25, 0.15])
    # bacteria of one layer do not cross: a rod that lies on earlier ones is left out
    body = rho < 1
    size = np.bincount(index[body], minlength=flat.size)
    covered = np.bincount(index[body & (stamped.labels[box] > 0)], minlength=flat.size)
    member &= covered <= 0.06 * size
    window = stamped.rho[box]
    take = body & member[index] & (rho < window)
    first = int(stamped.labels.max()) + 1
    np.copyto(window, rho, where=take)
    np.copyto(stamped.labels[box], (first + index).astype(np.int32), where=take)
    return stamped


def _loose(scene: Scene, stamped: Stamped, n: int, width: float, aspect: float) -> Stamped:
    """Add single rods, some of them curved, anywhere."""
    first = int(stamped.labels.max()) + 1
    height, breadth = scene.shape
    length = np.maximum(scene.vary(n, aspect * width, 0.3), np.float32(1.3 * width))
    wide = scene.vary(n, width, 0.06)
    curve = scene.rng.normal(0, scene.uniform(0, 0.5), n)
    waist = _waists(scene, length, wide)
    for i, angle in enumerate(scene.turn(n).tolist()):
        reach = float(length[i]) / 2 + width
        cy, cx = scene.rng.uniform(0, height), scene.rng.uniform(0, breadth)
        box = (
            slice(max(0, int(cy - reach)), min(height, int(cy + reach) + 1)),
            slice(max(0, int(cx - reach)), min(breadth, int(cx + reach) + 1)),
        )
        y, x = np.ogrid[box]
        along = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)).astype(np.float32)
        across = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)).astype(np.float32)
        across = across + np.float32(curve[i] / length[i]) * along**2
        rho = _capsule(along, across, length[i] / 2, wide[i], waist[i])
        if (stamped.labels[box][rho < 1] > 0).mean() > 0.1:
            continue  # bacteria lie beside each other, hardly ever on top
        take = (rho < 1) & (rho < stamped.rho[box])
        np.copyto(stamped.rho[box], rho, where=take)
        np.copyto(stamped.labels[box], first + i, where=take)
    return stamped


def _filaments(scene: Scene, stamped: Stamped, n: int, width: float, length: float) -> Stamped:
    """Add long or comma-shaped cells that wind freely."""
    first = int(stamped.labels.max()) + 1
    winding = scene.log_uniform(0.3, 3.0)  # radians over the whole length
    for i in range(n):
        wide = float(scene.vary(1, width, 0.05)[0])
        steps = max(4, int(3 * length * scene.uniform(0.6, 1.5) / wide))
        turns = scene.rng.normal(0, 1, 4) @ np.array(
            [np.ones(steps), *(np.cos(k * np.linspace(0, np.pi, steps)) for k in (1, 2, 3))]
        )
        heading = scene.uniform(-np.pi, np.pi) + np.cumsum(turns) * winding / steps
        path = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1), axis=0) * (wide / 3)
        path += scene.rng.uniform(0, 1, 2) * scene.shape - path[steps // 2]
        low = np.maximum(np.floor(path.min(0) - wide).astype(int), 0)
        high = np.minimum(np.ceil(path.max(0) + wide).astype(int), scene.shape)
        if (high - low < 2).any():
            continue
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        y, x = np.ogrid[box]
        squared = np.full((high[0] - low[0], high[1] - low[1]), 1e9, np.float32)
        for cy, cx in path.tolist():
            np.minimum(squared, ((y - cy) ** 2 + (x - cx) ** 2).astype(np.float32), out=squared)
        rho = 2 * np.sqrt(squared) / np.float32(wide)
        if (stamped.labels[box][rho < 1.1] > 0).any():
            continue  # a winding cell does not cross another
        np.copyto(stamped.rho[box], rho, where=rho < 1)
        np.copyto(stamped.labels[box], first + i, where=rho < 1)
    return stamped


def _cocci(scene: Scene) -> Stamped:
    """Return spheres and short ovals: single, in pairs, chains or packs."""
    d = scene.diameter
    manner = scene.rng.choice(["single", "pairs", "chains", "packs"])
    coverage = scene.log_uniform(0.03, 0.75 if manner == "packs" else 0.4)
    n = scene.count(coverage)
    per = {"single": 1, "pairs": 2, "chains": int(scene.rng.integers(3, 9)), "packs": 1}[str(manner)]
    groups = max(1, n // per)
    clump = scene.uniform(0.7, 1.0) if manner == "packs" else 0.2
    centres = scatter(scene.rng, scene.shape, groups, 0.97 * d * (1 + 0.5 * (per - 1)), clump)
    heading = scene.turn(groups)
    parts = [centres]
    for _ in range(per - 1):
        ahead = np.stack([np.sin(heading), np.cos(heading)], axis=1) * np.float32(0.96 * d)
        parts.append(parts[-1] + ahead)
        heading = heading + scene.rng.normal(0, 0.35, groups).astype(np.float32)
    centres = np.concatenate(parts).astype(np.float32)
    n = len(centres)
    stretch = scene.vary(n, scene.uniform(1.02, 1.4), 0.06)
    table = ellipses(scene.vary(n, d / 2, scene.uniform(0.03, 0.12)), np.maximum(stretch, 1), scene.turn(n))
    return stamp(scene.shape, centres, table, "nearest")


def _rods(scene: Scene, width: float, aspect: float) -> Stamped:
    """Return rods: packed over the whole frame, in micro-colonies, or loose; at times with filaments."""
    stamped = Stamped(np.zeros(scene.shape, np.int32), np.full(scene.shape, 9, np.float32))
    extent = np.array(scene.shape)
    manner = scene.rng.choice(["lawn", "domains", "colonies", "loose"], p=[0.2, 0.21, 0.43, 0.16])
    if scene.chance(0.15):
        stamped = _filaments(
            scene, stamped, int(scene.rng.integers(1, 7)), width, width * scene.uniform(6, 20)
        )
    if manner == "lawn":
        stamped = _colony(scene, stamped, extent / 2, float(extent.max()), width, aspect)
    elif manner == "domains":  # patches of rods that lie along each other meet at all angles
        size = width * aspect * scene.log_uniform(1.2, 3.0)
        patches = float(extent.prod()) / (np.pi * size**2)
        for _ in range(max(1, min(60, round(patches * scene.uniform(1.5, 3.5))))):
            stamped = _colony(scene, stamped, scene.rng.uniform(0, 1, 2) * extent, size, width, aspect)
        fill = min(900, scene.count(scene.uniform(0.5, 1.2)))
        stamped = _loose(scene, stamped, fill, width, max(1.6, 0.7 * aspect))
    elif manner == "colonies":
        typical = width * aspect * scene.log_uniform(0.8, 4.0)
        room = float(extent.prod()) / (np.pi * typical**2)
        for _ in range(max(1, min(200, round(room * scene.log_uniform(0.1, 0.8))))):
            radius = typical * scene.log_uniform(0.6, 1.6)
            stamped = _colony(scene, stamped, scene.rng.uniform(0, 1, 2) * extent, radius, width, aspect)
    if manner == "loose" or (manner == "colonies" and scene.chance(0.6)):
        few = int(scene.rng.integers(1, 3 + min(400, scene.count(0.12))))
        if scene.chance(0.2):
            stamped = _filaments(scene, stamped, min(few, 60), width, width * aspect)
        else:
            stamped = _loose(scene, stamped, few, width, aspect)
    return stamped


def phase_bacteria(scene: Scene) -> Painting:
    """Paint rods in micro-colonies, at times cocci: dark with a bright halo, or fluorescent."""
    if scene.chance(0.12):
        width = scene.diameter
        stamped = _cocci(scene)
    else:
        aspect = scene.uniform(2.0, 6.0)
        # a rod of length a w has the area of a disc of the wanted diameter
        width = max(3.2, scene.diameter * float(np.sqrt(np.pi / 4 / (aspect - 0.2))))
        stamped = _rods(scene, width, aspect)
    rho = np.minimum(stamped.rho, 1)
    if scene.chance(0.25):
        return _fluorescent(scene, stamped, rho, width)
    return _phase(scene, stamped, rho, width)


def _phase(scene: Scene, stamped: Stamped, rho: Field, width: float) -> Painting:
    """Paint cells as a phase ring shows them; the lit gap between two dark neighbours may be a pixel wide."""
    inside = stamped.labels > 0
    values = scene.vary(int(stamped.labels.max()) + 1, 1.0, scene.uniform(0.02, 0.14))
    # from a slab of even grey to a dome
    steep = scene.log_uniform(2, 8)
    profile = np.maximum(1 - rho**steep * np.float32(scene.uniform(0.5, 1.0)), 0) ** np.float32(0.6)
    thickness = np.where(inside, values[stamped.labels] * profile, 0)
    # nucleoids: lighter places inside the rod
    noise = smooth_noise(scene.rng, scene.shape, 0.8 * width)
    uneven_inside = 0.35 if scene.chance(0.5) else 0.08
    thickness = thickness * (1 - np.float32(scene.uniform(0, uneven_inside)) * smoothstep(noise, 0.0, 1.6))
    if scene.chance(0.15):  # refractile granules
        grains = smoothstep(smooth_noise(scene.rng, scene.shape, max(1.2, 0.25 * width)), 1.6, 2.4)
        thickness = thickness * (1 - np.float32(scene.uniform(0.3, 0.9)) * grains)
    # in a strong phase ring colonies are hardly darker than the ground, and a glow around them outshines both
    glowing = scene.chance(0.4)
    if glowing or scene.chance(0.25):  # near the limit of resolution gaps are hardly lighter than neighbours
        soft = scene.uniform(0.14, 0.26) * width
    else:
        soft = min(scene.uniform(0.05, 0.15) * width, 0.4 + 0.07 * width)
    thickness = blur(thickness.astype(np.float32), soft)
    near = blur(thickness, width * scene.uniform(0.25, 0.8))
    wide = blur(thickness, width * (scene.uniform(1.2, 3.5) if glowing else scene.uniform(1.5, 7.0)))
    contrast = scene.uniform(0.35, 1.0)
    halo = scene.uniform(0.75, 1.02) if glowing else scene.log_uniform(0.15, 1.6)
    base = scene.uniform(0.25, 0.5)
    shared = scene.uniform(0.2, 0.8)
    light = base * (1 - contrast * (thickness - halo * 1.1 * ((1 - shared) * near + shared * wide)))
    if scene.chance(0.4):  # the outermost fringe: a thin bright line around single cells and colonies
        mask = blur(inside.astype(np.float32), 0.12 * width)
        light += base * contrast * scene.uniform(0.2, 0.9) * 4 * mask * (1 - mask) * ~inside
    light = np.maximum(light, np.float32(base * scene.uniform(0.02, 0.3)))
    uneven = smooth_noise(scene.rng, scene.shape, scene.log_uniform(2, 12) * width + 8)
    light = light * (1 + np.float32(scene.uniform(0, 0.05) * contrast) * uneven)
    if scene.chance(0.3):
        dirt = specks(scene, int(scene.rng.integers(1, 8)), (0.2 * width, 0.6 * width), (0.1, 0.5))
        dirt = blur(dirt, 0.8)
        light += scene.uniform(-0.6, 0.4) * (dirt - 0.8 * blur(dirt, width))
    if scene.chance(0.15):
        light = 2 * base - light  # negative phase: bright rods
    camera = transmission_camera(scene.rng, max(0.45, 0.09 * width), 0.3 * contrast * base)
    image = expose(scene.rng, np.maximum(light, 0)[None].astype(np.float32), camera)
    return Painting(image, stamped.labels, ("phase",), "cells")


def _fluorescent(scene: Scene, stamped: Stamped, rho: Field, width: float) -> Painting:
    """Paint the same rods as light on a dark field: filled, or as outlines (membrane dye)."""
    level = scene.vary(int(stamped.labels.max()) + 1, 0.5, scene.uniform(0.1, 0.6))[stamped.labels]
    body = np.sqrt(1 - 0.9 * rho * rho) if scene.chance(0.65) else 0.15 + smoothstep(rho, 0.4, 0.85)
    noise = smooth_noise(scene.rng, scene.shape, 0.5 * width)
    body = body * np.exp(np.float32(scene.uniform(0, 0.3)) * noise)
    light = np.where(stamped.labels > 0, level * body, 0).astype(np.float32)
    light = blur(light, scene.uniform(0.08, 0.2) * width)
    ground = background(scene, light, width)
    camera = fluorescence_camera(scene.rng, max(0.5, 0.12 * width), 0.2, float(ground.mean()))
    return Painting(
        expose(scene.rng, (light + ground)[None], camera), stamped.labels, ("fluorescence",), "cells"
    )
