"""Stand-ins that behave like the real thing and cost nothing, for tests of what is built on the seams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.engines.base import EngineInfo, check_input
from cellbrook.errors import EngineMemoryError
from cellbrook.networks.base import NetworkSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOB_SPEC = NetworkSpec(
    family="compact",
    channels=1,
    min_channels=1,
    stride=8,
    tile_size=128,
    fixed_tile=False,
    tile_overlap=48,
    object_diameter_px=None,
    diameter_range_px=(4.0, 40.0),
    outputs=("flow", "cellprob", "log_diameter"),
)


class BlobEngine:
    """An engine that takes bright, separate blobs for cells: exact flows and logits, without a network.

    What it says of a blob depends on the blob alone, so results must not depend on how an image was tiled as
    long as blobs fit into the overlap.

    Parameters
    ----------
    spec : NetworkSpec
        What it pretends to be; the first channel counts.
    threshold : float
        Pixels above it are foreground.
    largest_batch : int or None
        More tiles than this in one call raise `EngineMemoryError`, as a full device would.

    Attributes
    ----------
    calls : list of tuple of int
        Shapes of the batches that were run.

    Examples
    --------
    >>> import numpy as np
    >>> tile = np.zeros((1, 1, 16, 16), np.float32)
    >>> tile[0, 0, 4:9, 4:9] = 1
    >>> flow = BlobEngine().run(tile)["flow"]
    >>> [float(v) for v in flow[0, :, 4, 6]]  # the top of the blob flows down
    [1.0, 0.0]
    """

    def __init__(
        self, spec: NetworkSpec = BLOB_SPEC, *, threshold: float = 0.5, largest_batch: int | None = None
    ) -> None:
        self.spec = spec
        self.calls: list[tuple[int, ...]] = []
        self._threshold = threshold
        self._largest_batch = largest_batch

    @property
    def info(self) -> EngineInfo:
        """What runs, where."""
        return EngineInfo("fake", "1", "cpu", "fp32", 1, "a fake for tests")

    def run(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run one batch; see `Engine.run`."""
        x_BCYX = check_input(x_BCYX, self.spec)
        if self._largest_batch is not None and len(x_BCYX) > self._largest_batch:
            raise EngineMemoryError(f"no memory for a batch of {len(x_BCYX)}: use a smaller --batch-size")
        self.calls.append(x_BCYX.shape)
        b, _, y, x = x_BCYX.shape
        out = {
            "flow": np.zeros((b, 2, y, x), np.float32),
            "cellprob": np.full((b, 1, y, x), -6, np.float32),
            "log_diameter": np.full((b, 1, y // 8, x // 8), np.log(np.float32(30)), np.float32),
        }
        for tile in range(b):
            for ys, xs in _blobs(x_BCYX[tile, 0] > self._threshold):
                _paint(out, tile, ys, xs)
        return {name: array for name, array in out.items() if name in self.spec.outputs}

    def release(self) -> None:
        """Do nothing: it keeps nothing."""


def _paint(
    out: dict[str, NDArray[np.float32]], tile: int, ys: NDArray[np.intp], xs: NDArray[np.intp]
) -> None:
    """Write what a network would ideally say of the blob at these pixels."""
    towards = np.stack([ys.mean() - ys, xs.mean() - xs])
    length = np.hypot(*towards)
    out["flow"][tile, :, ys, xs] = (towards / np.maximum(length, 1)).T
    out["cellprob"][tile, 0, ys, xs] = 6
    out["log_diameter"][tile, 0, ys // 8, xs // 8] = np.log(2 * np.sqrt(len(ys) / np.pi))


def _blobs(mask: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return row and column indices of each 4-connected component."""
    ids = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # every pixel takes the largest number around it until none changes
        grown = ids.copy()
        grown[1:] = np.maximum(grown[1:], ids[:-1])
        grown[:-1] = np.maximum(grown[:-1], ids[1:])
        grown[:, 1:] = np.maximum(grown[:, 1:], ids[:, :-1])
        grown[:, :-1] = np.maximum(grown[:, :-1], ids[:, 1:])
        grown *= mask
        # and the one that the pixel with this number has, so that large blobs need few rounds
        grown = np.where(mask, grown.ravel()[grown - 1], 0)
        if np.array_equal(grown, ids):
            break
        ids = grown
    return [(ys, xs) for ys, xs in (np.nonzero(ids == i) for i in np.unique(ids[ids > 0]))]
