"""Pictures for people: contours over the image, and labels in colours that set neighbours apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.colors import label_colors
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import ImageError
from cellbrook.normalize import widened_to_few_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# sRGB. Any two differ by at least 21 (CIEDE2000), by 8.6 to red- and green-blind eyes, and all are bright
# enough (relative luminance above 0.47) to stand out from a dark image; found by search under these
# conditions.
PALETTE = np.array(
    [
        (225, 255, 0),
        (255, 150, 195),
        (0, 240, 255),
        (255, 165, 135),
        (60, 210, 45),
        (165, 180, 255),
        (255, 210, 120),
        (165, 255, 210),
    ],
    np.uint8,
)
# Halos are no brighter than this relative luminance: (0.47 + 0.05) / (0.10 + 0.05) is a contrast above 3.4.
_HALO_LUMINANCE = 0.10
# Objects across a gap of so many pixels count as neighbours too, when colours are given out.
_REACH_PX = 6

# Colours of channels that add up, none of them told apart by red against green alone.
_CHANNEL_COLORS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((1, 1, 1),),
    2: ((1, 0, 1), (0, 1, 0)),
    3: ((0, 0.75, 1), (1, 0, 0.75), (0.75, 0.75, 0)),
}
_MANY_CHANNELS = ((0, 0.6, 1), (1, 0, 0.6), (0.7, 0.7, 0), (0.4, 0.4, 0.4), (0.1, 0.9, 0.4), (0.9, 0.4, 0))
_SHOWN_PERCENTILES = (0.3, 99.7)
# A channel whose mean lies below this part of its range is shown with this exponent.
_DARK = 0.25
_GAMMA = 0.6
_SAMPLE = 1 << 17  # pixels that percentiles are taken from
_PANELS = 9  # planes of a stack that a picture shows
_GAP_PX = 4
# Beyond this side few programs open a PNG, and nobody sees its pixels.
_LARGEST_SIDE_PX = 8192


def image_rgb(
    image: NDArray[Any],
    *,
    channel_names: Sequence[str] = (),
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Return an image as one looks at it: stretched, several channels in colours.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X) or (Y, X)
        Raw pixels of any real type.
    channel_names : sequence of str
        "red", "green", "blue" (or no names and three channels of uint8) mean a colour picture, shown as it
        is.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    ndarray of shape (Y, X, 3), uint8
        sRGB. One channel is grey, from its 0.3rd to its 99.7th percentile. Of several, one in transmitted
        light (phase contrast, brightfield) is grey and the others add colour: magenta and green, or cyan,
        magenta and yellow.
    """
    image = np.asarray(image)
    planes = image[None] if image.ndim == 2 else image
    if planes.ndim != 3 or planes.size == 0:
        raise ImageError(f"a picture needs an image of shape (C, Y, X) or (Y, X), got {image.shape}")
    return _rendered(planes[None], channel_names, resolve_threads(threads))[0]


