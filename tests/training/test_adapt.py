"""Which weights learn; what is mended after forgetting; pictures and words of a training."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from cellbrook.errors import EngineError, UsageError  # noqa: E402
from cellbrook.networks.compact.model import CompactNet  # noqa: E402
from cellbrook.networks.cpsam.model import CpsamNet  # noqa: E402
from cellbrook.training import finetune  # noqa: E402
from cellbrook.training.adapt import LoraLinear, choose_layers, interpolated, merge_lora  # noqa: E402
from cellbrook.training.curves import draw_curves  # noqa: E402
from cellbrook.training.dataset import from_arrays  # noqa: E402
from cellbrook.training.guard import SHARES, Guarded, guard, words_of_forgetting  # noqa: E402
from cellbrook.training.loop import LoopParams, Trainer  # noqa: E402
from cellbrook.training.loss import LossParams, targets_of  # noqa: E402
from cellbrook.training.report import CurvePoint, words_of_learning, words_of_result  # noqa: E402
from cellbrook.training.scores import Score  # noqa: E402
from cellbrook.training.state import trained_names  # noqa: E402
from cellbrook.training.synthetic import generate  # noqa: E402


def two_blocks():
    torch.manual_seed(0)
    network = CpsamNet(channels=3, patch=8, grid=8, depth=2, dim=32, head_dim=16, mlp=64, neck=16)
    network.encoder.pos_embed.data.normal_(0, 0.02)
    return network


def batch(seed=0, size=64):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((2, size, size), np.uint32)
    for b in range(2):
        for n, (cy, cx) in enumerate(rng.uniform(10, size - 10, (3, 2)), 1):
            labels[b][(y - cy) ** 2 + (x - cx) ** 2 < 64] = n
    images = np.repeat((labels > 0)[:, None], 3, 1).astype(np.float32)
    targets = [targets_of(one) for one in labels]
    joined = {k: torch.from_numpy(np.stack([t[k] for t in targets])) for k in targets[0]}
    return torch.from_numpy(images), joined


def test_lora_learns_on_a_transformer_of_two_blocks():
    network = two_blocks()
    before = {n: p.clone() for n, p in network.named_parameters()}
    choose_layers(network, "lora", rank=4)
    learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert learning < 0.4 * sum(p.numel() for p in network.parameters())
    assert sum(isinstance(m, LoraLinear) for m in network.modules()) == 8
    params = LoopParams(steps=50, warmup=5, learning_rate=1e-2, bf16=False, average=0.9)
    trainer = Trainer(network, params, LossParams())
    losses = [trainer.train_step(batch(s % 4))["loss"] for s in range(50)]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    # nothing but the small matrices and the readout has moved
    for name, parameter in trainer.network.named_parameters():
        original = before.get(name.replace(".base.", "."))
        if original is not None and not name.startswith("out."):
            assert torch.equal(parameter, original), name


def test_merged_lora_is_the_plain_network_with_other_weights():
    network = two_blocks()
    names = list(network.state_dict())
    choose_layers(network, "lora", rank=2)
    for module in network.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.up, std=0.1)
    x = batch()[0]
    with torch.no_grad():
        expected = network.eval()(x)
        found = merge_lora(network)(x)
    assert list(network.state_dict()) == names
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_a_frozen_part_is_neither_copied_nor_stored():
    network = two_blocks()
    choose_layers(network, "lora", rank=2)
    trainer = Trainer(network, LoopParams(bf16=False), LossParams())
    shared = {id(p) for p in network.parameters() if not p.requires_grad}
    copied = {id(p) for p in trainer.averaged.parameters()}
    assert shared <= copied
    assert not any(n.endswith("base.weight") for n in trained_names(network))


def test_the_last_layers_of_compact_learn_and_the_first_do_not():
    network = CompactNet((8, 8, 8, 16, 16))
    choose_layers(network, "last")
    learning = {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert learning == {"up4", "dec4", "up2", "dec2", "pixels", "size"}


def test_lora_is_refused_where_there_is_no_transformer():
    with pytest.raises(UsageError, match=r"compact has none: use --train last"):
        choose_layers(CompactNet((8, 8, 8, 16, 16)), "lora")


def test_batch_statistics_stay_when_they_are_frozen():
    network = CompactNet((8, 8, 8, 16, 16))
    for frozen in (True, False):
        trainer = Trainer(network, LoopParams(bf16=False, freeze_statistics=frozen), LossParams())
        before = network.stem[1].running_mean.clone()
        image, target = batch()
        planes = torch.zeros(2, network.spec.planes, 64, 64)
        planes[:, :3] = image
        trainer.train_step((planes, target))
        assert torch.equal(network.stem[1].running_mean, before) == frozen


class One(torch.nn.Module):
    """A network of one weight."""

    def __init__(self, value):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(float(value)))


def score(ap, n_pred=10, iou=0.8):
    return Score(ap, ap, 10, n_pred, round(10 * ap), iou, {"a": ap})


def test_interpolation_goes_from_the_start_to_the_new():
    assert [interpolated(One(2), One(4), s).weight.item() for s in (0.0, 0.25, 1.0)] == [2.0, 2.5, 4.0]


def run_guard(own, general, validation_start=0.5, least=0.755):
    """Guard a network of weight 1 that started from weight 0; scores are functions of the weight."""
    new = Guarded(One(1), 1.0, score(own(1.0)), score(general(1.0)), True)
    return guard(
        One(0),
        new,
        least=least,
        validation_start=score(validation_start),
        judge=lambda n: score(own(n.weight.item())),
        judge_frozen=lambda n: score(general(n.weight.item())),
    )


def test_what_forgot_little_is_left_alone():
    kept = run_guard(own=lambda w: 0.5 + 0.3 * w, general=lambda w: 0.8 - 0.03 * w)
    assert (kept.share, kept.within) == (1.0, True)


def test_what_forgot_too_much_is_moved_back_no_further_than_needed():
    kept = run_guard(own=lambda w: 0.5 + 0.3 * w, general=lambda w: 0.8 - 0.1 * w)
    assert kept.share == pytest.approx(0.4)
    assert kept.within
    assert kept.validation.ap > 0.5
    words = words_of_forgetting(score(0.8), kept, score(0.7))
    assert "Training cost 10.0 points" in words[0]
    assert "40% new" in words[0]


@pytest.mark.parametrize("share", SHARES)
def test_the_way_back_is_found_in_few_looks(share):
    looks = []
    kept = run_guard(
        own=lambda w: 0.5 + 0.3 * w, general=lambda w: looks.append(w) or (0.8 if w < share + 0.05 else 0.7)
    )
    assert kept.share == share
    assert len(looks) - 1 <= (1 if share == 0.9 else 5)  # the first is of the new weights


def test_what_cannot_be_mended_is_said():
    kept = run_guard(own=lambda w: 0.8 if w == 1 else 0.4, general=lambda w: 0.8 - 0.1 * w)
    assert (kept.share, kept.within) == (1.0, False)
    assert "images like the training images only" in words_of_forgetting(score(0.8), kept, kept.frozen)[0]


def test_a_worse_model_is_never_active():
    assert words_of_result(score(0.6), score(0.7), "compact", gained=True)[0]
    active, words = words_of_result(score(0.6), score(0.6), "compact", gained=True)
    assert not active
    assert "compact stays in use" in words[0]
    active, words = words_of_result(score(0.6), score(0.7), "compact", gained=False)
    assert not active
    assert "may be chance" in words[0]


@pytest.mark.parametrize(
    ("iou", "gained", "active", "said"),
    [
        (0.83, True, True, "closer to yours: mean IoU 0.830 against 0.800"),
        (0.83, False, False, "closer (mean IoU 0.830 against 0.800): that may be chance"),
        (0.805, True, False, "compact stays in use"),
    ],
)
def test_of_as_many_cells_the_outlines_decide(iou, gained, active, said):
    told, words = words_of_result(score(0.6), score(0.6, iou=iou), "compact", gained=gained)
    assert told == active
    assert said in words[0]
    assert not score(0.5, iou=0.99).better_than(score(0.6))


def test_a_model_that_finds_nothing_says_so():
    active, words = words_of_result(score(0.6), score(0.0, n_pred=0), "compact", gained=True)
    assert not active
    assert "finds nothing" in words[0]
    assert not words_of_result(None, score(0.0, n_pred=0), "scratch", gained=True)[0]


def curve(held_out):
    return tuple(CurvePoint(10 * i, 2.0 - 0.2 * i, loss, 0.5) for i, loss in enumerate(held_out))


def test_learning_by_heart_is_said():
    assert "by heart" in words_of_learning(curve([2, 1.5, 1.0, 1.2, 1.4]), 20)[0]
    assert words_of_learning(curve([2, 1.5, 1.0, 0.9, 0.95]), 30) == []


def test_curves_are_a_picture(tmp_path):
    import imagecodecs

    draw_curves(tmp_path / "curves.png", curve([2, 1.5, 1.0, float("nan"), 1.4]), 20)
    picture = imagecodecs.imread(tmp_path / "curves.png")
    assert picture.shape == (600, 720, 3)
    blue = (picture == (0, 98, 178)).all(-1)
    assert blue[:300].sum() > 300
    assert blue[300:].sum() > 300
    draw_curves(tmp_path / "one.png", curve([2.0]), 0)


def test_memory_is_counted_before_it_is_taken():
    from cellbrook.training.settings import kept_bytes

    kept = {}
    for layers in ("all", "last"):
        network = CompactNet()
        choose_layers(network, layers)
        kept[layers] = kept_bytes(network, network.spec, 256)
    assert kept["last"] < 0.5 * kept["all"]
    # a crop's outputs at half the resolution alone: 24 channels, and as many of the decoder
    assert 2 * 24 * 128 * 128 * 4 < kept["all"] < 100e6
    attention = 2 * 2 * 64 * 64 * 4  # blocks, heads, tokens squared
    assert kept_bytes(two_blocks(), two_blocks().spec, 64) > attention


def taught(objects):
    """As much of an example as settings are settled by."""
    labels = np.zeros((8, 8), np.uint32)
    whole = SimpleNamespace(labels=labels)
    return SimpleNamespace(n_objects=objects, labels=labels, pixels=labels[None], is_rgb=False, whole=whole)


def test_images_are_counted_as_they_are_held(monkeypatch):
    from cellbrook.training import settings
    from cellbrook.training.params import TrainParams

    labels = np.broadcast_to(np.uint32(0), (2048, 2048))
    colour = SimpleNamespace(**{**vars(taught(9)), "labels": labels, "pixels": [labels] * 3, "is_rgb": True})
    params = TrainParams(device="cpu", threads=1)

    def settle(free, *held_out, **wishes):
        monkeypatch.setattr(settings, "free_memory", lambda: free)
        wished = replace(params, **wishes)
        return settings.settle(wished, CompactNet(), [colour] * 50, held_out, scratch=False)

    images = 50 * 3 * 4 * 2048**2
    few, many = (settle(None, *extra).memory_bytes for extra in ((), [colour] * 50))
    assert abs(many - few - images) < 1e8
    plenty = settle(2 * images)
    assert settle(images + 3 * 10**8).batch_size < plenty.batch_size
    with pytest.raises(UsageError, match=r"the images alone need about 2\.3 GiB and 1\.9 GiB are free"):
        settle(2 * 10**9)
    with pytest.raises(UsageError, match=r"GiB are free beside the images, which take 2\.3 GiB"):
        settle(images + 5 * 10**7)


@pytest.mark.parametrize(
    ("wish", "error", "said"),
    [
        ("gpu", UsageError, "device must be auto, cpu, cuda, cuda:N or mps; got 'gpu'"),
        ("mps", EngineError, "device mps is not available"),
        ("cuda", EngineError, "device cuda is not available"),
        ("cuda:7", EngineError, "the last one is cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_a_line(wish, error, said, monkeypatch):
    from cellbrook.training.settings import pick_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: wish == "cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(error, match=said):
        pick_device(wish)
    assert pick_device("cpu") == "cpu"


def test_onnx_is_missed_before_anything_is_learnt(tmp_path, monkeypatch):
    sample = generate("fluo_nuclei", 0, 128, 14)
    images = from_arrays([sample.image[0].astype(np.uint16)] * 2, [sample.labels] * 2)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(finetune, "learn", lambda *_, **__: pytest.fail("it learns"))
    for start in ("compact", "scratch"):
        with pytest.raises(EngineError, match=r'onnx.*pip install "cellbrook\[train\]"'):
            finetune.finetune(images, tmp_path / start, start=start)


def test_few_objects_are_learnt_from_at_a_smaller_rate():
    from cellbrook.training import settings
    from cellbrook.training.params import TrainParams

    def rate(objects, **wishes):
        params = TrainParams(device="cpu", threads=1, **wishes)
        return settings.settle(params, CompactNet(), [taught(objects)], scratch=False).learning_rate

    assert rate(1) == rate(50) == settings.FEW_RATE
    assert settings.FEW_RATE < rate(100) < rate(200) < settings.FULL_RATE
    assert rate(400) == rate(40_000) == settings.FULL_RATE
    assert rate(40_000, learning_rate=1e-5) == 1e-5


def test_a_slower_processor_gets_fewer_steps_but_the_same_at_every_start(monkeypatch):
    from cellbrook.training import settings
    from cellbrook.training.params import TrainParams

    whole = settings.step_flops(CompactNet(), CompactNet().spec, 64)
    last = CompactNet()
    choose_layers(last, "last")
    assert 0.2e9 < settings.step_flops(last, last.spec, 64) < 0.7 * whole < 1e9
    monkeypatch.setattr(settings, "step_flops", lambda *_: 16 * whole)  # a crop of 256 px

    def steps(threads, *, fast, scratch=False, **wishes):
        monkeypatch.setattr(settings, "fast_bf16", lambda: fast)
        monkeypatch.setattr(settings, "resolve_threads", lambda _: threads)
        params = TrainParams(device="cpu", **wishes)
        return settings.settle(params, CompactNet(), [taught(40)] * 5, scratch=scratch).steps

    assert steps(2, fast=True) == steps(16, fast=False) == settings.USUAL_STEPS
    assert steps(1, fast=False) >= settings.FEWEST * settings.USUAL_STEPS
    assert steps(1, fast=False) < steps(2, fast=False) == steps(2, fast=False)
    assert steps(2, fast=False) < settings.USUAL_STEPS
    assert steps(2, fast=False, scratch=True) == 4 * steps(2, fast=False)
    assert steps(1, fast=False, steps=7) == 7
