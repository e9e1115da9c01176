"""A click on a cell that was missed, or a box around it, proposes its outline: from the flows, else from the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.core.params import MaskParams
from cellbrook.dynamics import labels_from_flows
from cellbrook.errors import CellbrookError, EditError, UsageError
from cellbrook.project.ops import Paint
from cellbrook.project.predict import read_cache
from cellbrook.project.second_looks import own_params
from cellbrook.server.ghosts import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.project.project import Project
    from cellbrook.server import messages
    from cellbrook.server.hub import Client
    from cellbrook.server.jobs import Jobs
    from cellbrook.server.runners import Runners
    from cellbrook.server.workspace import Workspace

Box = tuple[int, int, int, int]

_REACH = 128
"""Pixels around a click that are looked at."""

_MARGIN = 24
_WORST_FLOW = 0.7
"""Flow error above which what is found is ground: there the flows lead nowhere, and it is about 1."""

_LOGITS = (0.0, -1.0, -2.0, -3.0, -4.5)
"""Cell probabilities that are tried, from sure to faint."""

_SMALLEST = 12  # pixels


class Proposals:
    """Answers edits of kind "prompt" on one workspace."""

    def __init__(self, workspace: Workspace, jobs: Jobs, runners: Runners) -> None:
        self._workspace, self._jobs, self._runners = workspace, jobs, runners

    async def propose(self, edit: messages.Edit, client: Client) -> None:
        """Find an object where a page points, and draw it; reject the edit if there is none."""
        workspace = self._workspace
        try:
            workspace.check_writable()
            info = await workspace.read(workspace.info, edit.image)
            wanted, window = asked_for(edit, info.shape)
            flows = await self._output(edit, window)
            mask = await workspace.read(self._find, edit, flows, wanted, window)
            label = edit.label or (await workspace.lease(edit.image, 1))[0]
            runs = runs_of(mask) + np.array([window[0], window[1], window[1]])
            await workspace.apply(
                edit.image,
                Paint(label, runs, edit.plane, "keep"),
                user=client.user,
                client=client,
                op_id=edit.op_id,
                then=lambda applied: workspace.acknowledge(edit, client, applied),
            )
        except (CellbrookError, ValueError) as error:
            await workspace.reject(edit, client, error)

    async def _output(
        self, edit: messages.Edit, window: Box
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the network's output in a window: what is cached, else made now; None if it cannot be made."""
        workspace = self._workspace
        try:
            return await workspace.read(_cached, workspace.project, edit.image, edit.plane, window)
        except UsageError:
            pass
        record = await workspace.read(workspace.project.image, edit.image)
        path = await workspace.read(workspace.project.path, edit.image)
        with workspace.scratch() as out:
            own = own_params(workspace.project.folder, edit.image)
            args = {
                "path": str(path), "scene": record.scene, "keywords": {**self._runners.keywords({}), **own}, "out": str(out),
                "window": [edit.plane, *window],
            }  # fmt: skip
            try:
                facts = await self._jobs.workers["pictures"].call("propose", args)
            except CellbrookError:
                return None
            _, y0, x0 = facts["window"]

            def read() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
                part = np.s_[window[0] - y0 : window[2] - y0, window[1] - x0 : window[3] - x0]
                flows = np.load(out / "flows.npy", allow_pickle=False)[(slice(None), *part)]
                return np.ascontiguousarray(flows), np.load(out / "cellprob.npy", allow_pickle=False)[
                    part
                ].copy()

            return await workspace.read(read)

    def _find(
        self,
        edit: messages.Edit,
        output: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
        wanted: Box,
        window: Box,
    ) -> NDArray[np.bool_]:
        pixels, store = self._workspace.pixels(edit.image), self._workspace.project.labels(edit.image)
        picture = pixels.window(edit.plane, window)
        free = store.read(edit.plane, *window) == 0
        place = tuple(w - o for w, o in zip(wanted, (window[0], window[1]) * 2, strict=True))
        found = None
        if output is not None:
            found = from_flows(*output, free, place)
        if found is None:
            found = from_picture(picture, free, place)
        if found is None:
            raise EditError(
                "nothing that looks like a cell was found here: draw its outline, or drag a box around it"
            )
        return found