def overlay_rgb(
    image: NDArray[Any],
    labels: NDArray[Any],
    *,
    channel_names: Sequence[str] = (),
    line_width: int | None = None,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Draw the contour of every object over the image.

    Contours run inside their object, in bright colours that neighbours do not share. Where the image is
    bright, the pixels on both sides are darkened, so that a contour stands out (3:1 in luminance) on any
    image. Contours are not drawn along the edge of the image, where an object goes on unseen.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X) or (Y, X), with leading axes as in `labels` before C
        Raw pixels; see `image_rgb`.
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background. Of a stack, up to nine planes, evenly spaced, are shown side by side.
    channel_names : sequence of str
        See `image_rgb`.
    line_width : int or None
        Width of a contour in pixels. None: 1, and more for large images with large objects.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    ndarray of shape (Y, X, 3), uint8
        sRGB, at full resolution up to 8,192 pixels a side; of larger images every second pixel, or third, and so on.

    Raises
    ------
    ImageError
        If `image` does not fit `labels`.
    """
    labels, image = np.asarray(labels), np.asarray(image)
    step = overlay_step(labels.shape)
    if step > 1 and image.shape[-2:] == labels.shape[-2:]:
        labels, image = labels[..., ::step, ::step], image[..., ::step, ::step]
    labels = _dense(labels)
    if image.shape == labels.shape:
        image = image[..., None, :, :]
    if image.shape[:-3] + image.shape[-2:] != labels.shape:
        raise ImageError(f"image of shape {image.shape} does not fit labels of shape {labels.shape}")
    threads = resolve_threads(threads)
    planes = labels.reshape(-1, *labels.shape[-2:])
    shown = _panels(len(planes))
    pictures = image.reshape(-1, *image.shape[-3:])
    panels = _rendered(_taken(pictures, shown), channel_names, threads)
    index, palette = neighbour_palette(_taken(planes, shown))
    width = _line_width(planes[shown[0]]) if line_width is None else max(1, line_width)
    halo = 1 if width < 3 else 2
    for k, rgb in zip(shown, panels, strict=True):
        _native.draw_contours(planes[k], rgb, index, palette, width, halo, _HALO_LUMINANCE, threads)
    return _mosaic(panels)


def overlay_step(shape: tuple[int, ...]) -> int:
    """Return how many pixels of an image a pixel of its overlay stands for, along a side.

    Parameters
    ----------
    shape : tuple of int
        Of the labels.
    """
    return max(1, -(-max(shape[-2:], default=0) // _LARGEST_SIDE_PX))


def color_rgb(labels: NDArray[Any], *, threads: int | None = None) -> NDArray[np.uint8]:
    """Paint every object in a colour that no neighbour has, in the overlay's colours.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background, painted black. Stacks as in `overlay_rgb`.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    ndarray of shape (Y, X, 3), uint8
        sRGB. Touching objects differ by CIEDE2000 > 20.
    """
    labels = _dense(labels)
    threads = resolve_threads(threads)
    planes = labels.reshape(-1, *labels.shape[-2:])
    panels = []
    shown = _panels(len(planes))
    index, palette = neighbour_palette(_taken(planes, shown))
    for k in shown:
        rgb = np.empty((*labels.shape[-2:], 3), np.uint8)
        _native.paint_labels(planes[k], rgb, index, palette, threads)
        panels.append(rgb)
    return _mosaic(panels)


def neighbour_palette(labels: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a colour for each label that differs from its neighbours'.

    Parameters
    ----------
    labels : ndarray of shape (Y, X) or (P, Y, X), uint32
        0 is background. An object has the same colour in all planes.

    Returns
    -------
    index : ndarray of shape (max + 1,), uint8
        Row of the palette for each label.
    palette : ndarray of shape (n, 3), uint8
        sRGB colours: `PALETTE`, and more only where so many objects touch each other that it does not
        suffice.
    """
    index = np.zeros(int(labels.max(initial=0)) + 1, np.uint8)
    palette = PALETTE
    if labels.ndim == 3:  # planes one below the other, too far apart to be neighbours
        apart = ((0, 0), (0, _REACH_PX + 2), (0, 0))
        labels = labels[0] if len(labels) == 1 else np.pad(labels, apart).reshape(-1, labels.shape[-1])
    while _native.neighbour_colors(labels, index, len(palette), _REACH_PX) and len(palette) < 64:
        palette = np.concatenate([PALETTE, label_colors(2 * len(palette))[len(PALETTE) + 1 :]])
    return index, palette


def _rendered(pictures: NDArray[Any], names: Sequence[str], threads: int) -> list[NDArray[np.uint8]]:
    """Return planes of shape (P, C, Y, X) as RGB, all with the same stretch, so that they can be compared."""
    pictures = _plain(pictures)
    channels = np.moveaxis(pictures, 1, 0)
    if _is_rgb(channels, names):
        limits = np.tile((*_rgb_limits(channels), 1.0), (3, 1))
        colors = np.eye(3)
    else:
        limits = np.array([_limits(channel) for channel in channels])
        colors = _channel_colors(channels, limits)
    panels = []
    for picture in pictures:
        rgb = np.empty((*picture.shape[1:], 3), np.uint8)
        _native.compose(picture, limits, colors, rgb, threads)
        panels.append(rgb)
    return panels


def _dense(labels: NDArray[Any]) -> NDArray[np.uint32]:
    labels = np.asarray(labels)
    if labels.ndim < 2 or labels.size == 0:
        raise ImageError(f"labels must have axes ..., Y, X, got an array of shape {labels.shape}")
    if int(labels.max()) > labels.size + (1 << 20):  # a table by label would not fit the memory
        labels = np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    return np.ascontiguousarray(labels, np.uint32)


def _plain(planes: NDArray[Any]) -> NDArray[Any]:
    """Return planes in a type that the kernel takes."""
    if planes.dtype == np.bool_:
        return planes.view(np.uint8)
    if planes.dtype == np.float16:
        return planes.astype(np.float32)
    if planes.dtype.kind not in "iuf":
        raise ImageError(f"a picture needs real numbers, got {planes.dtype}")
    return planes if planes.dtype.itemsize <= 4 or planes.dtype == np.float64 else planes.astype(np.float64)


