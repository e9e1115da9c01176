"""Microscopy images drawn by rule, with exact labels: for training, tests and demonstrations.

Each family imitates one kind of microscopy. Every call draws everything anew: how many objects, how large,
how bright, how sharp, how noisy, with which debris. No pixel comes from a real image.

The picture follows the optics where that is cheap: phase contrast is an object's optical thickness minus
its blurred self (which gives the halo), relief contrast its slope, brightfield its curvature; stained
sections follow Beer and Lambert's law.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.training.synthetic._bacteria import phase_bacteria
from cellbrook.training.synthetic._blood import blood_smear
from cellbrook.training.synthetic._cyto import cyto_fluo, membrane
from cellbrook.training.synthetic._cytology import cytology
from cellbrook.training.synthetic._empty import empty
from cellbrook.training.synthetic._fields import log_uniform
from cellbrook.training.synthetic._nuclei import fluo_nuclei
from cellbrook.training.synthetic._organoids import organoids
from cellbrook.training.synthetic._phase import brightfield_cells, dic, phase_cells
from cellbrook.training.synthetic._scene import Painting, Scene, Target
from cellbrook.training.synthetic._shapes import clean_labels, clean_nuclei
from cellbrook.training.synthetic._stained import he_tissue, ihc_tissue
from cellbrook.training.synthetic._volume import VolumeSample, spheres_3d
from cellbrook.training.synthetic._yeast import yeast_brightfield

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["FAMILIES", "VOLUME_FAMILIES", "Sample", "VolumeSample", "generate", "generate_volume"]

_PAINTERS: dict[str, Callable[[Scene], Painting]] = {
    "fluo_nuclei": fluo_nuclei,
    "phase_bacteria": phase_bacteria,
    "phase_cells": phase_cells,
    "cyto_fluo": cyto_fluo,
    "membrane": membrane,
    "he_tissue": he_tissue,
    "ihc_tissue": ihc_tissue,
    "cytology": cytology,
    "blood_smear": blood_smear,
    "yeast_brightfield": yeast_brightfield,
    "dic": dic,
    "brightfield_cells": brightfield_cells,
    "organoids": organoids,
    "empty": empty,
}
FAMILIES: tuple[str, ...] = tuple(_PAINTERS)
VOLUME_FAMILIES: tuple[str, ...] = ("spheres_3d",)


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated image and its labels.

    Attributes
    ----------
    image : ndarray of shape (C, Y, X), float32
        Camera units: whole numbers from 0 to 255, 4095 or 65535.
    labels : ndarray of shape (Y, X), uint16, or uint32 from 65,536 objects
        0 = background, 1..n = objects; each object is one 4-connected region of at least 10 pixels.
        All zero in the family "empty", and by chance in sparse fields.
    channel_names : tuple of str
        One name a channel; colour images have "red", "green", "blue".
    family : str
        One of `FAMILIES`.
    diameter_px : float
        The typical object diameter that was asked for or drawn, in px. Objects vary around it.
    target : {"nuclei", "cells"}
        What the labels outline.
    nuclei : ndarray of shape (Y, X), dtype of `labels`, or None
        Nuclei inside the cells of `labels`, with the ids of their cells; not every cell has one in the
        picture. None where nuclei are not to be seen, or are what `labels` outlines.
    contents : tuple of str
        What an image of the family "empty" shows: some of "noise", "glow", "defocus", "dust", "thread", "bubbles", "bar" and
        "texture" (gel, fibres), and "blocks" if it was compressed. Empty in other families.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint16 | np.uint32]
    channel_names: tuple[str, ...]
    family: str
    diameter_px: float
    target: Target
    nuclei: NDArray[np.uint16 | np.uint32] | None = None
    contents: tuple[str, ...] = ()


def generate(
    family: str, seed: int, size: int | tuple[int, int] = 256, diameter: float | None = None
) -> Sample:
    """Draw one image of a family.

    Parameters
    ----------
    family : str
        One of `FAMILIES`.
    seed : int
        Not negative. The same family, seed, size and diameter give the same sample; between NumPy versions
        or kinds of processor, rounding may move single pixels.
    size : int or tuple of int
        Side, or (Y, X), in px; at least 16.
    diameter : float, optional
        Typical object diameter in px, 4 to 400. Default: log-uniform between 10 and 60 px.

    Returns
    -------
    Sample

    Raises
    ------
    UsageError
        Unknown family, negative seed, or size or diameter out of range.

    Examples
    --------
    >>> sample = generate("fluo_nuclei", seed=3, size=64, diameter=15)
    >>> sample.image.shape, sample.labels.shape, sample.target
    ((1, 64, 64), (64, 64), 'nuclei')
    """
    if family not in _PAINTERS:
        raise UsageError(f"family must be one of {', '.join(FAMILIES)}; got {family!r}")
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise UsageError(f"size must be at least 16 px a side; got {height} x {width}")
    rng, diameter = _start(family, seed, diameter, (10, 60))
    margin = 8 + round(min(diameter, 60.0))
    painting = _PAINTERS[family](Scene(rng, (height + 2 * margin, width + 2 * margin), diameter))
    inner = (slice(margin, margin + height), slice(margin, margin + width))
    labels = clean_labels(painting.labels[inner])
    nuclei = painting.nuclei
    return Sample(
        image=np.ascontiguousarray(painting.image[(slice(None), *inner)], dtype=np.float32),
        labels=labels,
        channel_names=painting.channel_names,
        family=family,
        diameter_px=diameter,
        target=painting.target,
        nuclei=None if nuclei is None else clean_nuclei(nuclei[inner], painting.labels[inner], labels),
        contents=painting.contents,
    )


def generate_volume(
    family: str = "spheres_3d",
    seed: int = 0,
    shape: tuple[int, int, int] = (24, 96, 96),
    diameter: float | None = None,
    anisotropy: float = 1.0,
) -> VolumeSample:
    """Draw one stack.

    Parameters
    ----------
    family : str
        One of `VOLUME_FAMILIES`.
    seed : int
        Not negative; as for `generate`.
    shape : tuple of int
        (Z, Y, X): at least one plane and 16 px a side.
    diameter : float, optional
        Typical object diameter in Y and X, in px, 4 to 400. Default: log-uniform between 10 and 30 px.
    anisotropy : float
        Distance of planes over the pixel size in Y and X, 0.2 to 20.

    Returns
    -------
    VolumeSample

    Raises
    ------
    UsageError
        Unknown family, negative seed, or shape, diameter or anisotropy out of range.

    Examples
    --------
    >>> sample = generate_volume(seed=1, shape=(8, 48, 64), diameter=14, anisotropy=2)
    >>> sample.image.shape, sample.labels.shape
    ((1, 8, 48, 64), (8, 48, 64))
    """
    if family not in VOLUME_FAMILIES:
        raise UsageError(f"family must be one of {', '.join(VOLUME_FAMILIES)}; got {family!r}")
    depth, height, width = shape
    if depth < 1 or min(height, width) < 16:
        raise UsageError(f"shape must be (Z, Y, X) with at least 1 x 16 x 16 voxels; got {shape}")
    if not 0.2 <= anisotropy <= 20:
        raise UsageError(f"anisotropy must lie between 0.2 and 20; got {anisotropy}")
    rng, diameter = _start(family, seed, diameter, (10, 30))
    image, labels = spheres_3d(Scene(rng, (height, width), diameter), depth, anisotropy)
    return VolumeSample(image, labels, ("nuclei",), family, diameter, anisotropy)


def _start(
    family: str, seed: int, diameter: float | None, usual_px: tuple[float, float]
) -> tuple[np.random.Generator, float]:
    """Return the random numbers of this seed, and the diameter in px, drawn where none is given."""
    if seed < 0:
        raise UsageError(f"seed must be 0 or more; got {seed}")
    if diameter is not None and not 4 <= diameter <= 400:
        raise UsageError(f"diameter must lie between 4 and 400 px; got {diameter}")
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(family.encode()), seed]))
    drawn = log_uniform(rng, *usual_px)
    return rng, drawn if diameter is None else float(diameter)
