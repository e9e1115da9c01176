"""Cutting an image into tiles for a network, and blending what the network says of them.

Axes in names: B tiles of a batch, C channels of the image, K channels of an output, Y and X pixels.

How many tiles: an axis of length L, rounded up to the stride, costs one tile if it is no longer than a tile;
else the fewest that reach over it with the overlap asked for, ``ceil((L - overlap) / (tile - overlap))``
where all are multiples of the stride. A 512 x 512 image in tiles of 256 with an overlap of 32 costs 3 x 3, a
256 x 256 image one. Unless the network fixes the tile's size, tiles are then made as small as that number of
tiles allows (192 x 192 in the example).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cellbrook._kernels import _native
from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Tile", "TilePlan", "plan_tiles", "run_tiled"]

FloatArray = NDArray[np.float32]

LONGEST_RISE = 64
"""Pixels over which one tile gives way to the next, at most: a wide overlap is there for context."""
Outputs = dict[str, FloatArray]
PadMode = Literal["reflect", "constant"]


@dataclass(frozen=True, slots=True)
class Tile:
    """A half-open rectangle of the padded image, in pixels."""

    y0: int
    y1: int
    x0: int
    x1: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Where the tiles of an image lie; all have one shape.

    Parameters
    ----------
    shape_YX : tuple of int
        The image's rows and columns.
    padded_YX : tuple of int
        Rows and columns that the tiles cover, from the image's upper left corner on: at least the image's.
    tile_YX : tuple of int
        Rows and columns of every tile, multiples of the stride.
    starts_y, starts_x : tuple of int
        First row of each row of tiles, first column of each column of tiles; multiples of the stride.
    """

    shape_YX: tuple[int, int]
    padded_YX: tuple[int, int]
    tile_YX: tuple[int, int]
    starts_y: tuple[int, ...]
    starts_x: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts_y) * len(self.starts_x)

    def __iter__(self) -> Iterator[Tile]:
        rows, cols = self.tile_YX
        for y in self.starts_y:
            for x in self.starts_x:
                yield Tile(y, y + rows, x, x + cols)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        return tuple(self)

    @property
    def pixels(self) -> int:
        """Pixels that the network sees, overlaps and padding included: what the plan costs."""
        return len(self) * self.tile_YX[0] * self.tile_YX[1]


def plan_tiles(
    shape_YX: tuple[int, int], *, tile_size: int, overlap: int, stride: int, fixed: bool = False
) -> TilePlan:
    """Plan the fewest tiles that cover an image.

    Parameters
    ----------
    shape_YX : tuple of int
        Rows and columns of the image, at least 1 each.
    tile_size : int
        Longest side of a tile, in pixels; a multiple of `stride`.
    overlap : int
        Pixels that neighbouring tiles share, at least; less than a tile. It is rounded up to the stride.
    stride : int
        Sides and starts of tiles are multiples of this.
    fixed : bool
        Every tile is exactly `tile_size` x `tile_size`, as networks with position embeddings need. Otherwise
        an image no larger than a tile is one tile with the image's own sides, rounded up to the stride.

    Returns
    -------
    TilePlan
        Tiles spread evenly, so that overlaps differ by at most one stride.

    Raises
    ------
    UsageError
        If the image has no pixels, or sizes do not fit together.

    Examples
    --------
    >>> plan = plan_tiles((250, 512), tile_size=256, overlap=32, stride=16)
    >>> len(plan), plan.tile_YX, plan.starts_x
    (3, (256, 192), (0, 160, 320))
    """
    if min(shape_YX) < 1:
        raise UsageError(f"an image of at least 1 x 1 pixels is needed, got {shape_YX[0]} x {shape_YX[1]}")
    if stride < 1 or tile_size < 1 or tile_size % stride:
        raise UsageError(f"tile_size must be a multiple of the model's stride of {stride}, got {tile_size}")
    if not 0 <= overlap <= tile_size - stride:
        raise UsageError(
            f"tile_overlap must lie between 0 and {tile_size - stride} for this tile, got {overlap}"
        )
    (tile_y, starts_y), (tile_x, starts_x) = (
        _plan_axis(n, tile_size, overlap, stride, fixed) for n in shape_YX
    )
    return TilePlan(
        shape_YX=(int(shape_YX[0]), int(shape_YX[1])),
        padded_YX=(starts_y[-1] + tile_y, starts_x[-1] + tile_x),
        tile_YX=(tile_y, tile_x),
        starts_y=starts_y,
        starts_x=starts_x,
    )


