"""Runs of pixels on the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.errors import UsageError
from cellbrook.server.ghosts import runs_of
from cellbrook.server.runs import decode_runs, encode_runs

SHAPE = (40, 60)
masks = st.binary(min_size=300, max_size=300).map(
    lambda b: np.unpackbits(np.frombuffer(b, np.uint8)).reshape(40, 60).astype(bool)
)


@settings(deadline=None)
@given(masks)
def test_what_is_written_is_read(mask):
    runs = runs_of(mask)
    np.testing.assert_array_equal(decode_runs(encode_runs(runs), SHAPE), runs)
    again = np.zeros(SHAPE, bool)
    for y, x0, x1 in runs:
        again[y, x0:x1] = True
    np.testing.assert_array_equal(again, mask)


@settings(deadline=None)
@given(masks, st.integers(0, 2**24 - 1))
def test_labels_travel_with_the_runs_of_a_patch(mask, label):
    runs = runs_of(mask)
    labelled = np.concatenate([runs, np.full((len(runs), 1), label)], axis=1)
    np.testing.assert_array_equal(decode_runs(encode_runs(labelled), SHAPE, labelled=True), labelled)


def test_a_cell_is_below_200_bytes():
    yy, xx = np.mgrid[:41, :39]
    mask = np.hypot((yy - 20) / 20.5, (xx - 19) / 19.5) < 1
    assert len(encode_runs(runs_of(mask) + np.array([3000, 3000, 3000]))) < 200


@given(st.binary(max_size=60))
def test_any_bytes_are_runs_in_the_image_or_refused(data):
    try:
        runs = decode_runs(data, SHAPE)
    except UsageError:
        return
    covered = np.zeros(SHAPE, int)
    for y, x0, x1 in runs:
        assert 0 <= y < 40
        assert 0 <= x0 < x1 <= 60
        covered[y, x0:x1] += 1
    assert covered.max(initial=0) <= 1  # no two meet


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xff\xff\xff\xff\xff\xff\x01" * 3,
        b"\x01\x02",
        b"\x00\x00\x00",
        b"\x28\x00\x01",
        b"\x00\x3c\x01",
    ],
)
def test_what_leaves_the_image_or_is_cut_short_is_refused(data):
    with pytest.raises(UsageError):
        decode_runs(data, SHAPE)
