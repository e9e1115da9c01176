"""The recipe of the shipped model: what it generates to learn from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cellbrook.training.compact import find_hard, generate_pool, synthetic_images  # noqa: E402


class Sees:
    """A model that finds something wherever a pixel is brighter than most."""

    def __init__(self, model: str, threads: int) -> None:
        self.shown = 0

    def segment(self, image: np.ndarray, axes: str) -> SimpleNamespace:
        assert axes == "CYX"
        self.shown += 1
        return SimpleNamespace(labels=np.full(image.shape[-2:], self.shown % 3 == 0, np.uint32))


def test_images_are_kept_in_which_a_model_found_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbrook.Segmenter", Sees)
    find_hard(tmp_path, 2, first_seed=10, size=64)
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["empty_hard-00012", "empty_hard-00015"]
    find_hard(tmp_path, 3, first_seed=10, size=64)  # goes on behind what is there
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "empty_hard-00018.npz").exists()
    images = synthetic_images(tmp_path)
    assert {image.look for image in images} == {"empty/empty_hard"}
    assert not any(image.labels.any() for image in images)


def test_every_family_and_source_is_in_the_pool(tmp_path):
    from cellbrook.training.compact import POOL_SHARES, SHARES
    from cellbrook.training.synthetic import FAMILIES

    generate_pool(tmp_path, 1, size=64)
    images = synthetic_images(tmp_path)
    count = {family: sum(i.look.endswith("/" + family) for i in images) for family in FAMILIES}
    assert all(count[family] >= POOL_SHARES.get(family, 1) for family in FAMILIES)
    assert {image.look.split("/")[0] for image in images} <= set(SHARES)
    assert sum(SHARES.values()) == pytest.approx(1)
