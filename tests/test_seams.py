"""With the shipped model: an image in tiles gives the instances of the image as a whole."""

import pytest

import cellbrook
from cellbrook.metrics import adjusted_rand_index
from cellbrook.networks.store import resolve_model


@pytest.mark.parametrize("diameter", ["auto", "none"])
@pytest.mark.parametrize("name", ["brightfield", "fluorescence"])
def test_tiles_leave_no_seam(examples, name, diameter):
    overlap = resolve_model("compact").card.spec.tile_overlap
    segmenter = cellbrook.Segmenter()
    whole = segmenter.segment(examples / f"{name}.png", tile_size=2048, diameter=diameter)
    tiled = segmenter.segment(
        examples / f"{name}.png", tile_size=overlap + 64, tile_overlap=overlap, diameter=diameter
    )
    assert tiled.provenance["result"]["planes"][0]["tiles"] > 1
    assert adjusted_rand_index(whole.labels, tiled.labels) > 0.999