def _plan_axis(
    length: int, tile_size: int, overlap: int, stride: int, fixed: bool
) -> tuple[int, tuple[int, ...]]:
    """Return the tile's side and the starts. In here everything is counted in strides."""
    whole, tile, shared = -(-length // stride), tile_size // stride, -(-overlap // stride)
    if whole <= tile:
        return (tile_size if fixed else whole * stride), (0,)
    count = -(-(whole - shared) // (tile - shared))
    if not fixed:
        tile = -(-(whole - shared) // count) + shared
    room = whole - tile
    return tile * stride, tuple(room * i // (count - 1) * stride for i in range(count))


def run_tiled(
    x_CYX: FloatArray,
    run: Callable[[FloatArray], Outputs],
    plan: TilePlan,
    *,
    batch_size: int = 1,
    augment: bool = False,
    progress: Progress | None = None,
    pad_mode: PadMode = "reflect",
) -> Outputs:
    """Run a network tile by tile and blend its outputs into maps of the whole image.

    Parameters
    ----------
    x_CYX : ndarray of shape (C, Y, X), float32
        The normalised image.
    run : callable
        Takes (B, C, y, x), valid during the call only, and returns a dict of outputs: maps (B, K, y, x), maps
        at a resolution lower by a whole factor (B, K, y/f, x/f), or vectors (B, K).
    plan : TilePlan
        From `plan_tiles` for this image.
    batch_size : int
        Tiles run at once, at most.
    augment : bool
        Run each tile in all eight flips and quarter turns, and average. Costs eight times as much.
    progress : Progress or None
        Hears of every finished tile and is asked before every batch; ``start`` is left to the caller, who
        knows whether there are more planes.
    pad_mode : {"reflect", "constant"}
        What lies beyond the image's edge where a tile reaches over it: the mirrored image, or zeros.

    Returns
    -------
    dict of str to ndarray, float32
        (K, Y, X) each; (K, ceil(Y/f), ceil(X/f)) for outputs at a lower resolution; (K,), the mean over
        tiles, for vectors.

    Raises
    ------
    UsageError
        If the image does not fit the plan.
    ModelError
        If an output does not fit its tile.
    Cancelled
        If `progress` says so.

    Notes
    -----
    Weights are the product of a line of weights along each axis. Where tiles overlap, a tile's weight is 0
    over the outer part, where the network lacks context, and rises smoothly over the middle half, at most
    64 pixels; it stays full at the edges of the image. The weights of all tiles add up to 1 at every pixel.

    The output named ``flow`` is a vector (dy, dx), whose components turn with the image; all others are plain
    maps.
    """
    if x_CYX.ndim != 3 or x_CYX.dtype != np.float32 or x_CYX.shape[1:] != plan.shape_YX:
        raise UsageError(
            f"expected float32 of shape (C, {plan.shape_YX[0]}, {plan.shape_YX[1]}) as planned, "
            f"got {x_CYX.dtype} of shape {x_CYX.shape}"
        )
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    progress = progress or NoProgress()
    blend = _Blend(plan)
    tiles = plan.tiles
    buffer = np.empty((min(batch_size, len(tiles)), len(x_CYX), *plan.tile_YX), np.float32)
    for start in range(0, len(tiles), batch_size):
        progress.check_cancelled()
        batch = tiles[start : start + batch_size]
        x_BCYX = buffer[: len(batch)]
        for i, tile in enumerate(batch):
            _cut(x_CYX, tile, x_BCYX[i], pad_mode)
        outputs = _run_augmented(run, x_BCYX) if augment else run(x_BCYX)
        blend.add(outputs, batch)
        progress.advance(len(batch))
    return blend.maps


def _cut(x_CYX: FloatArray, tile: Tile, out: FloatArray, pad_mode: PadMode) -> None:
    """Copy a tile. Padding is made tile by tile: a padded copy of the image would double its memory."""
    rows, cols = x_CYX.shape[1:]
    if tile.y1 <= rows and tile.x1 <= cols:
        out[...] = x_CYX[:, tile.y0 : tile.y1, tile.x0 : tile.x1]
    elif pad_mode == "constant":
        part = x_CYX[:, tile.y0 : tile.y1, tile.x0 : tile.x1]
        out[...] = 0
        out[:, : part.shape[1], : part.shape[2]] = part
    else:
        y, x = _mirrored(tile.y0, tile.y1, rows), _mirrored(tile.x0, tile.x1, cols)
        out[...] = x_CYX[:, y[:, None], x]


def _mirrored(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Return indices that swing to and fro over 0 ... length - 1 without repeating the ends."""
    period = max(1, 2 * (length - 1))
    position = np.arange(start, stop) % period
    return np.minimum(position, period - position)


class _Blend:
    """Maps of the whole image, to which tiles are added with their weights."""

    def __init__(self, plan: TilePlan) -> None:
        self.maps: Outputs = {}
        self._plan = plan
        self._lines: dict[int, tuple[list[FloatArray], list[FloatArray]]] = {}

    def add(self, outputs: Outputs, batch: tuple[Tile, ...]) -> None:
        for name, values in outputs.items():
            if len(values) != len(batch) or values.ndim not in (2, 4):
                raise ModelError(
                    f"output {name!r}: expected {len(batch)} maps or vectors, got shape {values.shape}"
                )
            if values.ndim == 2:
                mean = self.maps.setdefault(name, np.zeros(values.shape[1], np.float32))
                mean += values.sum(axis=0) / len(self._plan)
            else:
                self._add_maps(name, np.ascontiguousarray(values, np.float32), batch)

    def _add_maps(self, name: str, values: FloatArray, batch: tuple[Tile, ...]) -> None:
        factor = self._factor(name, values)
        if name not in self.maps:
            shape = tuple(-(-n // factor) for n in self._plan.shape_YX)
            self.maps[name] = np.zeros((values.shape[1], *shape), np.float32)
        lines_y, lines_x = self._lines[factor]
        for tile, value in zip(batch, values, strict=True):
            line_y = lines_y[self._plan.starts_y.index(tile.y0)]
            line_x = lines_x[self._plan.starts_x.index(tile.x0)]
            _native.blend_tile(self.maps[name], value, line_y, line_x, tile.y0 // factor, tile.x0 // factor)

    def _factor(self, name: str, values: FloatArray) -> int:
        """Return how many pixels of the tile one of the output stands for."""
        plan = self._plan
        factor = max(1, plan.tile_YX[0] // max(1, int(values.shape[2])))
        places = (*plan.tile_YX, *plan.starts_y, *plan.starts_x)
        if values.shape[2:] != tuple(n // factor for n in plan.tile_YX) or any(n % factor for n in places):
            raise ModelError(
                f"output {name!r}: expected the tile's {plan.tile_YX[0]} x {plan.tile_YX[1]} or a whole "
                f"fraction of it, got {values.shape[2]} x {values.shape[3]}"
            )
        if factor not in self._lines:
            tile_y, tile_x = plan.tile_YX
            self._lines[factor] = (
                _weight_lines(plan.starts_y, tile_y, factor),
                _weight_lines(plan.starts_x, tile_x, factor),
            )
        return factor


def _weight_lines(starts: tuple[int, ...], tile: int, factor: int = 1) -> list[FloatArray]:
    """Return a line of weights for each tile along one axis; they add up to 1 at every place."""
    starts = tuple(s // factor for s in starts)
    tile //= factor
    lines = np.ones((len(starts), tile))
    for i, (left, right) in enumerate(pairwise(starts)):
        shared = left + tile - right
        if shared > 0:
            rise = _rise(shared, LONGEST_RISE // factor)
            lines[i + 1, :shared] *= rise
            lines[i, tile - shared :] *= rise[::-1]
    total = np.zeros(starts[-1] + tile)  # more than two tiles overlap where the overlap is over half a tile
    for start, line in zip(starts, lines, strict=True):
        total[start : start + tile] += line
    return [(line / total[s : s + tile]).astype(np.float32) for s, line in zip(starts, lines, strict=True)]


def _rise(n: int, longest: int) -> NDArray[np.float64]:
    """Return n weights from 0 to 1 that rise over the middle half, `longest` at most; they and their mirror image give 1."""
    t: NDArray[np.float64] = np.clip((np.arange(n) + 0.5 - n / 2) / min(n / 2, longest) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _run_augmented(run: Callable[[FloatArray], Outputs], x_BCYX: FloatArray) -> Outputs:
    """Average the outputs over the eight flips and quarter turns of the square."""
    mean: Outputs = {}
    for transpose in (False, True):
        for flip_y in (False, True):
            for flip_x in (False, True):
                turned = np.ascontiguousarray(_turn(x_BCYX, transpose, flip_y, flip_x))
                for name, values in run(turned).items():
                    if name == "flow" and values.shape[1:2] != (2,):
                        raise ModelError(
                            f"output 'flow': expected two channels (dy, dx), got shape {values.shape}"
                        )
                    back = _turn_back(values, transpose, flip_y, flip_x, vector=name == "flow")
                    if name in mean:
                        mean[name] += back
                    else:
                        mean[name] = np.array(back, np.float32)
    for values in mean.values():
        values /= 8
    return mean


def _turn(maps: FloatArray, transpose: bool, flip_y: bool, flip_x: bool) -> FloatArray:
    if transpose:
        maps = maps.swapaxes(-1, -2)
    return maps[..., :: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _turn_back(
    values: FloatArray, transpose: bool, flip_y: bool, flip_x: bool, *, vector: bool
) -> FloatArray:
    """Undo `_turn` on an output; the components of a vector (dy, dx) change sign and place with it."""
    if values.ndim != 4:
        return values
    maps = values[..., :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    if vector:
        sign = np.array([-1 if flip_y else 1, -1 if flip_x else 1], np.float32)
        maps = maps * sign[:, None, None]
    if transpose:
        maps = maps.swapaxes(-1, -2)
        if vector:
            maps = maps[:, ::-1]
    return maps
