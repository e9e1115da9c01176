"""Training by users, end to end on generated cells: what comes out, what is kept, what is said, what survives a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("onnx")

import cellbrook  # noqa: E402
from cellbrook.core.progress import NoProgress  # noqa: E402
from cellbrook.errors import Cancelled, ModelError, OutputError, TrainingError, UsageError  # noqa: E402
from cellbrook.networks.cards import FAMILY_SPECS, read_card  # noqa: E402
from cellbrook.networks.store import resolve_model  # noqa: E402
from cellbrook.normalize import normalize  # noqa: E402
from cellbrook.training import augment, generalist, learn, output  # noqa: E402
from cellbrook.training import finetune as module  # noqa: E402
from cellbrook.training.dataset import from_arrays  # noqa: E402
from cellbrook.training.finetune import finetune  # noqa: E402
from cellbrook.training.output import write_model  # noqa: E402
from cellbrook.training.params import TrainParams  # noqa: E402
from cellbrook.training.report import CurvePoint  # noqa: E402
from cellbrook.training.scores import Score  # noqa: E402
from cellbrook.training.settings import Settings  # noqa: E402
from cellbrook.training.split import Split  # noqa: E402
from cellbrook.training.state import held  # noqa: E402
from cellbrook.training.synthetic import generate  # noqa: E402

QUICK = TrainParams(steps=10, batch_size=2, crop=64, threads=1, device="cpu")


def cells(count=3, size=128):
    samples = [generate("fluo_nuclei", seed, size, 18) for seed in range(count)]
    return from_arrays([s.image[0].astype(np.uint16) for s in samples], [s.labels for s in samples])


@pytest.fixture(autouse=True)
def few_general_images(monkeypatch):
    """Two general images of each kind do for what is tested here."""
    every = generalist.crops()
    few = [*[c for c in every if c.role == "replay"][:2], *[c for c in every if c.role == "frozen"][:2]]
    monkeypatch.setattr(generalist, "crops", lambda: tuple(few))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished training: its report, folder, and what it said."""
    said = []
    out = tmp_path_factory.mktemp("models") / "My cells"
    params = replace(QUICK, learning_rate=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        every = generalist.crops()
        patch.setattr(generalist, "crops", lambda: (every[0], every[-1]))
        report = finetune(cells(), out, params=params, say=said.append)
    return report, out, said


def weights_of(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


def test_a_held_out_part_is_judged_in_its_image():
    from cellbrook.networks import load
    from cellbrook.networks.store import resolve_model
    from cellbrook.training.scores import Judge

    (whole,) = cells(1, 256).examples
    parts = [whole.part(rows, slice(None), "") for rows in (slice(0, 190), slice(190, None))]
    parts += [parts[1].part(slice(None), columns, "") for columns in (slice(0, 100), slice(100, None))]
    shipped = resolve_model("compact")
    judge = Judge(shipped.card, "cpu", 1)
    score, upper, lower, left, right = (judge.score(load(shipped), [e]) for e in (whole, *parts))
    assert score.tp > 20
    for counted in ("n_true", "n_pred", "tp"):
        assert getattr(upper, counted) + getattr(lower, counted) == getattr(score, counted)
        assert getattr(left, counted) + getattr(right, counted) == getattr(lower, counted)
    assert upper.iou * upper.tp + lower.iou * lower.tp == pytest.approx(score.iou * score.tp)
    assert 0.7 < score.iou < 1
    fitted = [judge.calibrated(load(shipped), examples)[1] for examples in ([whole], parts[:2])]
    assert fitted[0] == fitted[1] > 20


def test_one_false_object_where_there_is_none_weighs_as_in_other_images(monkeypatch):
    from cellbrook.networks.store import resolve_model
    from cellbrook.training.scores import Judge

    (full,) = cells(1, 128).examples
    empty = replace(full, name="empty", labels=np.zeros_like(full.labels))
    false = np.zeros_like(full.labels)
    false[:20, :20] = 1
    told = {full.name: full.labels, "empty": false}
    judge = Judge(resolve_model("compact").card, "cpu", 1)
    monkeypatch.setattr(judge, "_engine", lambda network: None)
    monkeypatch.setattr(judge, "_segment", lambda engine, example, *_: told[example.name])
    score = judge.score(None, [full, empty])
    n = full.n_objects
    assert n > 3
    assert score.mean_ap == pytest.approx((1 + n / (n + 1)) / 2)
    assert score.images == {full.name: 1, "empty": 0}
    told["empty"] = empty.labels
    assert judge.score(None, [full, empty]).mean_ap == 1
    assert judge.score(None, [empty]).mean_ap == 1


def test_the_model_segments_at_once(trained):
    report, _, _ = trained
    image = generate("fluo_nuclei", 9, 128, 18).image[0]
    found = cellbrook.segment(image, model=report.path, threads=1)
    assert found.provenance["engine"]["engine"] in ("onnxruntime", "openvino")
    assert found.provenance["model"]["name"] == "compact.my-cells"
    by_file = cellbrook.segment(image, model=report.path / "weights.safetensors", threads=1)
    np.testing.assert_array_equal(by_file.labels, found.labels)


def test_from_scratch_channels_come_as_segment_shows_them():
    (cell,) = cells(1).examples
    empty = np.zeros_like(cell.pixels)
    empty[:, :9, :9] = cell.pixels.max()
    settings = Settings(9, 8, 64, 1e-3, 0.9, 3, 0.0, False, "cpu", 1, 0, 1, 1)
    for pixels in ([empty, cell.pixels], [cell.pixels, empty]):
        example = replace(cell, pixels=np.concatenate(pixels))
        parts = Split((example,), (example,), "")
        for scratch in (True, False):
            crops, _ = learn._crops(parts, settings, FAMILY_SPECS["compact"], TrainParams(), scratch=scratch)
            images = np.concatenate([crops.batch(step)[0] for step in range(4)])
            assert (images[:, 2].std(axis=(1, 2)) == 0).all() == scratch, (
                "two channels fill the first two planes"
            )


@pytest.mark.parametrize(
    ("wish", "channels", "asked"),
    [("auto", 1, {0}), ("auto", 2, {1}), ("cells", 1, {0, 1}), ("nuclei", 2, {-1}), ("nuclei", 1, {-1, 0})],
)
def test_crops_ask_for_what_will_be_asked_for(wish, channels, asked):
    (cell,) = cells(1).examples
    example = replace(cell, pixels=np.concatenate([cell.pixels] * channels))
    settings = Settings(9, 8, 64, 1e-3, 0.9, 3, 0.0, False, "cpu", 1, 0, 1, 1)
    parts = Split((example,), (example,), "")
    crops, fixed = learn._crops(parts, settings, FAMILY_SPECS["compact"], TrainParams(target=wish))
    for images in (crops.batch(0)[0], fixed[0][0]):
        assert set(np.unique(images[:, 3])) == asked


def test_a_network_of_two_channels_is_taught_the_mean_of_colours():
    (cell,) = cells(1).examples
    colour = np.stack([cell.pixels[0], np.roll(cell.pixels[0], 9), np.rot90(cell.pixels[0])])
    example = replace(cell, pixels=colour, is_rgb=True)
    settings = Settings(9, 8, 64, 1e-3, 0.9, 3, 0.0, False, "cpu", 1, 0, 1, 1)
    crops, _ = learn._crops(Split((example,), (example,), ""), settings, FAMILY_SPECS["cp3"], TrainParams())
    images = crops.batch(0)[0]
    assert images[:, 0].std() > 0.1
    assert not images[:, 1].any(), "as segment shows it"
    np.testing.assert_array_equal(example.normalised(2), normalize(colour.mean(0, np.float32)[None]))
    assert example.normalised(3).shape == example.normalised().shape == (3, 128, 128)


def test_channels_are_taught_by_their_roles(tmp_path, monkeypatch):
    for change in ("_intensities", "_calm"):
        monkeypatch.setattr(augment, change, lambda image, rng: image)
    data = cells(2)
    pixels = [np.concatenate([np.zeros_like(e.pixels), e.pixels]) for e in data.examples]
    told = tuple(
        replace(e, pixels=p, roles=("nucleus", "cell")) for e, p in zip(data.examples, pixels, strict=True)
    )
    seen = []
    monkeypatch.setattr(module, "learn", lambda base, parts, *a, **k: seen.append((base, parts)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finetune(
            replace(data, examples=told),
            tmp_path / "m",
            start=official_checkpoint("cp3", tmp_path),
            params=QUICK,
        )
    ((base, parts),) = seen
    settings = Settings(9, 8, 64, 1e-3, 0.9, 3, 0.0, False, "cpu", 1, 0, 1, 1)
    crops, _ = learn._crops(parts, settings, base.card.spec, QUICK)
    images = crops.batch(0)[0]
    assert images[:, 0].any()
    assert not images[:, 1].any(), "the cells stay in the channel of cells"


def test_planes_of_a_stack_are_judged_as_segment_finds_them(tmp_path):
    import tifffile

    from cellbrook import pipeline
    from cellbrook.core.params import SegmentParams
    from cellbrook.io import open_image, write_labels
    from cellbrook.networks import load
    from cellbrook.training.dataset import load_folder
    from cellbrook.training.scores import Judge

    (example,) = cells(1).examples
    stack = np.stack([example.pixels[0], example.pixels[0] // 32])
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    write_labels(tmp_path / "s_labels.tif", np.stack([example.labels] * 2), axes="ZYX")
    model = resolve_model("compact")
    judge, network = Judge(model.card, "cpu", 1), load(model)
    source = open_image(tmp_path / "s.tif")
    plan = pipeline.resolve(source, model, SegmentParams.from_keywords(threads=1))
    found = pipeline.run(source, plan, model, judge._engine(network), name="s").labels
    for plane, labels in zip(load_folder(tmp_path).examples, found, strict=True):
        np.testing.assert_array_equal(judge.segment(network, plane) > 0, labels > 0)


def test_the_report_says_what_was_done(trained):
    report, out, said = trained
    document = json.loads((out / "report.json").read_text())
    assert document["settings"]["steps"] == report.steps == 10
    assert [p["step"] for p in document["curve"]] == [0, 10]
    assert (report.images, report.objects) == (2, cells().n_objects - report.validation.n_true)
    assert read_card(report.path / "card.toml").description == (
        f"Trained from compact on 2 images with {report.objects} objects. AP at IoU 0.5: held-out images "
        f"{report.validation_start.ap:.3f} before, {report.validation.ap:.3f} now; general images "
        f"{report.frozen_start.mean_ap:.3f} before, {report.frozen.mean_ap:.3f} now."
    )
    assert document["data"]["images"][0]["objects"] == cells().examples[0].n_objects
    assert (out / "curves.png").stat().st_size > 1000
    assert any("learning rate 1e-05" in line for line in said)
    assert any(line.startswith("on ") and "GB of memory" in line for line in said)
    assert not (out / "training").exists(), "what an unfinished training needs is gone"


def test_a_better_model_has_a_score_of_its_own(trained):
    """Or the one it started with, if that keeps more right objects; never none."""
    report, _, _ = trained
    card = read_card(report.path / "card.toml")
    before = resolve_model("compact").card.spec.score
    fitted = any("score of a cell was fitted again" in line for line in report.words)
    assert len(card.spec.score) == 3
    assert (card.spec.score != before) == fitted


def test_names_that_are_no_text_are_written_all_the_same(write_again):
    folder, write = write_again
    name = os.fsdecode(b"caf\xe9")
    data = cells()
    named = replace(data, examples=tuple(replace(e, name=name) for e in data.examples))
    assert named.sha256 != data.sha256
    write(named, active=False, start=name, words=(f"{name} stays in use",))
    document = json.loads((folder / "not-active" / "report.json").read_text("utf-8"))
    assert {document["start"], *(i["name"] for i in document["data"]["images"])} == {name}
    assert read_card(folder / "not-active" / "card.toml").known_issues == (r"caf\udce9 stays in use",)


@pytest.mark.parametrize(
    ("ap", "iou", "words"),
    [
        (0.7, 0.7, "better on the held-out images by 10.0 points"),
        (0.6, 0.705, "mean IoU 0.720 against 0.700"),
    ],
)
def test_words_and_figures_are_of_one_score(ap, iou, words, tmp_path, monkeypatch):
    """Of the one that was fitted again, unless that would have turned the verdict."""

    def score(ap, iou):
        return Score(ap, ap, 9, 9, 6, iou, {"a": ap})

    class Tests:
        start, general = score(0.6, 0.7), score(0.8, 0.7)

        def __init__(self, *args):
            pass

        def judge(self, learned):
            return module._Outcome(
                learned, learned.network, 1.0, score(0.6, 0.72), score(0.5, 0.7), False, (), score(0.5, 0.7)
            )

        def calibrated(self, card, outcome):
            return card, replace(outcome, validation=score(ap, iou), frozen=score(0.77, 0.7), within=True)

    state = learn.State("", (CurvePoint(0, 1, 1, 0.6), CurvePoint(10, 1, 1, 0.6)), 10, 1.0)
    settings = Settings(10, 2, 64, 1e-3, 0.9, 3, 0.0, False, "cpu", 1, 0, 1, 1)
    monkeypatch.setattr(module, "_Tests", Tests)
    monkeypatch.setattr(module, "learn", lambda *a, **k: learn.Learned(torch.nn.Identity(), state, settings))
    monkeypatch.setattr(module, "write_model", lambda *a: None)
    gentle = replace(QUICK, train="last")  # no second attempt
    report = finetune(cells(2), tmp_path, params=gentle)
    assert report.active
    assert words in report.words[0]
    assert report.validation == score(ap, iou if ap > 0.6 else 0.72)
    fall = 100 * (0.8 - report.frozen.mean_ap)
    assert f"lost {fall:.1f} points" in report.words[1]


def test_a_finished_model_is_not_overwritten_by_chance(trained):
    _, out, _ = trained
    with pytest.raises(UsageError, match="finished model"):
        finetune(cells(), out, params=QUICK)


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with held(tmp_path), pytest.raises(OutputError, match="another training"):
        finetune(cells(), tmp_path, params=QUICK)


@pytest.fixture
def write_again(trained, tmp_path):
    """Return a folder with a finished model in use, and what writes another one there."""
    report, folder = trained[0], tmp_path / "m"
    start = learn.start_from("compact", 0)

    def write(data=None, **changes):
        changed = replace(report, **changes, path=folder if changes["active"] else folder / "not-active")
        write_model(start.network, start.card, changed, data or cells(), folder)

    write(active=True)
    return folder, write


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("dies_in", ["export_network", "write_card", "draw_curves"])
def test_an_earlier_model_stays_until_the_new_one_is_written(active, dies_in, write_again, monkeypatch):
    folder, write = write_again
    before = contents(folder)
    monkeypatch.setattr(output, dies_in, lambda *a: stop_at(CurvePoint(0, 0, 0, 0), 0))
    with pytest.raises(KeyboardInterrupt):
        write(active=active)
    assert contents(folder) == before


def test_a_model_that_is_not_better_leaves_an_earlier_one_as_it_was(write_again):
    folder, write = write_again
    before = contents(folder)
    write(active=False)
    after = contents(folder)
    assert before.items() <= after.items()
    own = json.loads(after[Path("not-active", "report.json")])
    assert own["path"] == str(folder / "not-active")
    assert Path("not-active", "curves.png") in after
    assert read_card(folder / "not-active" / "card.toml")
    assert cellbrook.Segmenter(model=str(folder), threads=1)
    write(active=True)
    assert set(contents(folder)) == set(before), "the one that was not better is gone"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    paths = [
        finetune(cells(), tmp_path / name, params=replace(QUICK, seed=seed)).path
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, second, third = (weights_of(p) for p in paths)
    assert all(np.array_equal(first[n], second[n]) for n in first)
    assert not all(np.array_equal(first[n], third[n]) for n in first)


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, {here!r})
from test_finetune import QUICK, cells, generalist
from dataclasses import replace
from cellbrook.training.finetune import finetune
every = generalist.crops()
generalist.crops = lambda: (every[0], every[-1])
finetune(cells(), {out!r}, params=replace(QUICK, steps=30), say=lambda line: print(line, flush=True))
"""


def run_killed_after(out, wanted):
    """Train in a process and kill it when it prints a line that begins like this; None lets it end."""
    script = textwrap.dedent(SCRIPT).format(here=str(Path(__file__).parent), out=str(out))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if wanted is not None and line.startswith(wanted):
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.read()
    assert wanted is not None or process.returncode == 0
    return lines


needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupts, and its seconds from its first line to its end."""
    out = tmp_path_factory.mktemp("uninterrupted") / "whole"
    return out, run_killed_at(out, None)


def run_killed_at(out, seconds):
    """Train in a process and kill it so long after its first line; None lets it end. Returns how long it ran."""
    script = textwrap.dedent(SCRIPT).format(here=str(Path(__file__).parent), out=str(out))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        began = time.monotonic()
        timer = None if seconds is None else threading.Timer(seconds, process.kill)
        if timer is not None:
            timer.start()
        process.stdout.read()
        process.wait()
        if timer is not None:
            timer.cancel()
            timer.join()
    assert process.returncode in (0, *([-signal.SIGKILL] if seconds is not None else []))
    return time.monotonic() - began


def check_same(out, whole):
    """Check that a training that was interrupted gave what one that was not gave, and left nothing else behind."""
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (whole, out))
    assert first["curve"] == second["curve"]
    places = [Path(document["path"]) for document in (first, second)]
    assert sorted(p.name for p in places[0].iterdir()) == sorted(p.name for p in places[1].iterdir())
    weights, again = map(weights_of, places)
    for name, value in weights.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.slow
@needs_kill
def test_a_killed_training_goes_on_to_the_very_same_weights(whole, tmp_path):
    run_killed_after(tmp_path / "killed", "step 10/30")
    run_killed_after(tmp_path / "killed", "step 20/30")
    lines = run_killed_after(tmp_path / "killed", None)
    assert any(line.startswith("going on from step 20") for line in lines)
    check_same(tmp_path / "killed", whole[0])


@pytest.mark.slow
@needs_kill
def test_killed_at_any_moment_it_goes_on_to_the_very_same_weights(whole, tmp_path):
    """CELLBROOK_KILLS says how often, 2 by default; a training that comes to its end all the same makes room for another."""
    rng = np.random.default_rng(int(os.environ.get("CELLBROOK_KILLS", "2")))
    moments = rng.uniform(0, 1.05 * whole[1], int(os.environ.get("CELLBROOK_KILLS", "2")))
    number, out = 0, tmp_path / "0"
    for moment in moments:
        run_killed_at(out, moment)
        if (out / "report.json").exists():
            shutil.rmtree(out / "training", ignore_errors=True)  # all that a kill after the report leaves
            check_same(out, whole[0])
            number += 1
            out = tmp_path / str(number)
    run_killed_at(out, None)
    check_same(out, whole[0])


def test_an_unfinished_training_of_other_data_is_not_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        finetune(cells(), tmp_path, params=QUICK, watch=lambda point: stop_at(point, 10))
    with pytest.raises(UsageError, match="other images or options"):
        finetune(cells(2), tmp_path, params=QUICK)
    with pytest.raises(UsageError, match="other images or options"):
        finetune(cells(), tmp_path, params=replace(QUICK, seed=3))
    with pytest.raises(KeyboardInterrupt):  # begun anew, as it is wished
        finetune(cells(2), tmp_path, params=QUICK, watch=lambda point: stop_at(point, 0), overwrite=True)
    (tmp_path / "training" / "first" / "last.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ModelError, match="is damaged"):
        finetune(cells(), tmp_path, params=QUICK)


def stop_at(point, step):
    if point.step == step:
        raise KeyboardInterrupt


class Cancelling(NoProgress):
    """Cancels after a number of steps."""

    def __init__(self, after):
        self.left = after

    def advance(self, count=1):
        self.left -= count

    def check_cancelled(self):
        if self.left <= 0:
            raise Cancelled("enough")


def test_cancelling_keeps_the_best_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(learn.State, "after", lambda *a: replace_state(*a))
    report = finetune(cells(), tmp_path / "a", params=replace(QUICK, steps=40), progress=Cancelling(13))
    assert (report.steps, report.best_step) == (10, 10)
    with pytest.raises(Cancelled):
        finetune(cells(), tmp_path / "b", params=replace(QUICK, steps=40), progress=Cancelling(3))
    assert not (tmp_path / "b" / "report.json").exists()
    whole = {"params": replace(QUICK, steps=40), "cut_short": False}
    with pytest.raises(Cancelled):
        finetune(cells(), tmp_path / "c", **whole, progress=Cancelling(13))
    assert (tmp_path / "c" / "training" / "first" / "last.pt").exists()


def replace_state(state, point, seconds):
    """Take every later validation for the best."""
    return learn.State(state.key, (*state.curve, point), point.step, seconds)


def test_a_model_that_is_worse_is_not_put_in_use(tmp_path):
    """A learning rate that ruins the weights: the start stays, and the folder is no model."""
    report = finetune(
        cells(), tmp_path / "bad", params=replace(QUICK, learning_rate=0.03, max_forgetting=1.0)
    )
    assert not report.active
    assert report.path == tmp_path / "bad" / "not-active"
    assert "stays in use" in report.words[0] or "finds nothing" in report.words[0]
    with pytest.raises(ModelError, match=r"without card\.toml"):
        cellbrook.Segmenter(model=str(tmp_path / "bad"))
    assert cellbrook.Segmenter(model=str(report.path), threads=1)


def test_a_loss_that_is_not_finite_stops_and_names_the_step(tmp_path, monkeypatch):
    from cellbrook.training import loop

    plain = loop.loss_of

    def broken(output, target, params):
        loss, terms = plain(output, target, params)
        return loss * float("nan"), terms

    monkeypatch.setattr(loop, "loss_of", broken)
    with pytest.raises(TrainingError, match=r"nan at step 0.*smaller learning rate"):
        finetune(cells(), tmp_path, params=QUICK)


def test_nothing_improving_ends_it_early(tmp_path, monkeypatch):
    monkeypatch.setattr(
        learn.State, "after", lambda s, p, t: learn.State(s.key, (*s.curve, p), s.best_step, t)
    )
    said = []
    ruinous = replace(QUICK, steps=60, patience=2, learning_rate=0.03, max_forgetting=1.0)
    report = finetune(cells(), tmp_path, params=ruinous, say=said.append)
    assert report.steps == 20
    assert report.best_step == 0
    assert any("nothing improved since step 0" in line for line in said)
    assert not report.active


def test_from_scratch_is_one_word(tmp_path):
    report = finetune(cells(2), tmp_path, start="scratch", params=QUICK)
    assert report.validation_start is None
    assert report.settings.replay == 0
    assert report.settings.learning_rate > 1e-3


def test_from_an_own_model_the_general_one_is_the_measure(trained, tmp_path):
    """Round after round of forgetting a little would add up, so the shipped model is what is compared with."""
    report, _, _ = trained
    second = finetune(cells(), tmp_path, start=report.path, params=QUICK)
    assert second.start == "compact.my-cells"
    assert second.frozen_start.mean_ap >= cellbrook_frozen_ap() - 1e-9
    with pytest.raises(UsageError, match="would replace it"):
        finetune(cells(), report.path, start=report.path, params=QUICK, overwrite=True)


def cellbrook_frozen_ap():
    from cellbrook.networks import load
    from cellbrook.networks.store import resolve_model
    from cellbrook.training.scores import Judge

    shipped = resolve_model("compact")
    return Judge(shipped.card, "cpu", 1).score(load(shipped), *generalist.frozen_examples()).mean_ap


def test_train_is_part_of_the_surface(tmp_path):
    with pytest.raises(UsageError, match="unknown parameter 'stepz': did you mean steps"):
        cellbrook.train(tmp_path, tmp_path / "out", stepz=3)
    with pytest.raises(UsageError, match="steps must be a whole number, got '3'"):
        cellbrook.train(tmp_path, tmp_path / "out", steps="3")
    with pytest.raises(UsageError, match="no label images"):
        cellbrook.train(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="steps must be at least 1"):
        cellbrook.train(tmp_path, tmp_path / "out", steps=0)


def official_checkpoint(family, folder):
    """Write random weights of a Cellpose network as its authors publish them."""
    from cellbrook.networks.cp3.model import Cp3Net
    from cellbrook.networks.cpsam.model import CpsamNet

    torch.manual_seed(1)
    network = (
        Cp3Net(2) if family == "cp3" else CpsamNet(grid=8, depth=2, dim=32, head_dim=16, mlp=64, neck=16)
    )
    torch.save(network.state_dict(), folder / family)
    return folder / family


@pytest.mark.parametrize(("family", "layers"), [("cp3", "last"), ("cpsam", "lora")])
def test_checkpoints_of_cellpose_are_taught_too(family, layers, tmp_path):
    from cellbrook.networks import load
    from cellbrook.training.learn import start_from

    start = official_checkpoint(family, tmp_path)
    params = replace(QUICK, train=layers, crop=64)
    report = finetune(cells(2), tmp_path / "out", start=start, params=params)
    assert report.settings.trained < report.settings.weights
    trained = load(report.path)
    before = start_from(str(start), 0).network
    assert list(trained.state_dict()) == list(before.state_dict())
    changed = {n for n, v in trained.state_dict().items() if not torch.equal(v, before.state_dict()[n])}
    assert changed
    if family == "cp3":  # it cannot tell sizes, so it is told those of the images
        assert 10 < float(trained.diam_labels) < 30
        assert trained.spec.default_diameter_px == pytest.approx(float(trained.diam_labels))
        assert not any(n.startswith("downsample.") for n in changed)
    found = cellbrook.segment(np.zeros((64, 64), np.uint8), model=report.path, threads=1)
    assert found.labels.shape == (64, 64)
