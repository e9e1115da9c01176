"""How well objects are followed through time: the measures of the Cell Tracking Challenge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.agreement import seg_scores
from cellbrook.metrics.matching import overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Node = tuple[int, int]  # frame and label
    Line = tuple[int, int, int, int]

# What it costs to mend each kind of error by hand (Matula et al., 2015), as the challenge weighs them.
_NODE_COSTS = {"joined": 5.0, "missed": 10.0, "invented": 1.0}
_LINK_COSTS = {"wrong_links": 1.0, "missing_links": 1.5, "changed_links": 1.0}


@dataclass(frozen=True, slots=True)
class Tracks:
    """Objects of a film, followed through its frames.

    Parameters
    ----------
    labels : ndarray of shape (T, Y, X) or (T, Z, Y, X), integer
        0 is background; a track has one number in all its frames.
    lines : sequence of (int, int, int, int)
        Number, first and last frame, and parent of each track, 0 for none. Tracks have no gaps: one that was missed goes on
        as its own daughter.
    """

    labels: NDArray[np.integer]
    lines: Sequence[Line]

    def links(self) -> dict[tuple[Node, Node], bool]:
        """Return the pairs of objects that follow each other, with whether the second one begins a track."""
        found: dict[tuple[Node, Node], bool] = {}
        last = {number: end for number, _, end, _ in self.lines}
        for number, begin, end, parent in self.lines:
            for t in range(begin, end):
                found[(t, number), (t + 1, number)] = False
            if parent:
                if parent not in last or last[parent] >= begin:
                    raise UsageError(
                        f"track {number} begins in frame {begin}, before its parent {parent} ends"
                    )
                found[(last[parent], parent), (begin, number)] = True
        return found


@dataclass(frozen=True, slots=True)
class TrackScores:
    """How well tracks agree with the truth.

    Parameters
    ----------
    det, seg, tra, lnk : float
        Detection, segmentation, tracking and linking of the Cell Tracking Challenge, from 0 to 1.
    n_true, n_pred : int
        Objects in all frames.
    joined : int
        How many predicted objects would have to be cut, as they cover more than half of several true ones.
    missed, invented : int
        True objects of which nothing covers more than half; predicted ones that do so of none.
    true_links, missing_links, wrong_links, changed_links : int
        True links from an object to what it is in a later frame; those that are not found, as an object is missed or joined
        too; predicted ones that are none; found ones that continue a track on one side and begin one on the other.
    """

    det: float
    seg: float
    tra: float
    lnk: float
    n_true: int
    n_pred: int
    joined: int
    missed: int
    invented: int
    true_links: int
    missing_links: int
    wrong_links: int
    changed_links: int


def score_tracks(true: Tracks, pred: Tracks, *, threads: int | None = None) -> TrackScores:
    """Compare tracks with the truth.

    Parameters
    ----------
    true, pred : Tracks
        Of the same film.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    TrackScores
        DET, TRA and LNK are one minus the cost of making the predicted graph the true one, as a share of what making
        that from nothing costs: of its objects, of objects and links, of links. SEG is the mean Jaccard index of the
        true objects. Of an empty film, in which nothing is found, all are 1.

    Raises
    ------
    UsageError
        If the films are not of one size, or a line of the tracks names an object that is not there.

    References
    ----------
    .. [1] Matula et al., PLoS ONE 10, e0144959 (2015): the measure.
    .. [2] Ulman et al., Nat Methods 14, 1141-1152 (2017): its use in the challenge.
    """
    if true.labels.shape != pred.labels.shape or true.labels.ndim < 3:
        raise UsageError(
            f"tracks are of films (T, Y, X) or (T, Z, Y, X) of one size, got {true.labels.shape} and {pred.labels.shape}"
        )
    found_as: dict[Node, Node] = {}  # of each true object that is found, the predicted one
    found: dict[Node, list[Node]] = {}
    jaccard: list[float] = []
    n_pred = 0
    for t in range(len(true.labels)):
        table = overlaps(true.labels[t], pred.labels[t], threads=threads)
        jaccard += seg_scores(table).tolist()
        for i in table.pred_ids.tolist():
            found[t, i] = []
        n_pred += table.n_pred
        most = 2 * table.count > table.true_areas[table.true_index]
        for a, b in zip(table.true_index[most].tolist(), table.pred_index[most].tolist(), strict=True):
            node, other = (t, int(table.true_ids[a])), (t, int(table.pred_ids[b]))
            found_as[node] = other
            found[other].append(node)
    n_true = len(jaccard)
    counts = {
        "joined": sum(len(nodes) - 1 for nodes in found.values() if nodes),
        "missed": n_true - len(found_as),
        "invented": sum(not nodes for nodes in found.values()),
    }
    alone = {other: nodes[0] for other, nodes in found.items() if len(nodes) == 1}
    links, ours = true.links(), pred.links()
    _check(links, true, "truth")
    _check(ours, pred, "prediction")
    counts |= {"wrong_links": 0, "missing_links": 0, "changed_links": 0}
    for (a, b), begins in links.items():
        pair = found_as.get(a), found_as.get(b)
        if pair[0] in alone and pair[1] in alone and pair in ours:
            counts["changed_links"] += begins != ours[pair]
        else:
            counts["missing_links"] += 1
    for a, b in ours:
        if a in alone and b in alone and (alone[a], alone[b]) not in links:
            counts["wrong_links"] += 1

    nodes = sum(cost * counts[kind] for kind, cost in _NODE_COSTS.items())
    edges = sum(cost * counts[kind] for kind, cost in _LINK_COSTS.items())
    all_nodes, all_edges = _NODE_COSTS["missed"] * n_true, _LINK_COSTS["missing_links"] * len(links)
    return TrackScores(
        det=_share(nodes, all_nodes),
        seg=float(np.mean(jaccard)) if jaccard else float(n_pred == 0),
        tra=_share(nodes + edges, all_nodes + all_edges),
        lnk=_share(edges, all_edges),
        n_true=n_true,
        n_pred=n_pred,
        true_links=len(links),
        **counts,
    )


def _share(cost: float, whole: float) -> float:
    """Return how much of the work is saved by mending and not beginning anew."""
    return 1 - min(cost, whole) / whole if whole else float(cost == 0)


def _check(links: dict[tuple[Node, Node], bool], tracks: Tracks, side: str) -> None:
    there = {(t, int(i)) for t, frame in enumerate(tracks.labels) for i in np.unique(frame) if i}
    for pair in links:
        for t, number in pair:
            if (t, number) not in there:
                raise UsageError(
                    f"{side}: track {number} is said to be in frame {t}, and is not in its labels"
                )
