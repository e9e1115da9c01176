"""Load what ``record_networks.py --checkpoints`` saved, run it here, print the largest differences.

::

    python tests/parity/compare_networks.py DIR
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import network_recipe as recipe
import numpy as np
import torch

from cellbrook import networks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path)
    folder = parser.parse_args().dir
    torch.set_num_threads(2)
    for family in ("cp3", "cpsam", "cpdino"):
        if not (folder / f"networks_{family}.npz").exists():
            continue
        recorded = np.load(folder / f"networks_{family}.npz")
        for checkpoint in sorted(folder.glob(f"{family}_*.pth")):
            net = networks.load(checkpoint)
            prefix = checkpoint.stem.removeprefix(f"{family}_")
            for name in sorted(
                k.removesuffix("_y") for k in recorded.files if k.startswith(prefix) and k.endswith("_y")
            ):
                x = torch.from_numpy(
                    recipe.image(int(recorded[f"{name}_seed"]), tuple(recorded[f"{name}_shape"]))
                )
                start = time.perf_counter()
                with torch.no_grad():
                    out = net(x)
                taken = time.perf_counter() - start
                y = torch.cat([out["flow"] * 5, out["cellprob"]], dim=1).numpy()
                wanted = recorded[f"{name}_y"]
                worst = np.abs(y - wanted).max()
                line = f"{family} {name}: largest difference {worst:.2e}"
                line += f" (values: s.d. {wanted.std():.2f}, max {np.abs(wanted).max():.1f})"
                if "style" in out:
                    line += f", style {np.abs(out['style'].numpy() - recorded[f'{name}_style']).max():.2e}"
                print(f"{line}, {taken:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
