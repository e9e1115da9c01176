"""StarDist trained and asked by its own functions, run by an interpreter that has it. Started by ``accuracy/equal.py``.

Training follows its 2-D example: 32 rays on a grid of 2 x 2, percentiles 1 and 99.8 to 0 and 1, holes in labels
filled, 15 % of the images drawn for validation, flips, turns, brightness and noise as augmentation, 100 steps of 4
patches of 256 px an epoch, Adam 3e-4 halved where the validation loss stands still for a tenth of the epochs, best
weights kept, thresholds then fitted on the validation images. Its 400 epochs would not fit: epochs go on until the
minutes are up, and the patience is a tenth of those that fit. Fitting the thresholds comes after the clock.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf
import tifffile
from csbdeep.utils import normalize
from stardist import fill_label_holes
from stardist.models import Config2D, StarDist2D

VALIDATION_SHARE, PATIENCE_SHARE = 0.15, 0.1
NATIVE, SIZED = "native", "true diameter"


def scaled(image):
    return normalize(image, 1, 99.8, axis=(0, 1))


def augmented(image, labels):
    """Return a patch turned or mirrored, brighter or darker, noisier: as the example does it."""
    turns, mirrored = np.random.randint(4), np.random.rand() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if mirrored:
        image, labels = image[::-1], labels[::-1]
    image = image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2)
    return image + 0.02 * np.random.uniform() * np.random.standard_normal(image.shape), labels


class Clock(tf.keras.callbacks.Callback):
    """Ends the training when the time is up, and keeps the patience at a tenth of the epochs that fit into it."""

    def __init__(self, seconds: float, plateau, told: dict) -> None:
        super().__init__()
        self.limit, self.plateau, self.told = seconds, plateau, told

    def on_train_begin(self, logs=None):
        self.start = time.monotonic()
        self.told["steps"] = 0

    def on_train_batch_end(self, batch, logs=None):
        self.told["steps"] += 1
        self.told["seconds"] = time.monotonic() - self.start
        if self.told["seconds"] >= self.limit:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        spent = time.monotonic() - self.start
        fit = (epoch + 1) * self.limit / spent
        self.plateau.patience = max(1, round(PATIENCE_SHARE * fit))
        if spent >= self.limit:
            self.model.stop_training = True
        print(
            f"step {self.told['steps']}, {spent / 60:.1f} min, patience {self.plateau.patience}", flush=True
        )


def learn(settings: dict) -> None:
    images, labels = [], []
    for path in sorted(Path(settings["images"]).glob("*.npz")):
        with np.load(path) as pair:
            images.append(scaled(pair["image"]))
            labels.append(fill_label_holes(pair["labels"].astype(np.int32)))
    order = np.random.RandomState(42).permutation(len(images))
    count = max(1, round(VALIDATION_SHARE * len(images)))
    kept_back, learnt = order[-count:], order[:-count]
    x_val, y_val = ([side[i] for i in kept_back] for side in (images, labels))
    folder = Path(settings["folder"])
    config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=1, train_tensorboard=False)
    model = StarDist2D(config, name="model", basedir=str(folder))
    model.prepare_for_training()
    told = {"images": len(learnt), "validation_images": count, "parameters": model.keras_model.count_params()}
    print(f"{len(learnt)} images, {count} for validation", flush=True)
    plateau = next(c for c in model.callbacks if isinstance(c, tf.keras.callbacks.ReduceLROnPlateau))
    model.callbacks.append(Clock(60 * settings["minutes"], plateau, told))
    model.train(
        [images[i] for i in learnt],
        [labels[i] for i in learnt],
        validation_data=(x_val, y_val),
        augmenter=augmented,
        seed=0,
        epochs=100_000,
    )
    told["thresholds"] = model.optimize_thresholds(x_val, y_val)
    told["recipe"] = "2-D example, 32 rays, grid 2, Adam 3e-4, patience a tenth of the epochs that fit"
    (folder / "training.json").write_text(json.dumps({**settings["told"], **told}, indent=1))


def segment(settings: dict) -> None:
    folder = Path(settings["folder"])
    model = StarDist2D(None, name="model", basedir=str(folder))
    for path in settings["ask"]:
        kept = f"{Path(path).parent.name}/{Path(path).stem}_labels.tif"
        with np.load(path) as pair:
            image, diameter = scaled(pair["image"]), float(pair["diameter_px"])
        # the diameter that it learnt, over the image's
        factor = settings["told"]["diameter_px"] / diameter if diameter else 1.0
        for scale, zoom in {NATIVE: None, SIZED: factor}.items():
            out = folder / scale / kept
            if out.exists():
                continue
            start = time.monotonic()
            sides = np.array(image.shape) * (zoom or 1)
            found = model.predict_instances(
                image, scale=zoom, n_tiles=tuple(np.ceil(sides / 1024).astype(int)), show_tile_progress=False
            )[0]
            out.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(out.with_suffix(".part"), found.astype(np.uint32), compression="zlib")
            out.with_suffix(".part").replace(out)
            print(f"{kept} {scale}: {found.max()} in {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    tf.config.threading.set_intra_op_parallelism_threads(asked["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(asked["threads"])
    tf.random.set_seed(0)
    {"train": learn, "segment": segment}[asked["do"]](asked)
