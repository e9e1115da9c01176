"""Cellpose 3 trained and asked by its own functions, run by an interpreter that has it.

Started by ``accuracy/equal.py`` and ``training.py``.

Training is `cellpose.train.train_seg` from random weights: its normalisation, rescaling of every image to 30 px,
augmentation, batch of 8 crops of 224 px, and its choice to leave out images with fewer than five objects. Nothing in
it ends by time, so its optimiser is wrapped: the learning rate follows the shape that `train_seg` gives 500 epochs (a
fiftieth of them rising, constant to four fifths, then halved ten times), laid over the minutes, and the run ends when
they are up. Flows of the training labels are computed before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from cellpose import dynamics, models, train

# of the function `train_seg`, and of Cellpose's command line
OPTIMIZERS = {"adamw": {"learning_rate": 0.005, "SGD": False}, "sgd": {"learning_rate": 0.2, "SGD": True}}
DIAMETER = 30.0
GREY = [0, 0]
NATIVE, OWN, SIZED = "native", "mean diameter of training", "true diameter"


class TimeUpError(Exception):
    pass


def factor(share: float) -> float:
    """Return the learning rate, as a part of the largest, when this share of the time is spent."""
    if share < 0.02:
        return share / 0.02
    return 1.0 if share < 0.8 else 0.5 ** min(10, 1 + int((share - 0.8) / 0.02))


def timed(kind, seconds: float, told: dict):
    """Return an optimiser class whose learning rate follows the clock, which starts when it is made."""

    class Timed(kind):
        def __init__(self, parameters, lr, **keywords):
            super().__init__(parameters, lr=lr, **keywords)
            self.largest, self.start = lr, time.monotonic()
            told["steps"] = 0

        def step(self, closure=None):
            spent = time.monotonic() - self.start
            for group in self.param_groups:
                group["lr"] = self.largest * factor(spent / seconds)
            super().step(closure)
            told["steps"] += 1
            told["seconds"] = time.monotonic() - self.start
            if told["steps"] in (1, 10) or told["steps"] % 100 == 0:
                print(f"step {told['steps']}, {told['seconds'] / 60:.1f} min", flush=True)
            if told["seconds"] >= seconds:
                raise TimeUpError

    return Timed


def learn(settings: dict) -> None:
    images, flows = [], []
    cache = Path(settings["folder"]) / "flows"
    cache.mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(settings["images"]).glob("*.npz")):
        with np.load(path) as pair:
            images.append(pair["image"])
            labels = pair["labels"].astype(np.uint16)
        kept = cache / f"{path.stem}.npy"
        if not kept.exists():
            with (cache / "part").open("wb") as file:
                np.save(file, dynamics.labels_to_flows([labels], device=torch.device("cpu"))[0])
            (cache / "part").replace(kept)
        flows.append(np.load(kept))
    net = models.CellposeModel(gpu=False, pretrained_model=False, diam_mean=DIAMETER).net
    net.mkldnn = False  # it cannot be trained otherwise
    print(f"{len(images)} images", flush=True)
    told = {"images": len(images), "parameters": sum(p.numel() for p in net.parameters())}
    choice = OPTIMIZERS[settings["optimizer"]]
    name = "SGD" if choice["SGD"] else "AdamW"
    setattr(torch.optim, name, timed(getattr(torch.optim, name), 60 * settings["minutes"], told))
    try:
        train.train_seg(
            net,
            train_data=images,
            train_labels=flows,
            channels=settings.get("channels", GREY),
            channel_axis=0,  # where there is one
            n_epochs=100_000,
            save_path=settings["folder"],
            save_every=100_000,
            **choice,
        )
    except TimeUpError:
        net.save_model(str(Path(settings["folder"]) / "model"))
    told["recipe"] = f"train_seg, {name} {choice['learning_rate']}, learning rate fitted to the minutes"
    (Path(settings["folder"]) / "training.json").write_text(
        json.dumps({**settings["told"], **told}, indent=1)
    )


def segment(settings: dict) -> None:
    folder = Path(settings["folder"])
    model = models.CellposeModel(gpu=False, pretrained_model=str(folder / "model"))
    for path in settings["ask"]:
        image, kept = Path(path), f"{Path(path).parent.name}/{Path(path).stem}_labels.tif"
        with np.load(image) as pair:
            pixels, diameter = pair["image"], float(pair["diameter_px"])
        # told nothing, it takes the mean diameter of the images it learnt from; 30 px leaves the image as it is, as do
        # images without objects, which have no true diameter
        told = {NATIVE: DIAMETER, OWN: None, SIZED: diameter or DIAMETER}
        for scale in settings["scales"]:
            asked = told[scale]
            out = folder / scale / kept
            if out.exists():
                continue
            start = time.monotonic()
            channels = settings.get("channels", GREY)
            labels = model.eval(pixels, channels=channels, channel_axis=0, diameter=asked)[0]
            out.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(out.with_suffix(".part"), labels.astype(np.uint32), compression="zlib")
            out.with_suffix(".part").replace(out)
            print(f"{kept} {scale}: {labels.max()} in {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(0)
    torch.set_num_threads(asked["threads"])
    cv2.setNumThreads(asked["threads"])
    {"train": learn, "segment": segment}[asked["do"]](asked)
