"""A model and two people on one scale."""

import json

import numpy as np
import pytest

from cellbrook.errors import UsageError
from cellbrook.metrics import compare_with_human, count_image

GRID = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((8, 8), int), 1))


def person(seed, share):
    """Return the same grid with a share of objects left out."""
    rng = np.random.default_rng(seed)
    return np.where(np.isin(GRID, 1 + np.flatnonzero(rng.random(25) < share)), 0, GRID)


def counts(first, second):
    return [count_image(a, b, name=str(i)) for i, (a, b) in enumerate(zip(first, second, strict=True))]


def compare(a, b, model, **keywords):
    return compare_with_human(counts(a, b), (counts(a, model), counts(b, model)), **keywords)


A = [person(i, 0.08) for i in range(20)]
B = [person(100 + i, 0.08) for i in range(20)]


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.5, "below"), (0.0, "above"), (None, "at")], ids=["below", "above", "at"]
)
def test_verdict(share, verdict):
    model = B if share is None else [person(200 + i, share) for i in range(20)]
    # a model that is one of the people agrees with that one fully, so the margin must be wide enough for half of it
    result = compare(A, B, model, margin=0.06 if share is None else 0.01)
    assert result.scores[0].verdict == verdict
    assert result.sentence.startswith(f"The model is {verdict} human agreement: F1 at IoU 0.5 is ")
    assert "\n" not in result.sentence


def test_difference_is_the_mean_of_both_sides_minus_the_people():
    score = compare(A, B, [person(7, 0.3)] * 20).scores[0]
    assert score.difference.value == pytest.approx(
        np.mean([m.value for m in score.model]) - score.people.value
    )
    assert score.difference.low < score.difference.value < score.difference.high


def test_few_images_decide_nothing():
    result = compare(A[:3], B[:3], [GRID] * 3)
    assert result.scores[0].verdict == "undecided"
    assert "3 images decide nothing" in result.sentence
    assert "rough" in result.notes[0]


def test_an_interval_across_zero_is_undecided():
    result = compare(A, B, [person(400 + i, 0.04 + 0.08 * (i % 2)) for i in range(20)], margin=1e-6)
    assert result.scores[0].verdict == "undecided"
    assert "label more images" in result.sentence


def test_without_a_model_there_is_no_verdict():
    result = compare_with_human(counts(A, B))
    assert (result.scores[0].verdict, result.scores[0].difference) == (None, None)
    assert result.sentence.startswith("F1 at IoU 0.5 is 0.")
    assert json.loads(json.dumps(result.to_dict()))["verdict"] is None


def test_one_image_has_no_intervals():
    result = compare(A[:1], B[:1], A[:1])
    assert result.scores[0].people.low is None
    assert result.scores[0].verdict == "undecided"


def test_the_same_whoever_is_called_first():
    first, second = compare(A, B, [GRID] * 20), compare(B, A, [GRID] * 20)
    for left, right in zip(first.scores, second.scores, strict=True):
        assert left.people == right.people, left.name
        assert left.model == right.model[::-1], left.name


def test_what_cannot_be_meant():
    with pytest.raises(UsageError, match="at least one"):
        compare_with_human([])
    with pytest.raises(UsageError, match="margin"):
        compare_with_human(counts(A, B), margin=0)
    with pytest.raises(UsageError, match="same images"):
        compare_with_human(counts(A, B), (counts(A, B), counts(A[:2], B[:2])))
