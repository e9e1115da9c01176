"""Metrics equal those of Cellpose and StarDist where definitions agree (recorded by record_metrics.py)."""

from pathlib import Path

import numpy as np
import pytest

from cellbrook.metrics import aggregated_jaccard_index, average_precision, mask_ious, matching

HERE = Path(__file__).parent
CELLPOSE = np.load(HERE / "metrics_cellpose.npz")
STARDIST = np.load(HERE / "metrics_stardist.npz")
SCENES = [str(name) for name in CELLPOSE["names"]]
TIES = ("halves",)  # several assignments are equally good there, so only their sums are comparable


def test_fixtures_are_of_the_stated_versions():
    assert (str(CELLPOSE["version"]), str(STARDIST["version"])) == ("4.2.1.1", "0.9.2")
    for name in SCENES:
        np.testing.assert_array_equal(CELLPOSE[f"{name}/true"], STARDIST[f"{name}/true"])
        np.testing.assert_array_equal(CELLPOSE[f"{name}/pred"], STARDIST[f"{name}/pred"])


@pytest.mark.parametrize("name", SCENES)
def test_average_precision_equals_cellpose(name):
    got = average_precision(CELLPOSE[f"{name}/true"], CELLPOSE[f"{name}/pred"], CELLPOSE["thresholds"])
    np.testing.assert_allclose(np.array(got, float), CELLPOSE[f"{name}/ap"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SCENES if f"{name}/aji" in CELLPOSE])
def test_mask_ious_and_jaccard_equal_cellpose(name):
    true, pred = CELLPOSE[f"{name}/true"], CELLPOSE[f"{name}/pred"]
    iou, labels = mask_ious(true, pred)
    places = np.unique(true)[1:] - 1
    expected, expected_labels = CELLPOSE[f"{name}/mask_iou"][places], CELLPOSE[f"{name}/mask_pred"][places]
    np.testing.assert_allclose(iou.sum(), expected.sum(), rtol=0, atol=1e-6)
    if name not in TIES:
        np.testing.assert_allclose(iou, expected, rtol=0, atol=1e-6)
        # Cellpose also names a prediction where the two share no pixel
        np.testing.assert_array_equal(labels, np.where(expected > 0, expected_labels, 0))
    got = aggregated_jaccard_index(true, pred, "cellpose")
    np.testing.assert_allclose(got, CELLPOSE[f"{name}/aji"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SCENES)
def test_matching_equals_stardist(name):
    true, pred = STARDIST[f"{name}/true"], STARDIST[f"{name}/pred"]
    for threshold, expected in zip(STARDIST["thresholds"], STARDIST[f"{name}/matching"], strict=True):
        result = matching(true, pred, float(threshold))
        got = [getattr(result, str(field)) for field in STARDIST["fields"]]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg=f"at {threshold}")
