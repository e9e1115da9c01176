"""The search for settings."""

import dataclasses

import numpy as np
import pytest

from cellbrook.core.params import SegmentParams
from cellbrook.core.progress import NoProgress
from cellbrook.core.result import NetworkOutput
from cellbrook.core.settings import read_settings
from cellbrook.dynamics import flows_from_labels, labels_from_flows
from cellbrook.errors import Cancelled, ImageError, UsageError
from cellbrook.evaluation.grid import OFF, SCORE_LIMITS, Grid, Limit, Setting
from cellbrook.evaluation.surface import draw_surface
from cellbrook.evaluation.tuning import tune
from cellbrook.metrics import matching

GRID = Grid(
    cellprob_thresholds=(-3, -1, 0, 1, 3),
    limits=tuple(Limit(v, 0.0) for v in (0.1, 0.4, 0.8, OFF)),
    min_sizes=(0, 15, 40, 100, 400),
)
BAD = {"cellprob_threshold": 4.5, "flow_threshold": 0.02, "min_size": 300}


def scene(seed, size=96):
    """Return true labels and what a network with flaws says: dim and noisy at the rims, with weak inventions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    truth = np.zeros((size, size), np.uint32)
    cellprob = np.full((size, size), -5.0, np.float32)
    shapes = truth.copy()
    for number in range(1, 17):
        row, column = divmod(number - 1, 4)
        centre = 24 * row + 12 + rng.integers(-2, 3), 24 * column + 12 + rng.integers(-2, 3)
        invented = rng.random() < 0.25
        radius = rng.uniform(2, 4) if invented else rng.uniform(5, 9)
        distance = np.hypot(y - centre[0], x - centre[1])
        cellprob = np.maximum(cellprob, (0.5 if invented else 2.5) - 0.7 * (distance - radius))
        shapes[distance <= radius + (2 if invented else 3)] = number
        if not invented:
            truth[distance <= radius] = number
    flows = flows_from_labels(shapes)
    flows = flows + rng.normal(0, 0.15, flows.shape).astype(np.float32)
    return truth, NetworkOutput(flows.astype(np.float32), cellprob.astype(np.float32), diameter_px=14.0)


class Network:
    """Gives the outputs of scenes, useless at any diameter but "auto", and remembers what it was asked."""

    def __init__(self, count, **keywords):
        scenes = [scene(seed, **keywords) for seed in range(count)]
        self.pairs = [(f"bild {i}", i, truth) for i, (truth, _) in enumerate(scenes)]
        self.outputs = [output for _, output in scenes]
        self.calls = []

    def __call__(self, image, diameter):
        self.calls.append((image, diameter))
        output = self.outputs[image]
        return output if diameter == "auto" else dataclasses.replace(output, cellprob=output.cellprob - 8)


@pytest.fixture(scope="module")
def network():
    return Network(12)


@pytest.fixture(scope="module")
def tuned(network):
    network.calls.clear()
    return tune(network.pairs, network, params=SegmentParams.from_keywords(diameter="7", **BAD), grid=GRID)


def f1_of(network, setting):
    tp = total = 0
    for (_, image, truth), output in zip(network.pairs, network.outputs, strict=True):
        assert setting.diameter == "auto"
        params = SegmentParams.from_keywords(**setting.keywords()).mask_params
        labels, _ = labels_from_flows(output.flows, output.cellprob, params)
        found = matching(truth, labels)
        tp, total = tp + 2 * found.tp, total + found.n_true + found.n_pred
        del image
    return tp / total


def test_the_network_runs_once_an_image_and_diameter(network, tuned):
    assert tuned.grid.diameters[:2] == ("7", "auto")
    assert len(tuned.grid.diameters) == 3
    assert sorted(network.calls) == sorted((i, d) for i in range(12) for d in tuned.grid.diameters)


def test_counts_are_those_of_real_runs(network, tuned):
    at = tuned.grid.diameters.index("auto")
    rng = np.random.default_rng(0)
    for _ in range(6):
        index = (at, *(int(rng.integers(n)) for n in tuned.grid.shape[1:]))
        assert tuned.surface[index] == pytest.approx(f1_of(network, tuned.grid.at(index)), abs=1e-12)


def test_it_shows_itself_in_a_line(tuned):
    assert repr(tuned) == f"<Tuning on 12 images: {tuned.sentence}>"


def test_sizes_are_those_before_holes_are_filled():
    y, x = np.mgrid[:48, :48]
    truth = (np.hypot(y - 24, x - 24) <= 12).astype(np.uint32)
    hole = np.hypot(y - 29, x - 24) <= 3
    cellprob = np.where((truth > 0) & ~hole, 4.0, -5.0).astype(np.float32)
    hollow = int((cellprob > 0).sum())
    output = NetworkOutput(flows_from_labels(truth), cellprob)
    sizes = (0, hollow, hollow + 1)
    grid = dataclasses.replace(GRID, min_sizes=sizes)
    found = tune([("ring", 0, truth)], lambda *_: output, grid=grid, search_diameter=False)
    for size in sizes:
        setting = found.start._replace(min_size=size)
        params = SegmentParams.from_keywords(**setting.keywords()).mask_params
        labels, _ = labels_from_flows(output.flows, cellprob, params)
        assert found.surface[found.grid.index(setting)] == matching(truth, labels).tp == (size <= hollow)


def test_a_stack_counts_as_its_planes_together(network):
    """Its planes without labels are left out, and an image stays what folds and intervals draw."""

    def stack(parts):
        return np.stack(
            [np.stack([part, part * 0]) for part in parts]
        )  # (T, Z, Y, X), every second plane empty

    def infer(image, diameter):
        outputs = network.outputs[3 * image : 3 * image + 3]
        return NetworkOutput(stack([o.flows for o in outputs]), stack([o.cellprob for o in outputs]))

    pairs = [(f"stack {i}", i, stack([t for _, _, t in network.pairs[3 * i : 3 * i + 3]])) for i in range(4)]
    found = tune(pairs, infer, grid=GRID, search_diameter=False)
    flat = tune(network.pairs, network, grid=GRID, search_diameter=False)
    assert found.n_true == flat.n_true
    np.testing.assert_array_equal(found.surface, flat.surface)
    assert found.median_diameter_px == pytest.approx(flat.median_diameter_px)
    assert (len(found.names), found.validated) == (4, True)


def test_a_stack_of_one_plane_is_a_plane(network):
    (name, image, truth), output = network.pairs[0], network.outputs[0]
    deep = NetworkOutput(output.flows[None], output.cellprob[None])
    found = tune([(name, image, truth)], lambda *_: deep, grid=GRID, search_diameter=False)
    flat = tune([(name, image, truth)], lambda *_: output, grid=GRID, search_diameter=False)
    np.testing.assert_array_equal(found.surface, flat.surface)


def test_bad_defaults_are_mended(network, tuned):
    oracle = tuned.surface.max()
    assert tuned.f1_start.value < 0.3
    assert tuned.f1_tuned.value >= 0.95 * oracle
    assert f1_of(network, tuned.chosen) >= 0.95 * oracle
    assert tuned.gain.low > 0
    assert tuned.validated
    assert tuned.sentence.startswith("The new settings are better: F1 0.")


def test_what_is_written_is_what_was_found(tuned, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(tuned.settings_text(), encoding="utf-8")
    found = read_settings(path)
    assert found == tuned.chosen.keywords()
    assert tuned.to_dict()["settings"] == found


def test_other_parameters_stay(network):
    params = SegmentParams.from_keywords(exclude_border=True, smooth_radius=1.0, threads=2, flow_threshold=0)
    result = tune(network.pairs[:4], network, params=params, grid=GRID, search_diameter=False)
    assert result.start.flow_threshold == OFF
    assert {"exclude_border": True, "smooth_radius": 1.0}.items() <= result.settings().items()
    assert "threads" not in result.settings()
    assert result.grid.diameters == ("auto",)


def test_without_a_gain_nothing_changes(network, tuned):
    best = tuned.best
    params = SegmentParams.from_keywords(**best.keywords())
    result = tune(network.pairs, network, params=params, grid=GRID, search_diameter=False)
    assert result.chosen == result.start
    assert result.gain.value <= 0
    assert "keep" in result.sentence


def test_the_gain_is_not_that_of_the_images_searched(network):
    """Truth that has nothing to do with the output leaves nothing to gain, though a search finds something."""
    rng = np.random.default_rng(1)
    pairs = [
        (name, image, rng.permutation(truth.ravel()).reshape(truth.shape))
        for name, image, truth in network.pairs
    ]
    result = tune(pairs, network, grid=GRID, search_diameter=False)
    assert result.f1_tuned.value <= result.f1_best
    assert result.gain.value < 0.02


def test_few_images_say_so(network):
    result = tune(network.pairs[:2], network, params=SegmentParams.from_keywords(**BAD), grid=GRID)
    assert not result.validated
    assert result.sentence.startswith("Only 2 images")
    one = tune(network.pairs[:1], network, grid=GRID)
    assert one.gain.low is None
    assert one.sentence.startswith("Only 1 image:")


def test_what_cannot_be_used_is_told(network):
    def infer(image, diameter):
        if image == "broken":
            raise ImageError("broken: cannot be read")
        return network(image, diameter)

    pairs = [
        *network.pairs[:4],
        ("x", "broken", network.pairs[0][2]),
        ("small", 0, network.pairs[0][2][:-1]),
        ("stack", 0, np.zeros((3, 96, 96), int)),
    ]
    result = tune(pairs, infer, grid=GRID)
    assert set(result.failed) == {"x", "small", "stack"}
    assert len(result.names) == 4
    assert not result.complete
    with pytest.raises(UsageError, match="no pair can be used"):
        tune(pairs[4:], infer, grid=GRID)
    with pytest.raises(UsageError, match="there is none"):
        tune([], infer, grid=GRID)
    with pytest.raises(UsageError, match="iou"):
        tune(pairs, infer, iou=0.3)


def test_empty_images_are_no_trouble():
    empty = np.zeros((32, 32), np.uint32)
    output = NetworkOutput(np.zeros((2, 32, 32), np.float32), np.full((32, 32), -6, np.float32))
    result = tune([(str(i), i, empty) for i in range(5)], lambda image, diameter: output, grid=GRID)
    assert result.f1_start.value == 1
    assert result.chosen == result.start
    assert result.median_diameter_px is None


@pytest.mark.parametrize("after", [0, 3, 30])
def test_it_can_be_cancelled(network, after):
    class Impatient(NoProgress):
        asked = 0

        def check_cancelled(self):
            self.asked += 1
            if self.asked > after:
                raise Cancelled("stop")

    with pytest.raises(Cancelled):
        tune(network.pairs, network, grid=GRID, progress=Impatient())


def test_it_repeats(network, tuned):
    again = tune(network.pairs, network, params=SegmentParams.from_keywords(diameter="7", **BAD), grid=GRID)
    assert again.to_dict() == tuned.to_dict()


def test_ties_go_to_the_defaults():
    grid = Grid()
    defaults = Setting.of(SegmentParams())
    near = grid.distance(defaults)
    assert grid.at(np.unravel_index(near.argmin(), near.shape)) == defaults


def test_a_model_with_probabilities_is_tuned_by_its_score(network):
    weights = (-4.0, 1.0, -3.0)
    params = SegmentParams.from_keywords(min_score=0.95)
    tuned = tune(network.pairs, network, params=params, search_diameter=False, score_weights=weights)
    assert tuned.grid.limits == SCORE_LIMITS
    assert tuned.f1_start.value < 0.5 < tuned.f1_tuned.value
    found = tuned.chosen.keywords()
    assert found["flow_threshold"] == 0
    assert found["min_score"] < 0.95
    # the same in a run
    _, image, truth = network.pairs[0]
    output = network(image, "auto")
    masks = SegmentParams.from_keywords(**found).mask_params
    labels, objects = labels_from_flows(output.flows, output.cellprob, masks, score_weights=weights)
    assert (objects["score"] >= found["min_score"]).all()
    assert matching(truth, labels, 0.5).f1 > 0.5


def test_the_surface_is_a_picture(tuned):
    picture = draw_surface(tuned)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    one = dataclasses.replace(
        tuned,
        grid=dataclasses.replace(tuned.grid, diameters=("auto",)),
        surface=np.ones_like(tuned.surface[:1]),
        start=tuned.start._replace(diameter="auto"),
        best=tuned.best._replace(diameter="auto"),
    )
    assert draw_surface(one).shape[0] < picture.shape[0]
