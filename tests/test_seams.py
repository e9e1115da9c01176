"""With the shipped model: an image in tiles gives the instances of the image as a whole."""

import numpy as np
import pytest

import cellbrook
from cellbrook.networks.store import resolve_model


def adjusted_rand_index(a, b):
    """Agreement of two partitions of the pixels, 1 if equal (Hubert and Arabie 1985)."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_counts=True)[1].astype(float)
    of_a = np.unique(a, return_counts=True)[1].astype(float)
    of_b = np.unique(b, return_counts=True)[1].astype(float)

    def choose(n):
        return (n * (n - 1) / 2).sum()

    expected = choose(of_a) * choose(of_b) / choose(np.array([float(a.size)]))
    return (choose(pairs) - expected) / ((choose(of_a) + choose(of_b)) / 2 - expected)


def test_the_index_itself():
    a = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand_index(a, a + 5) == pytest.approx(1)
    assert adjusted_rand_index(a, np.array([0, 0, 1, 2, 2, 1])) < 0.5


@pytest.mark.parametrize("name", ["brightfield", "fluorescence"])
def test_tiles_leave_no_seam(examples, name):
    overlap = resolve_model("compact").card.spec.tile_overlap
    segmenter = cellbrook.Segmenter()
    whole = segmenter.segment(examples / f"{name}.png", tile_size=1024)
    tiled = segmenter.segment(examples / f"{name}.png", tile_size=640, tile_overlap=overlap)
    assert tiled.provenance["result"]["planes"][0]["tiles"] > 1
    assert adjusted_rand_index(whole.labels, tiled.labels) > 0.999
