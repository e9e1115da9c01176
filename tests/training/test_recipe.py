"""What the shipped model is trained with: draws, crops, targets, loss, loop, export."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cellbrook.engines import _probe  # noqa: E402
from cellbrook.networks.base import TARGET_VALUES  # noqa: E402
from cellbrook.networks.compact.model import CompactNet  # noqa: E402
from cellbrook.training.augment import AugmentParams, random_crop  # noqa: E402
from cellbrook.training.data import LabelledImage, LookSampler, pairs_in  # noqa: E402
from cellbrook.training.loop import LoopParams, Trainer, save  # noqa: E402
from cellbrook.training.loss import LossParams, loss_of, targets_of  # noqa: E402
from cellbrook.training.painting import painted_cytoplasm, painted_nuclei  # noqa: E402
from cellbrook.training.rounding import Rounding, rounded_weights  # noqa: E402


def discs(size=160, radius=9, look="a/b"):
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.uint32)
    for n, (cy, cx) in enumerate([(40, 40), (80, 110), (120, 50)], 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = n
    return LabelledImage("discs", (labels > 0).astype(np.float32)[None], labels, look)


def test_an_image_knows_its_objects():
    item = discs()
    assert item.diameter_px == pytest.approx(18, abs=0.5)
    assert item.boxes == pytest.approx(np.array([[40, 40], [80, 110], [120, 50]]), abs=0.1)


def test_looks_are_drawn_evenly_whatever_their_number_of_files():
    images = [discs(look="many/x")] * 100 + [discs(look="few/y")]
    sampler = LookSampler(images, {"many": 0.5, "few": 0.5})
    rng = np.random.default_rng(0)
    few = sum(sampler.draw(rng).look == "few/y" for _ in range(1000))
    assert 420 < few < 580


def test_crops_keep_image_and_labels_together():
    rng = np.random.default_rng(1)
    item = discs(size=300)
    for _ in range(20):
        plain = AugmentParams(crop=96, wide_share=0.0)
        image, labels, inside = random_crop(item, rng, plain)
        assert image.shape == (4, 96, 96)
        assert len(np.unique(image[3])) == 1, "the plane of the target"
        assert labels.shape == inside.shape == (96, 96)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert not labels[~inside].any()


def test_the_geometry_of_a_crop_is_exact():
    """Without changed intensities, the picture of a label stays on the label."""
    from cellbrook.training import augment

    rng = np.random.default_rng(2)
    item = discs(size=300)
    for _ in range(10):
        image, labels, inside = augment._warp(item, item.labels, rng, AugmentParams(crop=128))
        disagreement = ((image[0] > 0.5) != (labels > 0))[inside].mean()
        assert disagreement < 0.02


def test_native_crops_keep_the_size_of_objects():
    rng = np.random.default_rng(3)
    item = discs(radius=25, size=300)
    native = AugmentParams(crop=256, native_share=1.0)
    sizes = []
    for _ in range(20):
        _, labels, _ = random_crop(item, rng, native)
        sizes += [2 * np.sqrt(a / np.pi) for a in np.bincount(labels.ravel())[1:] if a]
    assert np.median(sizes) == pytest.approx(50, rel=0.1)


def test_crops_of_a_very_flat_image_can_be_cut():
    labels = np.zeros((3, 600), np.uint32)
    labels[:, 100:500] = 1
    flat = LabelledImage("a", np.zeros((1, 3, 600), np.float32), labels, "flat")
    small = AugmentParams(crop=32, diameter_px=7.0, wide_share=0.0)
    for seed in range(8):
        image, labels, _ = random_crop(flat, np.random.default_rng(seed), small)
        assert image.shape[1:] == labels.shape == (32, 32)


def test_the_target_plane_says_what_the_labels_outline():
    """Cells or nuclei when told, or either; nuclei of a cell with several stains are always told."""
    rng = np.random.default_rng(4)
    cells = discs(size=200)
    cells.nuclei = np.where(cells.labels == 1, 1, 0).astype(np.uint32)
    seen = set()
    for _ in range(60):
        image, labels, _ = random_crop(cells, rng, AugmentParams(crop=64, wide_share=0.0))
        told = float(image[3, 0, 0])
        if told == TARGET_VALUES["nuclei"]:
            assert set(np.unique(labels)) <= {0, 1}
        seen.add(told)
    assert seen == set(TARGET_VALUES.values())


def test_painted_nuclei_lie_inside_their_cells():
    rng = np.random.default_rng(5)
    cells = discs(size=200).labels
    nuclei, channel = painted_nuclei(cells, rng)
    assert set(np.unique(nuclei)) == {0, 1, 2, 3}
    assert np.array_equal(nuclei[nuclei > 0], cells[nuclei > 0])
    assert channel[nuclei > 0].mean() > channel[cells == 0].mean() + 0.2


def test_painted_cytoplasm_lies_around_the_nuclei():
    rng = np.random.default_rng(6)
    nuclei = discs(size=200).labels
    channel = painted_cytoplasm(nuclei, rng)
    y, x = np.mgrid[:200, :200]
    ring = (nuclei == 0) & ((y - 40) ** 2 + (x - 40) ** 2 < 13**2)
    assert channel[ring].mean() > channel[150:, 150:].mean() + 0.2


def test_painting_without_objects_gives_a_plain_channel():
    none = np.zeros((32, 32), np.uint32)
    rng = np.random.default_rng(7)
    nuclei, channel = painted_nuclei(none, rng)
    assert not nuclei.any()
    assert np.isfinite(channel).all()
    assert np.isfinite(painted_cytoplasm(none, rng)).all()


def test_targets_say_what_the_labels_say():
    item = discs()
    target = targets_of(item.labels)
    assert np.array_equal(target["cellprob"][0] > 0, item.labels > 0)
    length = np.hypot(*target["flow"])[item.labels > 0]
    assert np.median(length) == pytest.approx(1, abs=1e-3)
    assert np.nanmedian(np.exp(target["log_diameter"])) == pytest.approx(18, abs=0.5)


def test_objects_cut_by_the_border_say_nothing_of_their_size():
    labels = np.zeros((64, 64), np.uint32)
    labels[:20, :20] = 1
    assert np.isnan(targets_of(labels)["log_diameter"]).all()


def test_loss_is_zero_for_the_truth_and_ignores_what_is_outside():
    target = {k: torch.from_numpy(v)[None] for k, v in targets_of(discs().labels).items()}
    perfect = {
        "flow": target["flow"],
        "cellprob": (target["cellprob"] * 2 - 1) * 50,
        "log_diameter": target["log_diameter"].nan_to_num(3.0),
    }
    assert loss_of(perfect, target, LossParams())[0] < 1e-6
    target["inside"] = torch.zeros_like(target["inside"])
    wrong = {k: torch.randn_like(v) for k, v in perfect.items()}
    _, terms = loss_of(wrong, target, LossParams())
    assert terms["flow"] == terms["cellprob"] == 0


def tiny():
    torch.manual_seed(0)
    return CompactNet((8, 8, 8, 16, 16))


def batches():
    rng = np.random.default_rng(3)
    while True:
        crops = [random_crop(discs(), rng, AugmentParams(crop=64)) for _ in range(2)]
        targets = [targets_of(labels, inside) for _, labels, inside in crops]
        yield (
            torch.from_numpy(np.stack([c[0] for c in crops])),
            {k: torch.from_numpy(np.stack([t[k] for t in targets])) for k in targets[0]},
        )


def test_it_learns():
    trainer = Trainer(tiny(), LoopParams(steps=60, warmup=5, bf16=False), LossParams())
    source = batches()
    losses = [trainer.train_step(next(source))["loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])


@pytest.mark.parametrize("rounded", [False, True])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, rounded):
    fixed = [next(source) for source in [batches()] for _ in range(6)]

    def train(trainer, crops):
        for batch in crops:
            trainer.train_step(batch)
        return trainer

    params = LoopParams(steps=6, warmup=2, bf16=False)

    def trainer():
        network = tiny()
        return Trainer(network, params, LossParams(), Rounding(network) if rounded else None)

    through = train(trainer(), fixed)
    first = train(trainer(), fixed[:3])
    save(first.state_dict(), tmp_path / "last.pt")
    second = trainer()
    second.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
    train(second, fixed[3:])
    for name, value in through.averaged.state_dict().items():
        assert torch.equal(value, second.averaged.state_dict()[name]), name


def test_the_learning_rate_falls_with_the_time_if_that_is_up_first():
    trainer = Trainer(tiny(), LoopParams(steps=10**6, minutes=1.0, warmup=1, bf16=False), LossParams())
    assert trainer._learning_rate() == pytest.approx(2e-3)
    trainer.seconds = 30.0
    assert trainer.done == pytest.approx(0.5)
    assert trainer._learning_rate() == pytest.approx(1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    trainer = Trainer(tiny(), LoopParams(bf16=False), LossParams())
    image, target = next(batches())
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.train_step((image * float("nan"), target))


def test_the_exported_graph_says_what_the_network_says(tmp_path):
    pytest.importorskip("onnx")
    import onnxruntime

    from cellbrook.networks.export import export_network

    network = tiny().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    paths = export_network(network, tmp_path, "tiny")
    assert paths["onnx"].stat().st_size < 60_000, "weights are in the safetensors file, once"
    session = onnxruntime.InferenceSession(str(paths["onnx"]))
    for shape in ((1, 4, 64, 96), (2, 4, 32, 32)):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = network(x)
        for name, value in zip(expected, session.run(list(expected), {"x": x.numpy()}), strict=True):
            np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-4, err_msg=name)


def test_pairs_are_found_by_id(tmp_path):
    for name in ("b_img.png", "b_masks.png", "a_img.tif", "a_masks.tif", "c_img.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [name for name, *_ in pairs_in(tmp_path)] == ["a", "b"]


def test_the_int8_graph_is_close_and_stands_alone(tmp_path):
    pytest.importorskip("onnx")
    import onnxruntime

    from cellbrook.networks.quantize import quantize_network

    network = tiny().eval()
    rng = np.random.default_rng(8)
    tiles = [random_crop(discs(), rng, AugmentParams(crop=64))[0] for _ in range(8)]
    quantize_network(network, tiles, tmp_path / "tiny.int8.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.int8.onnx"]
    options = onnxruntime.SessionOptions()
    if (
        not _probe.fast_int8()
    ):  # sums of products would saturate: what the graph says is then computed in floats
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(tmp_path / "tiny.int8.onnx"), options)
    x = np.stack(tiles[:2])
    with torch.no_grad():
        expected = network(torch.from_numpy(x))
    for name, value in zip(expected, session.run(list(expected), {"x": x}), strict=True):
        wanted = expected[name].numpy()
        assert np.abs(value - wanted).mean() < 0.1 * wanted.std() + 1e-3, name


def test_what_is_learnt_is_rounded_as_the_int8_graph_rounds():
    network = tiny().eval()
    rounding = Rounding(network)
    convolutions = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    added = 8 + 5  # second convolutions of the blocks, upward ones and the last block
    assert len(rounding.ranges) == len(convolutions) - 3 + added
    x = torch.from_numpy(random_crop(discs(), np.random.default_rng(8), AugmentParams(crop=64))[0])[None]
    with rounding:
        first = network(x)
    assert torch.isfinite(rounding.ranges).all(), "every place was passed"
    plain = network(x)
    for name, value in plain.items():
        error = (first[name] - value).abs().mean()
        assert 0 < error < 0.1 * value.std() + 1e-3, name
    weights = torch.randn(4, 3, 3, 3, requires_grad=True)
    rounded = rounded_weights(weights)
    for channel in rounded.detach():
        assert len(channel.unique()) <= 27
        steps = channel / (channel.abs().max() / 127)
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    rounded.sum().backward()
    assert torch.equal(weights.grad, torch.ones_like(weights)), "the gradient passes"


def test_the_score_is_fitted_to_how_often_objects_are_right():
    from cellbrook.training.calibrate import fit_score

    rng = np.random.default_rng(9)
    cellprob, flow_error = rng.uniform(-1, 6, 4000), rng.uniform(0, 0.4, 4000)
    logit = -1 + 0.8 * cellprob - 6 * flow_error
    right = rng.random(4000) < 1 / (1 + np.exp(-logit))
    weights = fit_score(cellprob, flow_error, right)
    told = 1 / (1 + np.exp(-(weights[0] + weights[1] * cellprob + weights[2] * flow_error)))
    for low in np.arange(0, 1, 0.2):
        bin_ = (told >= low) & (told < low + 0.2)
        assert told[bin_].mean() == pytest.approx(right[bin_].mean(), abs=0.06)


def test_a_fitted_score_gives_way_to_many_objects_but_not_to_a_few():
    from cellbrook.training.calibrate import fit_score

    prior = (-1.0, 0.8, -6.0)
    rng = np.random.default_rng(3)

    def fitted(n):
        """Objects that are right less often than the prior says."""
        cellprob, flow_error = rng.uniform(-1, 6, n), rng.uniform(0, 0.4, n)
        right = rng.random(n) < 1 / (1 + np.exp(-(-3 + 0.8 * cellprob - 6 * flow_error)))
        return fit_score(cellprob, flow_error, right, prior=prior)

    def said(weights):
        return 1 / (1 + np.exp(-(weights[0] + 3 * weights[1] + 0.1 * weights[2])))

    before, truth = said(prior), said((-3.0, 0.8, -6.0))
    assert said(fitted(5000)) == pytest.approx(truth, abs=0.05)
    assert abs(said(fitted(5)) - before) < 0.3 * abs(truth - before)
    none = np.zeros(0)
    assert fit_score(none, none, none.astype(bool), prior=prior) == prior
    bright = rng.uniform(4, 6, 300), rng.uniform(0, 0.05, 300)
    bias, of_cellprob, of_flow_error = fit_score(*bright, rng.random(300) < 0.99, prior=prior)
    for cellprob in (1.0, 2.0):
        told = bias + of_cellprob * cellprob + of_flow_error * 0.2
        assert told == pytest.approx(-1 + 0.8 * cellprob - 6 * 0.2, abs=0.4), "of faint ones nothing was seen"
