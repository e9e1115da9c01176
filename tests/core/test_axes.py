import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbrook.core.axes import resolve_axes
from cellbrook.errors import AmbiguousAxesError, ImageError, UsageError


@pytest.mark.parametrize(
    ("shape", "kind", "axes"),
    [
        ((512, 640), "float32", "YX"),
        ((1, 3), "uint8", "YX"),
        ((512, 640, 3), "uint8", "YXS"),
        ((1, 512, 640), "uint16", "_YX"),
        ((512, 640, 1), "uint16", "YX_"),
        ((1, 1, 512, 640, 3), "uint8", "__YXS"),
    ],
)
def test_what_cannot_be_otherwise_is_concluded(shape, kind, axes):
    assert resolve_axes(shape, kind=kind).axes == axes


def test_conclusions_are_noted():
    assert "colour picture" in resolve_axes((64, 64, 3), kind="uint8").notes[0]
    assert resolve_axes((64, 64)).notes == ()


@pytest.mark.parametrize(
    ("shape", "kind", "candidates"),
    [
        ((3, 512, 512), "uint8", "CYX, ZYX or TYX"),
        ((60, 512, 512), "uint8", "ZYX, TYX or CYX"),
        ((5, 3, 512, 512), "uint16", "TCYX, TZYX, CZYX or ZCYX"),
        ((2, 3, 4, 60, 50), "uint16", "TCZYX or TZCYX"),
        ((512, 512, 3), "float32", "YXS or YXC"),
        ((512, 512, 3), "uint16", "YXS or YXC"),
        ((512, 512, 4), "float64", "YXC or YXS"),
        ((512, 512, 4), "uint16", "YXC or YXS"),
        ((512, 512, 4), "uint8", "YXC or YXS"),
        ((512, 512, 5), "float32", "YXC"),
        ((10, 64, 64, 3), "uint8", "ZYXS, TYXS, ZYXC or TYXC"),
        ((3, 4, 4), "uint8", "CYX, ZYX or TYX"),
    ],
)
def test_ambiguity_lists_the_candidates(shape, kind, candidates):
    with pytest.raises(AmbiguousAxesError) as caught:
        resolve_axes(shape, kind=kind, name="cells.npy")
    first = candidates.split(",")[0].split(" ")[0]
    assert str(caught.value) == (
        f"cells.npy has shape {shape} and does not say what its axes are: {candidates}? "
        f'give --axes {first} (axes="{first}" in Python)'
        + "; S are the colours of a picture, C channels"
        * ("S" in candidates)
    )


def test_unknown_letters_of_metadata_are_ambiguous_beside_known_ones():
    with pytest.raises(AmbiguousAxesError, match="ZCYX or TCYX"):
        resolve_axes((4, 3, 64, 64), "QCYX", name="a.tif")
    assert resolve_axes((1, 3, 64, 64), "QCYX").axes == "_CYX"


@pytest.mark.parametrize("axes", ["CYZ", "CY", "CYXX", "CQX", "", "YXYX", "C Y X"])
def test_user_axes_that_do_not_fit(axes):
    with pytest.raises(UsageError):
        resolve_axes((3, 64, 64), user_axes=axes)


def test_user_axes_win_over_metadata_and_may_leave_out_ones():
    assert resolve_axes((3, 64, 64), "CYX", "zyx").axes == "ZYX"
    assert resolve_axes((1, 3, 1, 64, 64), "TCZYX", "CYX").axes == "_C_YX"


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5, 6, 7)])
def test_impossible_shapes(shape):
    with pytest.raises(ImageError):
        resolve_axes(shape, name="a.npy")


@given(
    st.lists(st.integers(1, 600), min_size=0, max_size=7),
    st.sampled_from(["uint8", "uint16", "float32", "bool"]),
)
def test_every_shape_is_settled_or_refused_in_one_line(shape, kind):
    message = ""
    axes = ""
    try:
        axes = resolve_axes(shape, kind=kind, name="a").axes
    except (AmbiguousAxesError, ImageError) as error:
        message = str(error)
    if not axes:
        assert message.startswith("a has shape")
        assert "\n" not in message
        return
    assert len(axes) == len(shape)
    assert axes.count("Y") == axes.count("X") == 1
    assert all(n == 1 for a, n in zip(axes, shape, strict=True) if a == "_")


@pytest.mark.parametrize("axes", ["".join(p) for n in (2, 3, 4) for p in itertools.permutations("TZYX", n)])
def test_metadata_axes_are_taken_as_they_are(axes):
    shape = tuple(range(5, 5 + len(axes)))
    if {"Y", "X"} <= set(axes):
        assert resolve_axes(shape, axes).axes == axes
    else:
        with pytest.raises(AmbiguousAxesError):
            resolve_axes(shape, axes)