def _is_rgb(planes: NDArray[Any], names: Sequence[str]) -> bool:
    if len(planes) != 3:
        return False
    return [n.lower() for n in names] == ["red", "green", "blue"] or (not names and planes.dtype == np.uint8)


def _rgb_limits(planes: NDArray[Any]) -> tuple[float, float]:
    """Return what is black and white in a colour picture: its type's range, or what the pixels use of it."""
    if planes.dtype == np.uint8:
        return 0.0, 255.0
    high = float(np.nanmax(_sample(planes), initial=0.0))
    for full in (1.0, 255.0, 4095.0, 65535.0):
        if high <= full and (full != 255.0 or planes.dtype.kind != "f" or high > 1):
            return 0.0, max(full if planes.dtype.kind == "f" else high, 1.0)
    return 0.0, max(high, 1.0)


def _sample(channel: NDArray[Any]) -> NDArray[np.float64]:
    step = max(1, math.isqrt(max(1, channel[..., :, :].size // _SAMPLE)))
    values = channel[..., ::step, ::step].astype(np.float64).ravel()
    return values[np.isfinite(values)]


def _limits(channel: NDArray[Any]) -> tuple[float, float, float]:
    """Return the values shown as black and white, and the exponent that brightens what lies between."""
    values = _sample(channel)
    if values.size == 0:
        return 0.0, 1.0, 1.0
    low, high = (float(v) for v in np.percentile(values, _SHOWN_PERCENTILES))
    if high <= low:  # nearly constant: what stands out must still be seen
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return low - 1.0, low + 1.0, 1.0
    low, high = widened_to_few_objects(channel.reshape(-1, channel.shape[-1]), low, high)
    # Fluorescence spans decades: a few bright cells must not leave the dim ones black.
    dark = float(np.mean(values)) - low < _DARK * (high - low)
    return low, high, _GAMMA if dark else 1.0


def _channel_colors(planes: NDArray[Any], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a colour for each channel."""
    count = len(planes)
    colors = [(0.0, 0.0, 0.0)] * count
    fluorescent = list(range(count))
    if count > 1:
        # Transmitted light has a bright, even background: its median lies in the middle of its range.
        middle = [
            float(np.median((_sample(p) - low) / (high - low))) if _sample(p).size else 0.0
            for p, (low, high, _) in zip(planes, limits, strict=True)
        ]
        transmitted = int(np.argmax(middle))
        if middle[transmitted] > 0.3 and sum(m > 0.3 for m in middle) == 1:
            fluorescent.remove(transmitted)
            colors[transmitted] = (0.8, 0.8, 0.8)
    table = _CHANNEL_COLORS.get(len(fluorescent), _MANY_CHANNELS)
    if len(fluorescent) == 1 and count > 1:
        table = ((0.0, 0.45, 1.0),)  # beside grey, one colour; blue-cyan is what nuclear stains look like
    for k, channel in enumerate(fluorescent):
        colors[channel] = table[k % len(table)]
    return np.array(colors, np.float64)


def _line_width(labels: NDArray[np.uint32]) -> int:
    """Return a width that is seen when the whole picture fills a screen, and thin against the objects."""
    wanted = round(max(labels.shape) / 1000)
    if wanted < 2:
        return 1
    count = len(np.unique(labels[::4, ::4])) - 1
    typical_px = math.sqrt(np.count_nonzero(labels[::4, ::4]) * 16 / max(1, count))
    return int(max(1, min(wanted, 4, typical_px / 14)))


def _panels(planes: int) -> list[int]:
    """Return the planes of a stack that a picture shows."""
    if planes <= _PANELS:
        return list(range(planes))
    return [round(k * (planes - 1) / (_PANELS - 1)) for k in range(_PANELS)]


def _taken(planes: NDArray[Any], shown: list[int]) -> NDArray[Any]:
    """Return the planes that are shown, without a copy where that is all."""
    return planes if len(shown) == len(planes) else planes[shown]


def _mosaic(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    if len(panels) == 1:
        return panels[0]
    across = math.ceil(math.sqrt(len(panels)))
    down = math.ceil(len(panels) / across)
    height, width = panels[0].shape[:2]
    shape = (down * (height + _GAP_PX) - _GAP_PX, across * (width + _GAP_PX) - _GAP_PX, 3)
    sheet = np.full(shape, 255, np.uint8)
    for k, panel in enumerate(panels):
        y, x = k // across * (height + _GAP_PX), k % across * (width + _GAP_PX)
        sheet[y : y + height, x : x + width] = panel
    return sheet
