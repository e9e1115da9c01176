"""StarDist on the benchmark's image, run by an interpreter that has it. Started by ``command.py``.

Its own normalisation and `StarDist2D.predict_instances` run with the configuration and thresholds of its released
fluorescence model (32 rays, grid of 2 x 2), from the image as an array to labels. The network has random weights, so
its output is replaced by probabilities and distances of the same scene, with noise. Nothing is extrapolated.
For every line on standard input, one answer in JSON goes to standard output.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed must not mix with the answers
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from csbdeep.utils import normalize  # noqa: E402
from scipy import ndimage  # noqa: E402
from stardist.geometry import star_dist  # noqa: E402
from stardist.models import Config2D, StarDist2D  # noqa: E402
from stardist.utils import edt_prob  # noqa: E402

RAYS, GRID = 32, (2, 2)
THRESHOLDS = {"prob": 0.479071, "nms": 0.3}  # of its model 2D_versatile_fluo
DISTANCE_NOISE = 0.06  # relative; correlated over a few pixels, as a network's errors are


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def candidates(labels):
    """Return probabilities and distances as a trained network might give them for a scene, on the grid."""
    rng = np.random.default_rng(0)
    prob = edt_prob(labels)[:: GRID[0], :: GRID[1]]
    dist = star_dist(labels, RAYS, grid=GRID)
    noise = ndimage.gaussian_filter(
        rng.standard_normal((*prob.shape, RAYS)).astype(np.float32), (1.5, 1.5, 0)
    )
    dist = dist * (1 + DISTANCE_NOISE * noise / noise.std())
    wobble = ndimage.gaussian_filter(rng.standard_normal(prob.shape), 1.5)
    prob = np.clip(prob + 0.05 * wobble / wobble.std() * (prob > 0), 0, 1)
    return prob[..., None].astype(np.float32), dist.astype(np.float32)


def main() -> None:
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    image, labels = (np.load(folder / f"{name}.npy") for name in ("image", "labels"))
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    prob, dist = candidates(labels.astype(np.int32))
    with tempfile.TemporaryDirectory() as home:
        model = StarDist2D(Config2D(n_rays=RAYS, grid=GRID), name="random", basedir=home)
    predict = model.keras_model.predict
    network_s: list[float] = []

    def with_candidates(x, **keywords):
        start = time.perf_counter()
        outputs = predict(x, **keywords)
        network_s.append(time.perf_counter() - start)
        for ours, theirs in zip((prob, dist), outputs, strict=True):
            if theirs.shape[1:] != ours.shape:
                raise SystemExit(f"expected an output of shape {ours.shape}, got {theirs.shape[1:]}")
        return prob[None], dist[None]

    model.keras_model.predict = with_candidates

    def segment():
        found = model.predict_instances(
            normalize(image, 1, 99.8), prob_thresh=THRESHOLDS["prob"], nms_thresh=THRESHOLDS["nms"]
        )
        return found[0]

    segment()  # the first call compiles the network
    count = int((prob > THRESHOLDS["prob"]).sum())
    print(json.dumps("ready"), file=answers, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), processor_s()
        labels = segment()
        answer = {
            "wall_s": time.perf_counter() - wall,
            "cpu_s": processor_s() - cpu,
            "network_s": network_s[-1],
            "cells": int(labels.max()),
            "about": f"StarDist {importlib.metadata.version('stardist')} (float32)",
            "note": f"nothing extrapolated; {count} candidates",
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
