"""What limits that are suggested from six marks recover, where the settings were bad.

``python benchmarks/limits.py``: 20 generated images, each segmented with settings that keep nearly all or nearly nothing.
Three true cells (missed ones first) are marked as wanted and three false ones as unwanted, as a person would who draws and
deletes; F1 at IoU 0.5 of the whole image before, with the suggested limits, and with the best of the same grid.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

import cellbrook
from cellbrook.core.params import MaskParams
from cellbrook.dynamics import labels_from_flows
from cellbrook.metrics import matching
from cellbrook.metrics.matching import overlaps
from cellbrook.project.marks import Marks, best_limits
from cellbrook.training import synthetic

FAMILIES = ("fluo_nuclei", "phase_cells", "cyto_fluo", "he_tissue", "phase_bacteria")
BAD = (
    MaskParams(cellprob_threshold=-4.0, min_score=0.0, min_size=0),
    MaskParams(cellprob_threshold=-2.0, min_score=0.05, min_size=0),
    MaskParams(cellprob_threshold=2.0, min_score=0.95, min_size=0),
    MaskParams(cellprob_threshold=0.0, min_score=0.0, min_size=450),
)


def f1(truth: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    """Return F1 at IoU 0.5."""
    true, pred = (len(np.unique(a[a > 0])) for a in (truth, found))
    return 2 * len(matching(truth, found, 0.5).pairs) / max(1, true + pred)


def some(labels: np.ndarray[Any, Any], ids: list[int], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return the labels of three of these objects."""
    chosen = rng.permutation(ids)[:3]
    return np.where(np.isin(labels, chosen), labels, 0).astype(np.uint32)


def marks_of(
    truth: np.ndarray[Any, Any], shown: np.ndarray[Any, Any], every: np.ndarray[Any, Any], seed: int
) -> Marks:
    """Return what a person would mark: missed cells, and false ones among those shown, else among all candidates."""
    rng = np.random.default_rng(seed)
    both = overlaps(truth, shown)
    right = set(both.true_ids[both.true_index[both.iou >= 0.5]].tolist())
    ids = both.true_ids.tolist()
    missed = [i for i in ids if i not in right]
    wanted = some(truth, missed if len(missed) >= 3 else ids, rng)
    for labels in (shown, every):
        both = overlaps(truth, labels)
        good = set(both.pred_ids[both.pred_index[both.iou >= 0.3]].tolist())
        false = [i for i in both.pred_ids.tolist() if i not in good]
        if len(false) >= 3:
            break
    return Marks(0, wanted, some(labels, false, rng))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    segmenter = cellbrook.Segmenter(threads=args.threads)
    weights = segmenter.card.spec.score
    rows = []
    for n in range(20):
        sample = synthetic.generate(FAMILIES[n % 5], 930_000 + n, 384)
        output = segmenter.segment(sample.image, axes="CYX").output
        assert output is not None
        truth = sample.labels.astype(np.uint32)

        def labels(params: MaskParams, output: Any = output) -> np.ndarray[Any, Any]:
            return labels_from_flows(
                output.flows, output.cellprob, params, score_weights=weights, threads=args.threads
            )[0]

        bad = BAD[n // 5]
        every = labels(replace(bad, min_score=0.0, min_size=0))
        marks = marks_of(truth, labels(bad), every, n)
        around = (output.flows[None], output.cellprob[None], bad, weights)
        advice = best_limits([marks], *around, threads=args.threads)
        nothing = np.zeros_like(truth)
        whole = Marks(0, truth, false_of(truth, every) if every.any() else nothing)
        best_of_all = best_limits([whole], *around, threads=args.threads).keywords | {"flow_threshold": 0.0}
        suggested = f1(truth, labels(MaskParams(**advice.keywords)))
        oracle = max(f1(truth, labels(MaskParams(**best_of_all))), f1(truth, labels(MaskParams())), suggested)
        rows.append((f1(truth, labels(bad)), suggested, oracle))
        before, after, best = rows[-1]
        print(
            f"{sample.family:<16} F1 {before:.3f} -> {after:.3f} of {best:.3f}  {advice.keywords}", flush=True
        )
    before, after, best = np.mean(rows, axis=0)
    print(
        f"mean F1 {before:.3f} before, {after:.3f} suggested, {best:.3f} at best: {after / best:.1%} recovered"
    )


def false_of(truth: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the objects that no true one is."""
    both = overlaps(truth, labels)
    right = both.pred_ids[both.pred_index[both.iou >= 0.5]]
    return np.where(np.isin(labels, right), 0, labels).astype(np.uint32)


if __name__ == "__main__":
    main()
