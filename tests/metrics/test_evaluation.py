"""Evaluation of many images."""

import json

import numpy as np
import pytest

from cellbrook.errors import ImageError, UsageError
from cellbrook.metrics import (
    aggregated_jaccard_index,
    average_precision,
    boundary_f,
    count_image,
    evaluate,
    panoptic_quality,
    seg_score,
    summarise,
)

GRID = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((9, 9), int)) * np.pad(np.ones((43, 43), int), 1)


def without(labels, *names):
    return np.where(np.isin(labels, names), 0, labels)


@pytest.fixture
def pairs():
    return [GRID, GRID, np.zeros_like(GRID), GRID], [
        without(GRID, 3, 4, 5, 6, 7),
        np.roll(GRID, 1, 1),
        np.zeros_like(GRID),
        without(GRID, *range(1, 21)),
    ]


def test_per_image_values_are_those_of_the_single_functions(pairs):
    result = evaluate(*pairs)
    assert result.thresholds[0] == 0.5
    assert len(result.thresholds) == 10
    np.testing.assert_array_equal(result.per_image["ap"], average_precision(*pairs, result.thresholds)[0])
    for place, (true, pred) in enumerate(zip(*pairs, strict=True)):
        for metric, function in (
            ("panoptic_quality", lambda t, p: panoptic_quality(t, p).quality),
            ("aggregated_jaccard", aggregated_jaccard_index),
            ("boundary_f", boundary_f),
            ("seg", seg_score),
        ):
            assert result.per_image[metric][place] == pytest.approx(function(true, pred)), metric
    np.testing.assert_allclose(result.per_image["count_bias"], [-0.2, 0, 0, -0.8])


def test_pooled_sums_objects_and_mean_averages_images(pairs):
    result = evaluate(*pairs, thresholds=[0.5])
    assert result.pooled["recall"][0].value == pytest.approx((20 + 25 + 5) / 75)
    assert result.mean["recall"][0].value == pytest.approx((0.8 + 1 + 1 + 0.2) / 4)
    assert result.pooled["precision"][0].value == 1
    assert result.pooled["count_error"][0].value == pytest.approx(25 / 75)


def test_intervals_hold_the_value_and_repeat(pairs):
    first, again, other = (evaluate(*pairs, seed=seed, resamples=25) for seed in (0, 0, 1))
    low, high = first.pooled["ap"][0][1:]
    assert low < first.pooled["ap"][0].value < high
    assert first.pooled == again.pooled
    assert first.pooled != other.pooled
    assert first.mean["ap"][0].low >= min(first.per_image["ap"][:, 0])


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(60):
        found = rng.random(40) < 0.6
        images = [
            count_image([[1, 1]], [[int(hit)] * 2], name=str(i), thresholds=(0.5,))
            for i, hit in enumerate(found)
        ]
        _, low, high = summarise(images, resamples=400, seed=trial).mean["ap"][0]
        inside += low <= 0.6 <= high
    assert 50 <= inside <= 60


def test_one_image_has_no_interval():
    result = evaluate([GRID], [GRID])
    assert result.pooled["ap"][0] == (1.0, None, None)
    assert str(result.pooled["ap"][0]) == "1.000"


def test_worst_images_come_first(pairs):
    result = evaluate(*pairs, names=["a", "b", "c", "d"])
    assert [image.name for image in result.worst(2)] == ["d", "a"]


def test_dictionary_is_json_and_complete(pairs):
    document = json.loads(json.dumps(evaluate(*pairs).to_dict(), allow_nan=False))
    assert (document["n_images"], document["n_true"], document["n_pred"]) == (4, 75, 50)
    assert set(document["pooled"]) == set(document["mean"])
    assert len(document["pooled"]["ap"]) == len(document["thresholds"]) == 10
    assert set(document["pooled"]["panoptic_quality"]) == {"value", "low", "high"}
    assert [row["name"] for row in document["images"]] == ["0", "1", "2", "3"]
    assert document["images"][0]["ap_0.5"] == pytest.approx(0.8)


def test_generators_are_enough():
    assert evaluate((GRID for _ in range(2)), (GRID for _ in range(2))).pooled["f1"][0].value == 1


@pytest.mark.parametrize("kind", [ValueError, ImageError])
def test_what_a_reader_of_files_raises_is_told_as_it_is(kind):
    def read():
        yield GRID
        raise kind("cannot read file z")

    for sides in ((read(), [GRID, GRID]), ([GRID, GRID], read())):
        with pytest.raises(kind, match=r"^cannot read file z$"):
            evaluate(*sides)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate([], []), ["at least one pair"]),
        (lambda: evaluate([GRID], [GRID, GRID]), ["equal length", "true_images ends after 1"]),
        (lambda: evaluate([GRID], []), ["equal length", "pred_images ends after 0"]),
        (lambda: evaluate([GRID], [GRID[1:]]), ["(45, 45)", "(44, 45)"]),
        (lambda: evaluate([GRID], [GRID], thresholds=[]), ["thresholds"]),
    ],
)
def test_errors_are_one_line_and_name_what_came(call, words):
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
