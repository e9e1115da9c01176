"""Record what py-ctcmetrics says of a few small films.

Run with an interpreter that has py-ctcmetrics 1.3.3::

    python tests/parity/record_tracks.py --out tests/parity

The films lie in the file beside the values, so that no random generator has to repeat itself.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile

SCORES = ("DET", "SEG", "TRA", "LNK")
COUNTS = ("AOGM_NS", "AOGM_FN", "AOGM_FP", "AOGM_ED", "AOGM_EA", "AOGM_EC")


def film(rng, frames=7, side=72, cells=9):
    """Return labels (T, Y, X) of discs that wander, divide, and come and go, and their lines."""
    labels = np.zeros((frames, side, side), np.uint16)
    places = {k + 1: rng.uniform(8, side - 8, 2) for k in range(cells)}
    lines = {k: [0, 0, 0] for k in places}
    y, x = np.ogrid[:side, :side]
    count = cells
    for t in range(frames):
        for k, (cy, cx) in list(places.items()):
            inside = ((y - cy) ** 2 + (x - cx) ** 2 < 16) & (labels[t] == 0)
            if not inside.any():
                del places[k]
                continue
            labels[t][inside] = k
            lines[k][1] = t
        for k in list(places):
            places[k] = places[k] + rng.normal(0, 3, 2)
            if rng.random() < 0.12 and t < frames - 1:
                for turn in (-4, 4):
                    count += 1
                    places[count] = places[k] + (turn, 0)
                    lines[count] = [t + 1, t + 1, k]
                del places[k]
    seen = {k for k in np.unique(labels) if k}
    return labels, [(k, *lines[k][:2], lines[k][2]) for k in sorted(lines) if k in seen]


def damaged(rng, labels, lines):
    """Return a film that was followed badly: cells missed, joined and invented, tracks broken, swapped, of other parents."""
    pred = labels.copy()
    number = int(labels.max())
    for t in range(len(pred)):
        ids = [i for i in np.unique(pred[t]) if i]
        if len(ids) > 3:
            pred[t][pred[t] == rng.choice(ids)] = 0
            a, b = rng.choice(ids, 2, replace=False)
            if rng.random() < 0.3:
                pred[t][pred[t] == a] = b
            elif rng.random() < 0.4:  # two tracks swap places
                new = pred[t].copy()
                new[pred[t] == a], new[pred[t] == b] = b, a
                pred[t] = new
        spot = tuple(rng.integers(0, labels.shape[1] - 5, 2))
        box = pred[t, spot[0] : spot[0] + 5, spot[1] : spot[1] + 5]
        if rng.random() < 0.5 and not box.any():
            number += 1
            box[:] = number
    parents = {k: p for k, *_, p in lines}
    out, found, count = np.zeros_like(pred), [], 0
    for k in [i for i in np.unique(pred) if i]:
        frames = np.flatnonzero((pred == k).any(axis=(1, 2)))
        before = 0
        for part in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1):
            for piece in np.split(part, [len(part) // 2]) if rng.random() < 0.2 and len(part) > 1 else [part]:
                count += 1
                for t in piece:
                    out[t][pred[t] == k] = count
                found.append(
                    [count, int(piece[0]), int(piece[-1]), before if rng.random() < 0.7 else 0, int(k)]
                )
                before = count
    last = {name: line for *line, name in found}
    for line in found:
        mother = last.get(parents.get(line[4], 0))
        if line[3] == 0 and mother and mother[2] < line[1] and rng.random() < 0.7:
            line[3] = mother[0]
    return out, [tuple(line[:4]) for line in found]


def write(folder, labels, lines, name, text):
    folder.mkdir(parents=True)
    for t, frame in enumerate(labels):
        tifffile.imwrite(folder / f"{name}{t:03d}.tif", frame)
    (folder / text).write_text("".join(f"{' '.join(map(str, line))}\n" for line in lines))


def main() -> None:
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(20261201)
    kept = {"version": version("py-ctcmetrics"), "films": 6}
    for k in range(kept["films"]):
        true = film(rng)
        pred = damaged(rng, *true)
        with tempfile.TemporaryDirectory() as place:
            truth, found = Path(place) / "01_GT", Path(place) / "01_RES"
            write(truth / "TRA", *true, "man_track", "man_track.txt")
            write(truth / "SEG", true[0], [], "man_seg", "none.txt")
            (truth / "SEG" / "none.txt").unlink()
            write(found, *pred, "mask", "res_track.txt")
            said = evaluate_sequence(str(found), str(truth), threads=1)
        for side, (labels, lines) in {"true": true, "pred": pred}.items():
            kept[f"{k}/{side}"], kept[f"{k}/{side}_lines"] = labels, np.array(lines)
        kept[f"{k}/scores"] = np.array([said[n] for n in SCORES], float)
        kept[f"{k}/counts"] = np.array([said[n] for n in COUNTS], int)
    np.savez_compressed(args.out / "tracks_ctc.npz", **kept)


if __name__ == "__main__":
    main()
