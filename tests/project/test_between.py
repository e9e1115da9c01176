"""Planes between two that show an object."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cellbrook.errors import EditError
from cellbrook.project import Interpolate, Lock, Merge, Paint, Project
from cellbrook.project._between import _distance, in_between


def disc(y, x, radius, shape=(60, 80)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def runs(mask):
    return [(y, int(x), int(x) + 1) for y, x in np.argwhere(mask)]


@given(st.integers(0, 2**30 - 1))
def test_the_distance_is_that_to_the_nearest_pixel_outside(bits):
    mask = np.array([bits >> i & 1 for i in range(30)], bool).reshape(5, 6)
    if mask.all():
        return
    outside = np.argwhere(~mask)
    for y, x in np.ndindex(mask.shape):
        nearest = np.sqrt(((outside - (y, x)) ** 2).sum(axis=1).min())
        assert _distance(mask)[y, x] == pytest.approx(nearest)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_a_disc_that_wanders_and_grows_is_a_disc_on_the_way(share):
    a, b = disc(20, 15, 6), disc(40, 60, 12)  # they do not overlap
    expected = disc(20 + 20 * share, 15 + 45 * share, 6 + 6 * share)
    found = in_between(a, b, share)
    assert np.sum(found & expected) / np.sum(found | expected) > 0.85
    if share in (0.0, 1.0):
        assert np.array_equal(found, b if share else a)


@pytest.fixture
def project(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((2, 7, 60, 80), np.uint8), metadata={"axes": "TZYX"})
    with Project.create(tmp_path / "p", images=[tmp_path / "s.tif"]) as made:
        yield made


def test_what_is_drawn_first_and_last_is_filled_between_at_its_time(project):
    (record,) = project.images()
    store, log = project.labels(record.id), project.log(record.id)
    one, last, other, later = store.lease(4)
    log.apply(Paint(one, runs(disc(30, 20, 8)), plane=1))
    log.apply(Paint(other, runs(disc(30, 44, 8)), plane=3))
    log.apply(Paint(last, runs(disc(30, 56, 8)), plane=5))
    assert not store.joined()
    log.apply(Merge((one, last)))
    assert store.joined()
    log.apply(Paint(one, runs(disc(30, 20, 8)), plane=9))  # at the next time
    log.apply(Paint(later, runs(disc(10, 70, 4)), plane=9))
    before = store.read_all()
    log.apply(Interpolate((one,)))
    after = store.read_all()
    for plane, x in ((2, 29), (3, 38), (4, 47)):
        mine, ideal = after[0, plane] == one, disc(30, x, 8)
        if plane == 3:
            assert np.array_equal(after[0, 3] == other, before[0, 3] == other), "other cells stay"
            ideal = ideal & (before[0, 3] != other)
        assert np.sum(mine & ideal) / np.sum(mine | ideal) > 0.9, plane
        assert {r.area for r in store.objects(plane, ids=[one])} == {int(mine.sum())}
    for plane in (0, 1, 5, 6):
        assert np.array_equal(after[0, plane], before[0, plane])
    assert np.array_equal(after[1], before[1]), "nothing is filled from time to time"
    with pytest.raises(EditError, match="no plane to fill"):
        log.apply(Interpolate((later,)))
    log.undo()
    assert np.array_equal(store.read_all(), before)
    log.apply(Lock((one,), True))
    with pytest.raises(EditError, match="locked"):
        log.apply(Interpolate((one,)))
