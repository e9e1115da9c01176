"""Record what Cellpose 4.2.1.1 makes of a few small scenes, for ``test_dynamics.py`` beside this file.

Needs two environments. With Cellbrook's (and scipy), make the inputs; with Cellpose's, the outputs::

    python record_dynamics.py inputs FOLDER
    python_with_cellpose record_dynamics.py outputs FOLDER

Then ``FOLDER/dynamics_*.npz`` belong beside this file. Flows are stored as int8 hundredths and cellprob as int8
sixteenths, so that both sides read the same numbers from small files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SCENES = ("easy", "hard", "empty", "full", "volume", "filaments")


def encode(flows, cellprob, labels):
    """Return the arrays of one input file."""
    return {
        "flows_hundredths": np.clip(np.round(flows * 100), -127, 127).astype(np.int8),
        "cellprob_sixteenths": np.clip(np.round(cellprob * 16), -127, 127).astype(np.int8),
        "labels": labels.astype(np.uint16),
    }


def decode(recorded):
    """Return flows and cellprob as float32."""
    return (
        recorded["flows_hundredths"].astype(np.float32) / np.float32(100),
        recorded["cellprob_sixteenths"].astype(np.float32) / np.float32(16),
    )


def make_inputs(folder: Path) -> None:
    """Write the inputs of all scenes."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import scenes

    for name in SCENES:
        rng = np.random.default_rng(SCENES.index(name))
        if name == "easy":
            labels, flows, cellprob = scenes.scene(200, seed=3, noise=0.15)
        elif name == "hard":
            labels, flows, cellprob = scenes.scene(256, seed=4, noise=0.42)
            cellprob = cellprob + 1.5  # objects touch, and there is much between them
        elif name == "empty":
            labels, flows, cellprob = scenes.scene(64, seed=5)
            cellprob = cellprob - 20
        elif name == "full":
            labels, flows, cellprob = scenes.scene(80, seed=6)
            cellprob = np.abs(cellprob) + 0.5
        elif name == "volume":
            labels, flows, cellprob = scenes.volume((24, 60, 50), seed=7)
        else:
            labels = (
                np.unique(scenes.filaments(200, seed=8), return_inverse=True)[1]
                .reshape(200, 200)
                .astype(np.uint32)
            )
            flows, cellprob = scenes.predicted(labels, seed=8, noise=0.2)
        flows = flows + rng.normal(0, 0.01, flows.shape)
        np.savez_compressed(folder / f"dynamics_{name}.npz", **encode(flows, cellprob, labels))


def record_outputs(folder: Path) -> None:
    """Add the peer's masks and flows to each file."""
    import torch
    from cellpose import dynamics

    torch.set_num_threads(1)
    for name in SCENES:
        path = folder / f"dynamics_{name}.npz"
        recorded = dict(np.load(path))
        flows, cellprob = decode(recorded)
        do_3d = cellprob.ndim == 3
        masks = dynamics.compute_masks(5 * flows, cellprob, do_3D=do_3d, min_size=15)
        labels = recorded["labels"].astype(int)
        peer_flows = (
            dynamics.masks_to_flows_gpu_3d(labels) if do_3d else dynamics.masks_to_flows_gpu(labels)[0]
        )
        recorded["masks"] = masks.astype(np.uint16)
        # a 32767th is finer than what float32 keeps of the direction
        if name in ("easy", "volume", "filaments"):
            recorded["peer_flows_int16"] = np.round(peer_flows * 32767).astype(np.int16)
        for key, options in {
            "masks_niter7": {"niter": 7},
            "masks_no_qc": {"flow_threshold": 0.0, "min_size": -1},
            "masks_strict": {"flow_threshold": 0.15, "cellprob_threshold": 1.0, "min_size": 60},
        }.items():
            options = {"min_size": 15, **options}
            recorded[key] = dynamics.compute_masks(5 * flows, cellprob, do_3D=do_3d, **options).astype(
                np.uint16
            )
        np.savez_compressed(path, **recorded)


if __name__ == "__main__":
    {"inputs": make_inputs, "outputs": record_outputs}[sys.argv[1]](Path(sys.argv[2]))
