"""The kernels against the specification, on small inputs of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook._kernels import _native
from cellbrook.dynamics import _reference, flows_from_labels


def _random_case(seed, shape):
    rng = np.random.default_rng(seed)
    seeds = np.stack([rng.integers(0, n, 6) for n in shape], axis=1)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    distance = np.sqrt(((grid[..., None, :] - seeds) ** 2).sum(-1))
    labels = np.where(distance.min(-1) < rng.uniform(2, 9), distance.argmin(-1) + 1, 0)
    noise = rng.choice([0.0, 0.2, 0.7])
    flows = flows_from_labels(labels) + noise * rng.standard_normal((len(shape), *shape))
    cellprob = np.where(labels > 0, 3.0, -3.0) + noise * rng.standard_normal(shape)
    cellprob.flat[rng.integers(0, cellprob.size)] = np.nan
    return labels, flows.astype(np.float32), cellprob.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24))
    | st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_candidates_equal_the_reference(seed, shape):
    _, flows, cellprob = _random_case(seed, shape)
    kernel = _native.find_candidates_2d if len(shape) == 2 else _native.find_candidates_3d
    labels, _ = kernel(flows, cellprob, 0.0, -1, 2)
    np.testing.assert_array_equal(labels, _reference.candidates(flows, cellprob))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 20)] * 2) | st.tuples(*[st.integers(1, 8)] * 3),
)
def test_flows_equal_the_reference(seed, shape):
    labels, _, _ = _random_case(seed, shape)
    expected = _reference.flows_from_labels(labels)
    got = flows_from_labels(labels)
    # a slope that is hardly more than rounding points anywhere: at most the odd pixel
    differs = (np.abs(got - expected) > 0.01).any(axis=0)
    assert differs.sum() <= 1 + 0.01 * (labels > 0).sum()
    np.testing.assert_array_equal(got[:, labels == 0], 0)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_vector_level_gives_the_same_candidates(level):
    _, flows, cellprob = _random_case(7, (90, 110))
    wanted, _ = _native.find_candidates_2d(flows, cellprob, 0.0, -1, 1)
    peer_wanted, _ = _native.peer_candidates_2d(flows, cellprob, 0.0, 37, 1)
    _native.limit_vector_level(level)
    try:
        labels, _ = _native.find_candidates_2d(flows, cellprob, 0.0, -1, 2)
        peer, _ = _native.peer_candidates_2d(flows, cellprob, 0.0, 37, 2)
    finally:
        _native.limit_vector_level(2)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(peer, peer_wanted)
