"""Tables and results go to other processes, and are as good as any other object in sets and comparisons."""

import copy
import pickle

import numpy as np
import pytest

from cellbrook.api import Segmentation
from cellbrook.core.objects import ObjectTable
from cellbrook.core.result import NetworkOutput


@pytest.fixture
def result():
    dropped = ObjectTable({"label": np.array([1]), "reason": np.array(["too_small"])})
    table = ObjectTable({"label": np.array([1, 2]), "area_px": np.array([20, 35])}, dropped)
    labels, flows = np.zeros((4, 5), np.uint32), np.zeros((2, 4, 5), np.float32)
    output = NetworkOutput(flows, flows[0])
    return Segmentation(labels, table, output, labels[None], "YX", ("0",), None, "x", {"a": 1})


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_result_can_be_copied_and_sent_to_another_process(again, result):
    other = again(result)
    assert isinstance(other, Segmentation)
    assert other.objects["area_px"].tolist() == [20, 35]
    assert other.objects.discard_counts() == {"too_small": 1}
    with pytest.raises(TypeError):
        other.objects.columns["label"] = 0


def test_results_are_compared_by_what_they_are_not_by_their_pixels(result):
    for one in (result, result.objects, result.output):
        other = copy.deepcopy(one)
        assert one == one
        assert one != other
        assert len({one, other}) == 2