def asked_for(edit: messages.Edit, shape: tuple[int, int]) -> tuple[Box, Box]:
    """Return the box that an edit points at (one pixel for a click), and the window to look at.

    Raises
    ------
    UsageError
        If it points outside the image.
    """
    if edit.box is not None:
        y0, x0, y1, x1 = edit.box
        reach = _MARGIN
    elif edit.line:
        y0, x0 = int(edit.line[0][0]), int(edit.line[0][1])
        y1, x1, reach = y0 + 1, x0 + 1, _REACH
    else:
        raise UsageError("point at a cell, or drag a box around it")
    y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1])
    if y1 <= y0 or x1 <= x0:
        raise UsageError("this place lies outside the image")
    if (y1 - y0) * (x1 - x0) > 2**22:
        raise UsageError("this box is larger than any cell: segment the window instead")
    return (y0, x0, y1, x1), (
        max(y0 - reach, 0), max(x0 - reach, 0), min(y1 + reach, shape[0]), min(x1 + reach, shape[1]),
    )  # fmt: skip


def from_flows(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], free: NDArray[np.bool_], place: Sequence[int]
) -> NDArray[np.bool_] | None:
    """Return the object at a place, from surest to faintest; None if there is none.

    Parameters
    ----------
    flows, cellprob : ndarray of shape (2, Y, X) and (Y, X), float32
        The network's output.
    free : ndarray of shape (Y, X), bool
        Pixels that belong to no object yet.
    place : (y0, x0, y1, x1)
        A box, or one pixel.
    """
    for threshold in _LOGITS:
        params = MaskParams(cellprob_threshold=threshold, flow_threshold=_WORST_FLOW, min_size=0)
        labels, _ = labels_from_flows(flows, np.where(free, cellprob, -99), params, threads=1)
        found = _chosen(labels, place)
        if found is not None:
            return found
    return None


def from_picture(
    picture: NDArray[np.float32], free: NDArray[np.bool_], place: Sequence[int]
) -> NDArray[np.bool_] | None:
    """Return the piece around a place that differs from what surrounds it; None if nothing does.

    Parameters
    ----------
    picture : ndarray of shape (Y, X), float32
        Intensities.
    free, place
        As in `from_flows`.
    """
    y0, x0, y1, x1 = place
    inside = picture[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
    if (y1 - y0) * (x1 - x0) > 9:  # a box: its middle is the cell, its border is not
        quarter_y, quarter_x = (y1 - y0) // 4, (x1 - x0) // 4
        inside = picture[y0 + quarter_y : y1 - quarter_y, x0 + quarter_x : x1 - quarter_x]
    bright, ground = float(np.median(inside)), float(np.median(picture[free])) if free.any() else 0.0
    noise = float(np.median(np.abs(picture - ground))) or 1e-9
    if abs(bright - ground) < 3 * noise:
        return None
    for share in (0.5, 0.7, 0.35):
        edge = ground + share * (bright - ground)
        mask = ((picture > edge) if bright > ground else (picture < edge)) & free
        # without flow, pieces are what touches
        labels, _ = labels_from_flows(
            np.zeros((2, *mask.shape), np.float32),
            np.where(mask, 1.0, -1.0).astype(np.float32),
            MaskParams(flow_threshold=0, min_size=0),
            threads=1,
        )
        found = _chosen(labels, place)
        if found is not None:
            return found
    return None


def _chosen(labels: NDArray[np.uint32], place: Sequence[int]) -> NDArray[np.bool_] | None:
    """Return the object at a pixel, or that fills a box best; None if there is none that fits."""
    y0, x0, y1, x1 = place
    rows, cols = labels.shape
    part = labels[y0:y1, x0:x1]
    sizes = np.bincount(part[part > 0], minlength=1)
    if not len(sizes) or not sizes.any():
        return None
    mask: NDArray[np.bool_] = labels == int(sizes.argmax())
    area = int(mask.sum())
    boxed = (y1 - y0) * (x1 - x0) > 1
    if area < _SMALLEST or (boxed and not sizes.max() / ((y1 - y0) * (x1 - x0)) >= 0.1):
        return None
    if boxed:
        return mask if sizes.max() >= 0.5 * area else None
    # what runs out of the window is no cell but ground
    edges = (mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()) / (2 * (rows + cols))
    return mask if edges < 0.15 and area < 0.5 * labels.size else None


def _cached(
    project: Project, image: str, plane: int, window: Box
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    flows, cellprob = read_cache(project, project.image(image))
    y0, x0, y1, x1 = window
    return (
        np.ascontiguousarray(flows[plane, :, y0:y1, x0:x1], np.float32),
        np.ascontiguousarray(cellprob[plane, y0:y1, x0:x1], np.float32),
    )
