import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from cellbrook.core.colors import label_colors


def test_background_is_black_and_nothing_else_is():
    table = label_colors(5000)
    assert table.shape == (5001, 3)
    assert table.dtype == np.uint8
    assert not table[0].any()
    assert table[1:].max(axis=1).min() > 80


def test_colours_do_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(label_colors(7), label_colors(900)[:8])


def test_ids_close_to_each_other_differ_strongly():
    lab = rgb2lab(label_colors(2000)[None, 1:] / 255)[0]
    for apart in range(1, 9):
        assert deltaE_ciede2000(lab[:-apart], lab[apart:]).min() > 15


def test_lightness_alone_tells_the_next_id_apart():
    lightness = rgb2lab(label_colors(2000)[None, 1:] / 255)[0, :, 0]
    steps = np.abs(np.diff(lightness))
    # the rest of the pairs differ in blue against yellow, which nearly everybody sees
    assert np.median(steps) > 2
    assert lightness.max() - lightness.min() > 30


def test_seeds_give_other_colours_and_zero_labels_one_row():
    assert (label_colors(20, seed=1)[1:] != label_colors(20)[1:]).any(axis=1).all()
    assert label_colors(0).shape == (1, 3)
    with pytest.raises(ValueError, match="0 or more"):
        label_colors(-1)
