"""A plane in blocks gives what it gives whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cellbrook import blocks, inference, pipeline
from cellbrook.blocks import Block, plan_blocks
from cellbrook.errors import Cancelled, ImageError
from cellbrook.testing.fakes import BLOB_SPEC

from .test_pipeline import Sorting, blobs, run


@pytest.fixture
def small(monkeypatch):
    """Blocks of 48 px and windows of 128, for planes above 10,000 px."""
    monkeypatch.setattr(pipeline, "LARGEST_WHOLE_PX", 10_000)
    for name, value in {"WINDOW_PX": 128, "CONTEXT_PX": 8, "SAMPLES": 2, "SAMPLE_PX": 64}.items():
        monkeypatch.setattr(blocks, name, value)


def both(monkeypatch, image, **keywords):
    """Return result and report in blocks, and whole."""
    parted = run(image, **keywords)
    monkeypatch.setattr(pipeline, "LARGEST_WHOLE_PX", 10**9)
    return parted, run(image, **keywords)


@pytest.mark.parametrize("shape", [(300, 420), (1000, 30), (128, 131)])
def test_the_same_objects_as_whole(small, monkeypatch, shape):
    (parted, report), (whole, _) = both(monkeypatch, blobs(shape, count=60))
    assert report.planes[0]["blocks"] > 3
    np.testing.assert_array_equal(parted.labels, whole.labels)
    np.testing.assert_allclose(parted.output.flows, whole.output.flows, atol=1e-5)
    np.testing.assert_allclose(parted.output.cellprob, whole.output.cellprob, atol=1e-5)
    for name in whole.objects:
        np.testing.assert_allclose(parted.objects[name], whole.objects[name], err_msg=name)
    assert len(parted.objects.discarded) == len(whole.objects.discarded)


@pytest.mark.parametrize(("samples", "mosaic"), [(2, "fits"), (6, "is too large, too")])
def test_a_plane_whose_objects_must_be_enlarged_is_as_large_as_the_network_sees_it(
    monkeypatch, samples, mosaic
):
    image = blobs((300, 420), count=60)
    enlarged = {"spec": dataclasses.replace(BLOB_SPEC, object_diameter_px=24.0), "diameter": 12}
    whole, report = run(image, **enlarged)
    assert report.planes[0]["scales"] == [2.0]
    assert "blocks" not in report.planes[0]
    monkeypatch.setattr(inference, "LARGEST_WHOLE_PX", 3 * image.size)
    for name, value in {"WINDOW_PX": 256, "CONTEXT_PX": 16, "SAMPLES": samples, "SAMPLE_PX": 64}.items():
        monkeypatch.setattr(blocks, name, value)
    parted, report = run(image, **enlarged)
    assert report.planes[0]["blocks"] > 3, mosaic
    np.testing.assert_array_equal(parted.labels > 0, whole.labels > 0)
    assert len(parted.objects) == len(whole.objects)


def test_an_enlarged_plane_that_does_not_fit_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(inference, "free_memory", lambda: 2**29)
    monkeypatch.setattr(inference, "WORKING_BYTES", 2**12)
    with pytest.raises(ImageError, match=r"2 times as large, which takes about .* GiB are free: crop"):
        run(blobs((300, 420)), spec=dataclasses.replace(BLOB_SPEC, object_diameter_px=24.0), diameter=12)


def test_the_same_class_maps_as_whole(small, monkeypatch):
    (parted, _), (whole, _) = both(monkeypatch, blobs((300, 420), count=60), engine=Sorting())
    np.testing.assert_allclose(parted.output.classes, whole.output.classes, atol=1e-5)


def test_what_is_discarded_keeps_its_reason(small, monkeypatch):
    image = blobs((300, 420), count=60)
    (parted, _), (whole, _) = both(
        monkeypatch, image, exclude_border=True, max_size_fraction=80 / image.size, min_size=30
    )
    assert {"touches_border", "too_large"} <= set(whole.objects.discard_counts())
    assert parted.objects.discard_counts() == whole.objects.discard_counts()
    np.testing.assert_array_equal(parted.labels, whole.labels)
    for table in (parted.objects.discarded, whole.objects.discarded):
        assert table["label"].tolist() == list(range(1, len(table) + 1))
    order = [
        np.lexsort((t["centroid_x"], t["centroid_y"]))
        for t in (parted.objects.discarded, whole.objects.discarded)
    ]
    np.testing.assert_allclose(
        parted.objects.discarded["figure"][order[0]], whole.objects.discarded["figure"][order[1]]
    )


def test_channels_have_one_order_in_all_blocks(small, monkeypatch):
    """Half of the plane is fuller in the one channel, half in the other."""
    spec = dataclasses.replace(BLOB_SPEC, channels=2, order_free=True)
    image = np.stack([blobs((300, 420), count=60), blobs((300, 420), seed=1, count=60)])
    image[0, :, 100:] = 0
    (parted, _), (whole, _) = both(monkeypatch, image, axes="CYX", spec=spec)
    np.testing.assert_array_equal(parted.labels, whole.labels)


def test_flows_are_left_out_where_nobody_wants_them(small):
    data, _ = run(blobs((300, 420)), keep_output=False)
    assert data.output is None
    assert data.labels.any()


def test_cancelling_stops_between_blocks(small):
    class Impatient:
        done = 0

        def start(self, task, total):
            self.total = total

        def advance(self, count=1):
            self.done += count

        def check_cancelled(self):
            if self.done == 3:
                raise Cancelled("enough")

    progress = Impatient()
    with pytest.raises(Cancelled):
        run(blobs((300, 420)), progress=progress)
    assert progress.done == 3 < progress.total


def test_blocks_cover_a_plane_once_with_room_around_them():
    for shape, scale in [((9000, 12345), 1.0), ((30000, 8000), 0.3), ((8193, 8193), 3.0)]:
        seen = np.zeros([-(-n // 16) for n in shape], np.int8)
        for block in plan_blocks(shape, scale, 34.0, 32):
            y0, x0, y1, x1 = block.core
            assert y0 % 16 == x0 % 16 == 0
            seen[y0 // 16 : -(-y1 // 16), x0 // 16 : -(-x1 // 16)] += 1
            wy0, wx0, wy1, wx1 = block.window
            around = (blocks.CONTEXT_PX + 34) / scale
            assert wy0 <= max(0, y0 - around)
            assert wx0 <= max(0, x0 - around)
            assert wy1 >= min(shape[0], y1 + around)
            assert wx1 >= min(shape[1], x1 + around)
            assert max(wy1 - wy0, wx1 - wx0) * scale <= blocks.WINDOW_PX + 32
        assert (seen == 1).all()


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.15, 0.075, 1 / 16])
def test_large_objects_make_blocks_larger_and_not_endlessly_many(scale):
    """Their surroundings alone would fill a window."""
    planned = plan_blocks((10_000, 10_000), scale, 60.0, 32)
    assert len(planned) <= 36


def test_blocks_that_do_not_fit_the_memory_are_refused_before_the_first(small, monkeypatch):
    monkeypatch.setattr(blocks, "free_memory", lambda: 2**18)
    with pytest.raises(ImageError, match=r"objects of about \d+ px need blocks .* GiB are free: shrink"):
        run(blobs((300, 420)))


def test_neighbours_that_see_an_object_differently_leave_one_whole():
    plane = np.zeros((20, 40), np.uint32)
    plane[5:15, 5:20] = 1
    mine = np.zeros((20, 40), np.uint32)
    mine[5:15, 18:30] = 1  # overlaps what the first block gave
    mine[2:4, 18:22] = 2
    mine[8:12, 6:10] = 3  # nothing of it is left
    names = {"label": [1, 2, 3], "centroid_y": [10.0, 3, 10], "centroid_x": [24.0, 20, 8]}
    table = blocks._put(plane, mine, blocks.ObjectTable(names), 1)
    assert table["label"].tolist() == [2, 3]
    assert table["centroid_x"].tolist() == [24.0, 20.0]
    assert np.unique(plane).tolist() == [0, 1, 2, 3]
    assert (plane[5:15, 5:20] == 1).all()
    assert (plane[5:15, 20:30] == 2).all()
    assert Block((0, 0, 1, 1), (0, 0, 1, 1)) == Block((0, 0, 1, 1), (0, 0, 1, 1))
