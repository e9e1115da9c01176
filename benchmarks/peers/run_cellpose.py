"""Cellpose 3 or 4 on the benchmark's image, run by an interpreter that has it. Started by ``command.py``.

Its own `CellposeModel.eval` runs with its defaults, from the image as an array to labels, with two changes. The
network has random weights, so its output is replaced by flows of the same scene as a trained one might give them. And
only the first tiles are computed and timed; for the others their median is added.
For every line on standard input, one answer in JSON goes to standard output.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed must not mix with the answers

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from cellpose import core, models  # noqa: E402

FLOW_FACTOR = 5.0  # its heads give five times the unit flow


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class TimedTiles:
    """Stands for `core._forward`: computes and times the first tiles and repeats their answer for the others.

    Parameters
    ----------
    forward : callable
        What it stands for.
    at_once : int
        Tiles in a call.
    """

    def __init__(self, forward, at_once: int) -> None:
        self._forward, self._at_once = forward, at_once
        self.start(wanted=1)

    def start(self, wanted: int) -> None:
        self.wanted, self.total, self.computed = wanted, 0, 0
        self.wall_s: list[float] = []  # of each call, a tile
        self.cpu_s: list[float] = []
        self.spent = np.zeros(2)

    def __call__(self, net, tiles):
        answers = []
        for first in range(0, len(tiles), self._at_once):
            part = tiles[first : first + self._at_once]
            if self.computed < self.wanted:
                wall, cpu = time.perf_counter(), processor_s()
                self.last = self._forward(net, part)
                spent = np.array([time.perf_counter() - wall, processor_s() - cpu])
                self.wall_s.append(spent[0] / len(part))
                self.cpu_s.append(spent[1] / len(part))
                self.spent += spent
                self.computed += len(part)
            answers.append([np.resize(array, (len(part), *array.shape[1:])) for array in self.last])
        self.total += len(tiles)
        return tuple(np.concatenate(arrays) for arrays in zip(*answers, strict=True))

    def left_out_s(self) -> tuple[float, float]:
        """Return the wall and processor time that the tiles left out would have taken."""
        left = self.total - self.computed
        return left * statistics.median(self.wall_s), left * statistics.median(self.cpu_s)


def with_heads(run_net, heads):
    """Return the network's runner, whose answer is replaced by `heads` of the image's size."""

    def run(*args, **kwargs):
        y, styles = run_net(*args, **kwargs)
        return heads[:, : y.shape[1], : y.shape[2]], styles

    return run


def random_model(version: str, precision: str):
    """Return the model as its constructor makes it for the processor, without reading weights."""
    if version.startswith("3."):
        return models.CellposeModel(gpu=False)
    from cellpose import vit

    models.get_backbone = lambda path: "sam_vitl"

    def load_model(self, path, device, strict=False):
        if self.dtype != torch.float32:
            self.to(self.dtype)

    vit.BaseModel.load_model = load_model
    keywords = {} if precision == "default" else {"use_bfloat16": precision == "bf16"}
    return models.CellposeModel(gpu=False, pretrained_model=__file__, **keywords)


def main() -> None:
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    image, flows, cellprob = (np.load(folder / f"{name}.npy") for name in ("image", "flows", "cellprob"))
    torch.set_num_threads(settings["threads"])
    cv2.setNumThreads(settings["threads"])
    torch.manual_seed(0)
    version = importlib.metadata.version("cellpose")
    tiles = TimedTiles(core._forward, settings["at_once"])  # noqa: SLF001
    core._forward = tiles  # noqa: SLF001
    models.run_net = with_heads(models.run_net, np.stack([*(FLOW_FACTOR * flows), cellprob], axis=-1)[None])
    model = random_model(version, settings["precision"])
    dtype = str(next(model.net.parameters()).dtype).removeprefix("torch.")
    model.eval(image[:256, :256])  # a warm-up

    print(json.dumps("ready"), file=answers, flush=True)
    for _ in sys.stdin:
        tiles.start(wanted=settings["tiles"])
        wall, cpu = time.perf_counter(), processor_s()
        labels = model.eval(image)[0]
        wall, cpu = time.perf_counter() - wall, processor_s() - cpu
        more_wall, more_cpu = tiles.left_out_s()
        answer = {
            "wall_s": wall + more_wall,
            "cpu_s": cpu + more_cpu,
            "network_s": float(tiles.spent[0]) + more_wall,
            "extrapolated_s": more_wall,
            "cells": int(labels.max()),
            "about": f"Cellpose {version} ({dtype})",
            "note": f"{tiles.total} tiles, {tiles.computed} of them computed in each run, "
            f"{statistics.median(tiles.wall_s):.2f} s each; {more_wall:.1f} s of the last run extrapolated",
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
