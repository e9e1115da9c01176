"""The diameter that cp3 models assume and estimate is the scale at which the pipeline runs them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import cellbrook
from cellbrook.networks.cp3.model import Cp3Net

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")

IMAGE = np.random.RandomState(0).uniform(size=(96, 80)).astype(np.float32)


def model(folder: Path, *, labels: float = 30.0, estimate: float | None = None) -> str:
    """Write a cp3 checkpoint of that mean diameter, and a size model that always gives the estimate."""
    torch.manual_seed(0)
    torch.save(Cp3Net().state_dict() | {"diam_labels": torch.tensor([labels])}, folder / "net")
    if estimate is not None:
        zeros = np.zeros(256)
        size = {"A": zeros, "smean": zeros, "ymean": math.log(estimate / 30.0), "diam_mean": 30.0}
        np.save(folder / "net_size.npy", size, allow_pickle=True)  # type: ignore[arg-type]
    return str(folder / "net")


def scales(name: str, **keywords: object) -> list[float]:
    segmentation = cellbrook.segment(IMAGE, axes="YX", model=name, engine="torch", **keywords)
    assert segmentation.labels.shape == IMAGE.shape
    (plane,) = segmentation.provenance["result"]["planes"]
    return [round(scale, 3) for scale in plane["scales"]]


@pytest.mark.parametrize(
    ("labels", "estimate", "keywords", "expected"),
    [
        (30.0, None, {}, [1.0]),
        (60.0, None, {}, [0.5]),  # a model trained on objects of 60 px assumes 60 px
        (60.0, None, {"diameter": 20}, [1.5]),
        (30.0, 60.0, {}, [1.0, 0.5]),
        (30.0, 33.0, {}, [1.0]),  # near enough: one run is enough
        (60.0, 30.0, {}, [0.5]),  # what the network saw was 30 px across already
        (30.0, 60.0, {"diameter": 20}, [1.5]),
    ],
)
def test_scale(
    labels: float, estimate: float | None, keywords: dict[str, object], expected: list[float], tmp_path: Path
) -> None:
    assert scales(model(tmp_path, labels=labels, estimate=estimate), **keywords) == expected
