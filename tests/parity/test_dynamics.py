"""Compat mode against recorded results of Cellpose 4.2.1.1; see ``record_dynamics.py`` beside this file."""

from pathlib import Path

import numpy as np
import pytest

from cellbrook import MaskParams
from cellbrook.dynamics import flows_from_labels, labels_from_flows

FOLDER = Path(__file__).parent
SCENES = ("easy", "hard", "empty", "full", "volume", "filaments")
OPTIONS = {
    "masks": {},
    "masks_niter7": {"niter": 7},
    "masks_no_qc": {"flow_threshold": 0, "min_size": -1},
    "masks_strict": {"flow_threshold": 0.15, "cellprob_threshold": 1.0, "min_size": 60},
}


@pytest.fixture(params=SCENES)
def recorded(request):
    return dict(np.load(FOLDER / f"dynamics_{request.param}.npz"))


def _predictions(recorded):
    flows = recorded["flows_hundredths"].astype(np.float32) / np.float32(100)
    return flows, recorded["cellprob_sixteenths"].astype(np.float32) / np.float32(16)


@pytest.mark.parametrize("case", OPTIONS)
def test_labels_are_identical(recorded, case):
    flows, cellprob = _predictions(recorded)
    labels, objects = labels_from_flows(flows, cellprob, MaskParams(compat="cellpose", **OPTIONS[case]))
    np.testing.assert_array_equal(labels, recorded[case])
    assert len(objects) == recorded[case].max()


def test_the_scenes_are_worth_comparing():
    counts = {s: int(np.load(FOLDER / f"dynamics_{s}.npz")["masks"].max()) for s in SCENES}
    assert counts["empty"] == 0
    assert min(counts[s] for s in SCENES if s != "empty") >= 2
    hard = np.load(FOLDER / "dynamics_hard.npz")
    assert hard["masks_no_qc"].max() > 1.5 * hard["masks"].max()  # the flow check drops many


@pytest.mark.parametrize("scene", ["easy", "volume", "filaments"])
def test_flows_agree(scene):
    recorded = np.load(FOLDER / f"dynamics_{scene}.npz")
    labels = recorded["labels"]
    expected = recorded["peer_flows_int16"].astype(np.float64) / 32767
    got = flows_from_labels(labels, compat="cellpose")
    known = np.linalg.norm(expected, axis=0) > 0.5  # elsewhere there is no direction to compare
    cosine = (got * expected).sum(axis=0)[known & (labels > 0)]
    assert cosine.mean() > 0.9999
    assert (cosine < 0.9999).mean() < 0.001
    np.testing.assert_array_equal(got[:, labels == 0], 0)
