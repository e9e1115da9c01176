"""How many pixels a second the network of `compact` sees: ``python benchmarks/network.py [--threads 2]``.

One tile of 2048 x 2048, warm; the median of some runs for each engine that is installed and each precision. Whether int8
sums saturate on a processor is another question (`cellbrook doctor`): the time is the same.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from cellbrook import engines
from cellbrook.errors import CellbrookError
from cellbrook.networks.store import resolve_model
from processes import machine

SIDE = 2048
BARS = {"fp32": 1.5, "int8": 4.0}  # Mpx a second on two threads of onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    model = resolve_model("compact")
    tile = np.random.default_rng(0).random((1, model.card.spec.planes, SIDE, SIDE), np.float32)
    for name in ("onnxruntime", "openvino", "torch"):
        for precision in BARS:
            try:
                engine = engines.create(
                    model, engine=name, device="cpu", precision=precision, threads=args.threads
                )
            except CellbrookError as error:
                print(f"{name:<12}{precision:<6}{' '.join(str(error).split())[:90]}")
                continue
            engine.run(tile)
            seconds = []
            for _ in range(args.repeats):
                start = time.perf_counter()
                engine.run(tile)
                seconds.append(time.perf_counter() - start)
            speed = SIDE * SIDE / 1e6 / statistics.median(seconds)
            bar = f"   bar {BARS[precision]:g}" if name == "onnxruntime" else ""
            print(f"{name:<12}{precision:<6}{speed:6.2f} Mpx/s{bar}", flush=True)


if __name__ == "__main__":
    main()
