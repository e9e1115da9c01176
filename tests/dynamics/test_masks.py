import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook import MaskParams
from cellbrook.dynamics import _reference, flows_from_labels, labels_from_flows
from cellbrook.errors import UsageError
from cellbrook.metrics import mask_ious
from cellbrook.resize import smooth


def _ellipses(size=140, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.uint32)
    yy, xx = np.mgrid[:size, :size]
    k = 0
    for y in range(12, size, 24):
        for x in range(12, size, 24):
            k += 1
            a, b = rng.uniform(7, 13, 2)
            inside = ((yy - y) / a) ** 2 + ((xx - x) / b) ** 2 < 1
            labels[inside & (labels == 0)] = k
    return labels


def _noisy(labels, noise=0.3, seed=1):
    rng = np.random.default_rng(seed)
    flows = flows_from_labels(labels) + noise * rng.standard_normal((labels.ndim, *labels.shape))
    return flows.astype(np.float32), np.where(labels, 4.0, -4.0).astype(np.float32)


def _same_objects(a, b):
    """Equal up to the numbering."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len({p for p, _ in pairs}) == len(pairs) == len({q for _, q in pairs})


def _check(labels, objects, flows, cellprob):
    """What holds for every result."""
    assert labels.dtype == np.uint32
    n = len(objects)
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, n + 1))
    first = [int(np.flatnonzero(labels == k)[0]) for k in range(1, n + 1)]
    assert first == sorted(first)
    for k in range(1, n + 1):
        where = np.argwhere(labels == k)
        row = {name: objects[name][k - 1] for name in objects}
        assert row["area_px"] == len(where)
        for axis, name in enumerate("zyx"[-labels.ndim :]):
            assert row[f"bbox_{name}0"] == where[:, axis].min()
            assert row[f"bbox_{name}1"] == where[:, axis].max() + 1
            assert row[f"centroid_{name}"] == pytest.approx(where[:, axis].mean())
        assert 0 <= row["score"] <= 1
        border = ((where == 0) | (where == np.array(labels.shape) - 1)).any()
        assert row["touches_border"] == border
    assert set(objects.discarded) == {*objects, "reason", "figure"}


def test_clean_flows_give_the_labels_back():
    truth = _ellipses()
    flows, cellprob = _noisy(truth, noise=0)
    labels, objects = labels_from_flows(flows, cellprob)
    assert _same_objects(labels, truth)
    assert objects["flow_error"].max() < 1e-6
    _check(labels, objects, flows, cellprob)


def test_noisy_flows():
    truth = _ellipses()
    flows, cellprob = _noisy(truth)
    labels, objects = labels_from_flows(flows, cellprob)
    assert len(objects) == truth.max()
    assert (labels != 0).sum() > 0.97 * (truth != 0).sum()
    _check(labels, objects, flows, cellprob)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(*[st.integers(1, 10)] * 3),
    min_size=st.integers(0, 30),
    exclude_border=st.booleans(),
    fraction=st.none() | st.floats(0.05, 1),
    compat=st.sampled_from([None, "cellpose"]),
)
def test_nothing_is_lost_silently(seed, shape, min_size, exclude_border, fraction, compat):
    rng = np.random.default_rng(seed)
    flows = rng.normal(0, 0.6, (len(shape), *shape)).astype(np.float32)
    flows = (flows + np.roll(flows, 1, -1) + np.roll(flows, 1, -2)) / 2
    cellprob = rng.normal(0.5, 1, shape).astype(np.float32)
    params = MaskParams(
        min_size=min_size,
        exclude_border=exclude_border,
        max_size_fraction=fraction,
        flow_threshold=0.8,
        compat=compat,
    )
    labels, objects = labels_from_flows(flows, cellprob, params)
    _check(labels, objects, flows, cellprob)
    everything = MaskParams(
        min_size=0,
        flow_threshold=0,
        fill_holes=False,
        max_size_fraction=1 if compat else None,
        compat=compat,
    )
    _, all_objects = labels_from_flows(flows, cellprob, everything)
    assert len(objects) + len(objects.discarded) == len(all_objects) + len(all_objects.discarded)
    assert (objects.discarded["reason"] != "").all()
    assert np.isfinite(objects.discarded["figure"]).all()
    if exclude_border:
        assert not objects["touches_border"].any()
    if compat is None:
        for k in range(1, len(objects) + 1):
            assert _reference.split_into_pieces((labels == k).astype(int)).max() == 1
        assert (objects["area_px"] >= min_size).all()


def test_doubtful_objects_are_discarded_by_their_score():
    truth = np.zeros((40, 60), np.uint32)
    truth[5:20, 5:20], truth[5:20, 30:45] = 1, 2
    flows, logits = flows_from_labels(truth), np.where(truth == 1, 4.0, np.where(truth == 2, 0.5, -5.0))
    weights = (-2.0, 1.5, -4.0)
    _, every = labels_from_flows(flows, logits, MaskParams(min_score=0), score_weights=weights)
    good, poor = (1 / (1 + np.exp(2 - 1.5 * x)) for x in (4.0, 0.5))
    assert every["score"] == pytest.approx([good, poor], abs=0.01)
    labels, objects = labels_from_flows(flows, logits, score_weights=weights)
    assert np.array_equal(labels, truth == 1)
    assert objects.discarded["reason"].tolist() == ["score"]
    assert objects.discarded["figure"] == pytest.approx([poor], abs=0.01)
    for wrong in ({"min_score": 1.1}, {"min_score": 0.5, "compat": "cellpose"}):
        with pytest.raises(UsageError, match="min_score"):
            MaskParams(**wrong)


def test_a_lower_threshold_finds_more_and_larger_objects_never_fewer():
    """Cells with wide faint rims, and a faint one: the rims must not make a cell doubtful that was found without them."""
    y, x = np.mgrid[:90, :90]
    logits, truth = np.full((90, 90), -6.0), np.zeros((90, 90), np.uint32)
    for n, (row, column, height) in enumerate([(25, 25, 3.0), (25, 65, 1.5), (65, 45, -0.3)], 1):
        far = np.hypot(y - row, x - column)
        truth[far < 18] = n
        logits = np.maximum(logits, height - np.maximum(far - 8, 0) / 3)
    flows = flows_from_labels(truth)
    sizes = []
    for threshold in (2.0, 1.0, 0.0, -1.0, -2.0):
        _, objects = labels_from_flows(
            flows, logits, MaskParams(cellprob_threshold=threshold), score_weights=(-1.0, 1.5, -1.0)
        )
        sizes.append((len(objects), int(objects["area_px"].sum())))
    assert sizes == sorted(sizes)
    assert sizes[2][0] == 2
    assert sizes[3][0] == 3


def test_a_filled_hole_changes_no_score():
    truth = np.zeros((30, 30), np.uint32)
    truth[5:25, 5:25] = 1
    logits = np.where(truth, 3.0, -5.0)
    logits[13:17, 13:17] = -5
    labels, objects = labels_from_flows(flows_from_labels(truth), logits, MaskParams(flow_threshold=0))
    assert labels[15, 15] == 1
    assert objects["cellprob"] == pytest.approx([3.0])


def test_discards_tell_why():
    truth = np.zeros((60, 60), np.uint32)
    truth[2:5, 20:23] = 1
    truth[10:40, 10:40] = 2
    truth[50:60, 50:60] = 3
    truth[45:55, 5:20] = 4
    flows, cellprob = _noisy(truth, noise=0)
    flows[:, 45:55, 5:20] *= -0.2
    params = MaskParams(min_size=15, max_size_fraction=0.2, exclude_border=True, flow_threshold=0.4)
    labels, objects = labels_from_flows(flows, cellprob, params)
    assert len(objects) == 0
    assert not labels.any()
    counts = objects.discard_counts()
    assert counts["too_large"] == counts["touches_border"] == 1
    assert counts["flow_error"] + counts["too_small"] + counts.get("fragment", 0) >= 2
    dropped = objects.discarded
    large = list(dropped["reason"]).index("too_large")
    assert dropped["figure"][large] == dropped["area_px"][large] == 900
    assert dropped["bbox_y0"][large], dropped["bbox_y1"][large] == (10, 40)


@pytest.mark.parametrize("niter", [300, 1000, 10**6])
def test_any_large_number_of_steps_gives_the_same(niter):
    flows, cellprob = _noisy(_ellipses(), noise=0.5)
    expected, _ = labels_from_flows(flows, cellprob)
    labels, _ = labels_from_flows(flows, cellprob, MaskParams(niter=niter))
    np.testing.assert_array_equal(labels, expected)


def test_few_steps_do_not_gather():
    flows, cellprob = _noisy(_ellipses())
    labels, _ = labels_from_flows(flows, cellprob, MaskParams(niter=0, flow_threshold=0))
    assert not _same_objects(labels, _ellipses())


@pytest.mark.parametrize(("side_px", "blur"), [(60, 6), (80, 8)])
def test_large_cells_of_which_a_network_is_unsure_do_not_become_one_heap(side_px, blur):
    size = 480
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), -1)
    middles = rng.uniform(0, size, (size * size // side_px**2, 2))
    labels = 1 + ((grid[:, :, None] - middles) ** 2).sum(-1).argmin(-1).astype(np.uint32)
    flows = np.stack([smooth(f, blur, threads=1) for f in flows_from_labels(labels)]) * 0.6
    flows += np.stack([smooth(n, 4.0, threads=1) for n in rng.normal(0, 2.5, flows.shape).astype(np.float32)])
    got, objects = labels_from_flows(
        flows.astype(np.float32), np.full(labels.shape, 5.0), MaskParams(flow_threshold=0)
    )
    found, _ = mask_ious(labels, got)
    assert (found > 0.5).mean() > 0.6
    assert objects["area_px"].max() < 0.2 * labels.size


def test_a_filament_whose_flow_leads_to_its_axis_stays_whole():
    labels = np.zeros((40, 300), np.uint32)
    labels[15:23, 10:290] = 1
    rng = np.random.default_rng(0)
    flows = np.zeros((2, 40, 300), np.float32)
    flows[0] = np.clip((18.5 - np.arange(40))[:, None] / 2, -1, 1)
    flows[1] = np.repeat(rng.normal(0, 0.1, (1, 30)), 10, axis=1)  # along the axis it wanders
    flows *= labels > 0
    got, objects = labels_from_flows(flows, np.where(labels, 5.0, -5.0), MaskParams(flow_threshold=0))
    assert len(objects) == 1
    assert (got == labels).mean() > 0.99


def test_touching_rods_stay_apart():
    labels = np.zeros((60, 60), np.uint32)
    for k in range(6):
        labels[10:50, 6 + 8 * k : 14 + 8 * k] = k + 1
    flows, cellprob = _noisy(labels, noise=0.15)
    got, _ = labels_from_flows(flows, cellprob)
    assert got.max() == 6


def test_flow_at_the_border_counts_in_full():
    truth = np.zeros((12, 40), np.uint32)
    truth[:, 0:3] = 1
    flows, cellprob = _noisy(truth, noise=0)
    labels, _ = labels_from_flows(flows, cellprob)
    np.testing.assert_array_equal(labels, truth)


def test_holes_are_filled_but_no_label_is_overwritten():
    yy, xx = np.mgrid[:41, :41] - 20
    radius = np.hypot(yy, xx)
    truth = np.where((radius > 10) & (radius < 18), 1, 0).astype(np.uint32)
    truth[radius < 6] = 2
    flows, cellprob = _noisy(truth, noise=0)
    flows[0][truth == 1], flows[1][truth == 1] = 0, 0  # the ring is one sink
    filled, objects = labels_from_flows(flows, cellprob, MaskParams(flow_threshold=0))
    assert len(objects) == 2
    assert (filled == 2).sum() == (truth == 2).sum()
    assert (filled == 1).sum() == (radius < 18).sum() - (truth == 2).sum()
    kept, _ = labels_from_flows(flows, cellprob, MaskParams(flow_threshold=0, fill_holes=False))
    np.testing.assert_array_equal(kept, truth)


@pytest.mark.parametrize("compat", [None, "cellpose"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_what_is_not_finite_is_background(bad, compat):
    truth = _ellipses(80)
    flows, cellprob = _noisy(truth, noise=0)
    flows[0, 10:14], cellprob[40:44] = bad, bad
    flows[:, truth == 0] = bad
    _, objects = labels_from_flows(flows, cellprob, MaskParams(compat=compat))
    assert len(objects) >= 3
    if compat is None:
        clean = MaskParams(fill_holes=False, min_size=0, flow_threshold=0)
        assert not labels_from_flows(flows, cellprob, clean)[0][10:14].any()


@pytest.mark.parametrize("compat", [None, "cellpose"])
@pytest.mark.parametrize("shape", [(40, 40), (8, 20, 20)])
def test_flows_that_overflow_between_two_pixels_lead_nowhere(shape, compat):
    rng = np.random.default_rng(0)
    flows = rng.choice([np.float32(3e38), np.float32(-3e38)], (len(shape), *shape))
    labels, _ = labels_from_flows(flows, np.ones(shape), MaskParams(compat=compat, flow_threshold=0))
    assert labels.shape == shape


@pytest.mark.parametrize("compat", [None, "cellpose"])
@pytest.mark.parametrize(
    "shape", [(0, 5), (5, 0), (1, 1), (1, 30), (30, 1), (2, 2), (0, 4, 4), (1, 1, 1), (1, 20, 20)]
)
def test_any_shape(shape, compat):
    flows, cellprob = np.zeros((len(shape), *shape)), np.ones(shape)
    labels, objects = labels_from_flows(flows, cellprob, MaskParams(compat=compat))
    assert labels.shape == shape
    _check(labels, objects, flows, cellprob)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", ">f8"])
def test_any_float_dtype_and_layout(dtype):
    flows, cellprob = (a.astype(np.float16) for a in _noisy(_ellipses(80)))
    expected, _ = labels_from_flows(flows.astype(np.float32), cellprob.astype(np.float32))
    np.testing.assert_array_equal(labels_from_flows(flows.astype(dtype), cellprob.astype(dtype))[0], expected)
    moved = np.ascontiguousarray(np.moveaxis(flows, 0, -1)).astype(dtype)
    np.testing.assert_array_equal(labels_from_flows(np.moveaxis(moved, -1, 0), cellprob)[0], expected)


@pytest.mark.parametrize(
    ("flows", "cellprob", "expects"),
    [
        (np.zeros((2, 4, 5)), np.zeros((5, 4)), "flows must have shape"),
        (np.zeros((3, 4, 5)), np.zeros((4, 5)), "flows must have shape"),
        (np.zeros((2, 4)), np.zeros(4), "cellprob must have shape"),
        (np.zeros((2, 4, 5), complex), np.zeros((4, 5)), "real numbers"),
        (np.zeros((2, 4, 5)), np.full((4, 5), "a"), "real numbers"),
    ],
)
def test_misfits_are_refused(flows, cellprob, expects):
    with pytest.raises(UsageError, match=expects):
        labels_from_flows(flows, cellprob)


@pytest.mark.parametrize("compat", [None, "cellpose"])
def test_inputs_stay_and_threads_do_not_matter(compat):
    flows, cellprob = _noisy(_ellipses(), noise=0.5)
    before = flows.copy(), cellprob.copy()
    results = [labels_from_flows(flows, cellprob, MaskParams(compat=compat), threads=t) for t in (1, 2, 3)]
    np.testing.assert_array_equal(flows, before[0])
    np.testing.assert_array_equal(cellprob, before[1])
    for labels, objects in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        for name in objects:
            np.testing.assert_array_equal(objects[name], results[0][1][name])


def test_volumes():
    truth = np.zeros((16, 40, 40), np.uint32)
    grid = np.stack(np.mgrid[:16, :40, :40])
    for k, centre in enumerate([(8, 10, 10), (8, 10, 28), (7, 28, 20)], start=1):
        truth[((grid - np.array(centre)[:, None, None, None]) ** 2).sum(0) < 49] = k
    flows, cellprob = _noisy(truth, noise=0.2)
    labels, objects = labels_from_flows(flows, cellprob)
    assert _same_objects(labels, truth)
    _check(labels, objects, flows, cellprob)


def test_params_of_another_type_are_refused():
    with pytest.raises(UsageError, match=r"params must be MaskParams\(\.\.\.\), got dict"):
        labels_from_flows(np.zeros((2, 5, 5)), np.zeros((5, 5)), {"min_size": 3})


def test_params_are_not_touched():
    params = MaskParams()
    labels_from_flows(np.zeros((2, 3, 3)), np.zeros((3, 3)), params)
    assert params == dataclasses.replace(MaskParams())


def test_chaotic_flows_come_to_an_end():
    """Thousands of splinters were once weighed against an ever larger heap, for minutes."""
    rng = np.random.default_rng(11)
    flows = np.stack(
        [smooth(rng.standard_normal((1, 400, 400)).astype(np.float32), 2.0)[0] for _ in range(2)]
    )
    flows /= np.hypot(*flows)
    labels, objects = labels_from_flows(flows, np.ones((400, 400), np.float32), threads=1)
    assert len(objects) + len(objects.discarded) > 500
    assert labels.max() == len(objects)


def test_the_flow_error_of_a_very_large_object_is_that_of_fewer_pixels():
    """A disc of 700 px with its own flows is accepted; with flows that lead out of it, it is not."""
    y, x = np.mgrid[:720, :720] - 359.5
    radius = np.hypot(y, x)
    inward = np.stack([-y, -x]).astype(np.float32) / np.maximum(radius, 1e-6).astype(np.float32)
    cellprob = np.where(radius < 350, 5.0, -5.0).astype(np.float32)
    _, objects = labels_from_flows(inward * (cellprob > 0), cellprob, threads=1)
    assert len(objects) == 1
    assert objects["flow_error"][0] < 0.05
    turned = np.stack([-inward[1], inward[0]])  # around the centre instead of towards it
    _, objects = labels_from_flows((0.6 * inward + 0.8 * turned) * (cellprob > 0), cellprob, threads=1)
    errors = np.concatenate([objects["flow_error"], objects.discarded["flow_error"]])
    assert np.nanmax(errors) == pytest.approx(0.4**2 + 0.8**2, abs=0.02)
