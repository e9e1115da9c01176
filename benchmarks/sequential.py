"""What is forgotten when a model is taught again and again on one narrow set, with the guard and without.

    python -m benchmarks.sequential --data DIR [--set ctc_fluo_n2dl_hela] [--times 5] [--quick]

The set is cut into squares; each training gets some that no other had, and starts from the model of the one before, which
is what users should not do but will. With the guard (the defaults of `cellbrook train`: general images among the crops,
forgetting measured and mended) and without (``--replay 0 --max-forgetting 1``, and a new model is used even if it is no
better). After each, on a line: AP on squares of the set that are never trained on; mean AP on the frozen general images
that ship, as a share of that of `compact`, which is what the guard watches; and AP on the other sets of DIR/eval, which
nothing watches.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from benchmarks.teaching import Crop, ap_of, copy_into, crops_of, eval_sets, frozen_ap, generated_sets

import cellbrook

ARMS = {"with the guard": {}, "without": {"replay": 0.0, "max_forgetting": 1.0}}
LEFT_OUT = ("wbc_dataset1",)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with eval/")
    parser.add_argument("--set", default="ctc_fluo_n2dl_hela")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--squares", type=int, default=3, help="a training")
    parser.add_argument("--side", type=int, default=320, help="of the squares, in pixels")
    parser.add_argument("--others", type=int, default=12, help="squares of the other sets that are judged on")
    parser.add_argument("--steps", type=int, help="of each training at most")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="tiny generated images: only to see that it runs"
    )
    args = parser.parse_args()
    keywords = {"steps": args.steps, "threads": args.threads}
    if args.quick:
        args.set, args.times, args.squares, args.others = "fluo_nuclei", 2, 2, 2
        keywords |= {"steps": 2, "crop": 64, "batch_size": 1}
    elif args.data is None:
        parser.error("--data or --quick is needed")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sets = generated_sets(work) if args.quick else eval_sets(args.data, LEFT_OUT)
        rng = np.random.default_rng(0)
        crops = {n: crops_of(pairs, n, work / "crops" / n, args.side) for n, pairs in sets.items()}
        own = [crops[args.set][i] for i in rng.permutation(len(crops[args.set]))]
        needed = args.times * args.squares
        if len(own) <= needed:
            parser.error(
                f"{args.set} has {len(own)} squares and {needed} would be trained on: take smaller ones"
            )
        taught, judged = own[:needed], own[needed:]
        rest = [c for name, part in crops.items() if name != args.set for c in part]
        others = [rest[i] for i in rng.permutation(len(rest))[: args.others]]
        shipped = frozen_ap("compact", args.threads)
        print(line("compact", "compact", judged, others, shipped, args), flush=True)
        for arm, wishes in ARMS.items():
            model = "compact"
            for number in range(args.times):
                folder = work / f"{arm}-{number}"
                copy_into(folder, taught[number * args.squares : (number + 1) * args.squares])
                out = work / f"model-{arm.split()[0]}-{number}"
                report = cellbrook.train(folder, out, start=model, seed=number, **keywords, **wishes)
                if report.active or wishes:  # without a guard, the last model is the one in use, good or bad
                    model = str(report.path)
                print(line(f"{arm}, {number + 1}", model, judged, others, shipped, args), flush=True)


def line(
    name: str, model: str, judged: list[Crop], others: list[Crop], shipped: float, args: argparse.Namespace
) -> str:
    frozen = frozen_ap(model, args.threads)
    parts = [f"{name}: AP on {args.set} {ap_of(model, judged, args.threads):.3f}"]
    parts.append(f"general images {frozen:.3f} ({frozen / shipped:.0%} of compact)")
    if others:
        parts.append(f"other sets {ap_of(model, others, args.threads):.3f}")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
