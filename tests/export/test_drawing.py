"""The canvas of small charts."""

import string

import numpy as np
import pytest

from cellbrook.export.drawing import Canvas, _glyphs, heat_color


def ink(canvas):
    return (canvas.pixels != 255).any(axis=2)


def test_every_printable_character_has_a_picture_of_its_own():
    glyphs = _glyphs()
    assert set(string.ascii_letters + string.digits + ".,-+%():=_/ ") <= set(glyphs)
    assert all(g.shape == (9, 5) for g in glyphs.values())
    assert len({g.tobytes() for g in glyphs.values()}) == len(glyphs)


@pytest.mark.parametrize(("align", "left"), [("left", 50), ("middle", 41), ("right", 33)])
def test_text_is_aligned(align, left):
    canvas = Canvas(30, 100)
    assert canvas.text(10, 50, "HIH", align=align) == 17
    columns = np.flatnonzero(ink(canvas).any(0))
    rows = np.flatnonzero(ink(canvas).any(1))
    assert abs(columns[0] - left) <= 1
    assert columns[-1] - columns[0] == 16
    assert (rows[0], rows[-1]) == (10, 16)


def test_upright_text_reads_from_bottom_to_top():
    flat, upright = Canvas(60, 60), Canvas(60, 60)
    flat.text(20, 5, "F1 at", scale=2)
    upright.text(55, 20, "F1 at", scale=2, upright=True)
    trim = [ink(c)[np.ix_(ink(c).any(1), ink(c).any(0))] for c in (flat, upright)]
    np.testing.assert_array_equal(np.rot90(trim[0]), trim[1])


def test_nothing_is_drawn_outside():
    canvas = Canvas(20, 20)
    canvas.text(-3, -3, "long words beyond the edge")
    canvas.line([-50, 50], [-50, 50], (0, 0, 0))
    canvas.rectangle(-5, -5, 100, 8, (1, 2, 3))
    canvas.dots([np.float64(19)], [25], (0, 0, 0))
    assert ink(canvas).any()


def test_a_line_has_gaps_where_points_are_missing():
    canvas = Canvas(20, 100)
    canvas.line([10, 10, np.nan, 10, 10], [0, 30, 50, 70, 99], (0, 0, 0))
    drawn = ink(canvas).any(0)
    assert drawn[:30].all()
    assert not drawn[35:65].any()


def test_heat_grows_lighter():
    colors = heat_color(np.linspace(0, 1, 40)).astype(float)
    luminance = colors @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert heat_color(np.array([np.nan, 7.0])).shape == (2, 3)


def test_a_border_lies_inside():
    canvas = Canvas(12, 12)
    canvas.rectangle(2, 2, 8, 8, (0, 0, 0), line=2)
    drawn = ink(canvas)
    assert drawn[2:10, 2:10].sum() == 64 - 16
    assert drawn.sum() == 48
