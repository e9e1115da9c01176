"""The steps joined, with an engine that is exact and free."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from scipy.ndimage import grey_opening

from cellbrook import pipeline
from cellbrook.core.params import SegmentParams
from cellbrook.core.plan import Diameter
from cellbrook.core.report import Report
from cellbrook.errors import Cancelled, EngineMemoryError, ImageError, ModelError, UsageError
from cellbrook.inference import typical_diameter
from cellbrook.io import open_image
from cellbrook.measure.classify import features_of, fit_classifier
from cellbrook.testing.fakes import BLOB_SPEC, BlobEngine


def blobs(shape=(96, 130), seed=0, count=12, radius=6):
    """Bright discs that do not touch, on dark ground."""
    rng = np.random.default_rng(seed)
    image, y, x = np.zeros(shape, np.uint16), *np.ogrid[: shape[0], : shape[1]]
    taken = np.zeros(shape, bool)
    for _ in range(count * 20):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        distance = (y - cy) ** 2 + (x - cx) ** 2
        if not taken[distance < (radius + 3) ** 2].any():
            image[distance < radius**2] = 1000
            taken |= distance < (radius + 3) ** 2
    return image


def model_of(spec, **paths):
    return SimpleNamespace(name="blobs", sha256="0" * 64, card=SimpleNamespace(spec=spec), paths=paths)


def run(image, engine=None, axes=None, spec=BLOB_SPEC, progress=None, keep_output=True, paths=(), **keywords):
    params = SegmentParams.from_keywords(**{"threads": 1, "flow_threshold": 0, "min_size": 0, **keywords})
    source = open_image(image, axes=axes)
    model = model_of(spec, **dict(paths))
    plan = pipeline.resolve(source, model, params)
    report = Report()
    data = pipeline.run(
        source,
        plan,
        model,
        engine or BlobEngine(spec),
        name="x",
        keep_output=keep_output,
        progress=progress,
        report=report,
    )
    return data, report


def test_a_diameter_that_cannot_be_shown_is_said():
    spec = replace(BLOB_SPEC, object_diameter_px=30.0)
    assert run(blobs(), spec=spec, diameter=10)[1].notes == []
    _, report = run(blobs(), spec=spec, diameter=8)
    assert report.notes == [
        "blobs can be shown objects of 10 to 480 px: the diameter 8 px was taken as 10 px"
    ]
    assert report.planes[0]["scales"] == [3.0]
    _, report = run(blobs(), spec=spec, diameter=2000)
    assert report.notes == [
        "blobs can be shown objects of 10 to 480 px: the diameter 2000 px was taken as 480 px"
    ]


def test_which_channel_is_what_is_said_where_it_matters_and_nobody_told():
    spec = replace(BLOB_SPEC, channels=2, channel_roles=("cell", "nucleus"))
    image = np.stack([blobs(), blobs(seed=1)])
    _, report = run(image, spec=spec, axes="CYX", diameter=12)
    assert report.notes == [
        "blobs took channel 0 for the cell, 1 for the nucleus; if that is wrong, say --channels cell=1,nucleus=0"
    ]
    for told in ({"channels": "nucleus=1,cell=0"}, {"channels": "0"}):
        assert run(image, spec=spec, axes="CYX", diameter=12, **told)[1].notes == []


def test_of_many_channels_those_are_read_that_are_wanted(monkeypatch):
    read = []
    image = np.stack([blobs(seed=k) for k in range(6)])
    source = open_image(image, axes="CYX")
    kind = type(source)
    plainly = kind.read

    def watched(self, selection=None, level=0):
        read.append(dict(selection or {}).get("C"))
        return plainly(self, selection, level)

    monkeypatch.setattr(kind, "read", watched)
    params = SegmentParams.from_keywords(channels="3,1", threads=1)
    plan = pipeline.resolve(source, model_of(replace(BLOB_SPEC, channels=2)), params)
    ((_, plane),) = pipeline.read_planes(source, plan)
    np.testing.assert_array_equal(plane, image[[3, 1]])
    assert read == [slice(1, 4)]


@pytest.mark.parametrize("stack", [False, True])
def test_a_channel_of_noise_is_not_shown_to_the_network_and_it_is_said(stack):
    rng = np.random.default_rng(0)
    stain = blobs()
    image = np.stack([rng.normal(300, 20, stain.shape).astype(np.uint16), stain])
    both = replace(BLOB_SPEC, channels=2, order_free=True)
    alone, _ = run(stain)
    beside, report = run(
        np.stack([image] * 2) if stack else image, spec=both, axes="TCYX" if stack else "CYX"
    )
    assert report.notes == ["channel 0 holds only noise: the model was not shown it"]
    assert len(beside.objects) == len(alone.objects) * (1 + stack)
    assert "mean_0" in beside.objects.columns, "it is measured all the same"
    _, report = run(image, spec=both, axes="CYX", normalize=False, diameter=12)
    assert report.notes == []


@pytest.mark.parametrize("axes", ["CYX", "TCYX"])
def test_every_channel_is_measured_whichever_the_network_is_shown(axes):
    cells = blobs()
    image = np.stack([np.full_like(cells, 7), cells, cells // 10])
    image = image if axes == "CYX" else np.stack([image, image + 1])
    data, _ = run(image, axes=axes, channels="1")
    assert data.image.shape[-3] == 1, "only what was segmented is kept"
    found = data.objects
    first = found["t"] == 0 if axes == "TCYX" else slice(None)
    for name, value in (("0", 7), ("1", 1000), ("2", 100)):
        assert np.unique(found[f"mean_{name}"][first]).tolist() == [value]
        assert np.unique(found[f"median_{name}"]).tolist() == [value] + [value + 1] * (axes == "TCYX")
    both, _ = run(image[..., :2, :, :], axes=axes, channels="1,0", spec=replace(BLOB_SPEC, channels=2))
    assert np.unique(both.objects["mean_0"][first]).tolist() == [7]


def test_each_blob_becomes_one_object():
    image = blobs()
    data, report = run(image)
    assert np.array_equal(data.labels > 0, image > 500)
    assert len(data.objects) == data.labels.max() > 5
    assert report.planes[0]["objects"] == len(data.objects)
    assert data.objects["mean_0"] == pytest.approx(1000), "intensities are measured on raw pixels"


def test_whole_and_tiled_give_the_same_labels():
    image = blobs((300, 420), count=60)
    whole, _ = run(image, tile_size=512)
    tiled, report = run(image, tile_size=128, tile_overlap=48)
    assert report.planes[0]["tiles"] > 4
    assert np.array_equal(whole.labels, tiled.labels)


def test_a_tile_smaller_than_the_overlap_of_the_model_has_one_of_its_own():
    image = blobs((40, 56), radius=2)
    small, report = run(image, tile_size=8)
    assert report.planes[0]["tiles"] == 5 * 7
    assert np.array_equal(small.labels > 0, image > 500)


def test_augmenting_changes_nothing_for_an_equivariant_network():
    plain, _ = run(blobs())
    turned, _ = run(blobs(), augment=True)
    assert np.array_equal(plain.labels > 0, turned.labels > 0)


def test_planes_of_a_stack_share_one_numbering():
    stack = np.stack([blobs(seed=1), np.zeros_like(blobs()), blobs(seed=2)])
    data, report = run(stack, axes="ZYX")
    assert data.axes == "ZYX"
    assert data.labels.shape == stack.shape
    assert not data.labels[1].any(), "an empty plane is not stretched into noise"
    assert not set(np.unique(data.labels[0])[1:]) & set(np.unique(data.labels[2])[1:])
    assert data.labels.max() == len(data.objects) == sum(p["objects"] for p in report.planes)
    for label, z in zip(data.objects["label"], data.objects["z"], strict=True):
        assert (data.labels[z] == label).any()


@pytest.mark.parametrize(("z", "expected"), [("max", 2), ("mean", 2), ("0", 0)])
def test_projections(z, expected):
    stack = np.zeros((2, 40, 40), np.uint8)
    stack[1, 5:12, 5:12] = stack[1, 20:27, 20:27] = 200
    data, _ = run(stack, axes="ZYX", z=z)
    assert data.axes == "YX"
    assert len(data.objects) == expected


def test_a_time_series_of_stacks_keeps_its_axes():
    image = np.stack([np.stack([blobs(seed=s) for s in (1, 2)])] * 2)
    data, _ = run(image, axes="TZYX")
    assert data.labels.shape == image.shape
    assert list(data.objects)[:4] == ["label", "t", "z", "area_px"]


class Sorting(BlobEngine):
    """Says of every pixel how much it belongs to each of two classes."""

    def run(self, x_BCYX):
        return {**super().run(x_BCYX), "class": np.concatenate([x_BCYX, 1 - x_BCYX], axis=1)}


@pytest.mark.parametrize("axes", ["TYX", "ZYX"])
def test_class_maps_of_a_stack_are_those_of_its_planes(axes):
    planes = [blobs(seed=s) for s in (1, 2)]
    data, _ = run(np.stack(planes), Sorting(), axes=axes)
    np.testing.assert_array_equal(data.output.classes, [run(p, Sorting())[0].output.classes for p in planes])


def test_diameter_is_estimated_and_rescales_what_is_too_large():
    data, report = run(blobs((400, 400), radius=45, count=4), spec=_sized(BLOB_SPEC))
    facts = report.planes[0]
    assert len(facts["scales"]) == 2
    assert facts["scales"][1] < 1
    assert facts["diameter_px"] == pytest.approx(90, rel=0.15)
    assert data.labels.max() >= 3


def test_a_comfortable_diameter_costs_one_pass():
    _, report = run(blobs(radius=8), spec=_sized(BLOB_SPEC))
    assert report.planes[0]["scales"] == [1.0]


class Estimates(BlobEngine):
    """Says of each look what it is told to, in pixels of the look."""

    def __init__(self, *diameters):
        super().__init__(_sized(BLOB_SPEC))
        self._told = iter(diameters)

    def run(self, x_BCYX):
        out = super().run(x_BCYX)
        out["log_diameter"][:] = np.log(next(self._told))
        return out


def _scales(*diameters):
    _, report = run(
        blobs((400, 400), radius=60, count=2), Estimates(*diameters), spec=_sized(BLOB_SPEC), tile_size=512
    )
    return report.planes[0]["scales"]


def test_looks_go_on_until_the_size_is_comfortable():
    assert _scales(80, 80, 20) == [1.0, 2**-2, 2**-4]


def test_looks_end_after_the_third():
    assert len(_scales(60, 60, 60, 60)) == 3


def test_looks_do_not_go_to_and_fro():
    assert _scales(160, 2.5, 160) == [1.0, 1 / 8]


class Nearsighted(BlobEngine):
    """Takes stripes closer than 5 of its pixels for one object, and is unsure of what it cannot see sharply."""

    def run(self, x_BCYX):
        rows = np.pad(x_BCYX, ((0, 0), (0, 0), (0, 0), (2, 2)), mode="edge")
        blurred = sum(rows[..., i : i + x_BCYX.shape[-1]] for i in range(5)) / 5
        out = super().run(blurred.astype(np.float32))
        out["cellprob"][:, 0][(out["cellprob"][:, 0] > 0) & (blurred[:, 0] < 0.95)] = 0.5
        return out


def _groups(width, gap, shape=(160, 400), across=70):
    """Groups of three upright bars, so wide and so far apart: ten of them."""
    image = np.zeros(shape, np.uint16)
    for y in range(20, shape[0] - 40, 50):
        for x in range(20, shape[1] - 60, across):
            for bar in range(3):
                image[y : y + 30, x + bar * (width + gap) :][:, :width] = 1000
    return image


@pytest.mark.parametrize(
    ("bars", "keywords", "scales", "found"),
    [
        ((4, 2), {}, [1.0, 2.0], 30),  # unsure of groups, sure of the bars that a closer look shows
        ((4, 2), {"diameter": 20}, [1.0], 10),  # what was said is not doubted
        ((10, 8), {}, [1.0], 30),  # looked at closer, there is nothing new
    ],
)
def test_what_is_doubtful_is_looked_at_closer(bars, keywords, scales, found):
    spec = replace(_sized(BLOB_SPEC), score=(0.0, 0.5, 0.0))
    data, report = run(_groups(*bars), Nearsighted(spec), spec=spec, tile_size=1024, **keywords)
    assert report.planes[0]["scales"] == scales
    assert len(data.objects) == found


def test_a_network_that_is_sure_of_groups_is_asked_at_a_small_window():
    spec = replace(_sized(BLOB_SPEC), score=(2.4, 0.5, 0.0))  # 0.93 for groups
    image = _groups(4, 2, (640, 800), across=35)
    data, report = run(image, Nearsighted(spec), spec=spec, tile_size=2048)
    assert report.planes[0]["scales"] == [1.0, 2.0]
    assert len(data.objects) == 3 * 12 * 21

    class Asked(Nearsighted):
        sizes: ClassVar = []

        def run(self, x_BCYX):
            self.sizes.append(x_BCYX.shape[2:])
            return super().run(x_BCYX)

    few = np.zeros_like(image)
    few[20:40, 20:40] = few[100:120, 300:320] = 1000
    run(few, Asked(spec), spec=spec, tile_size=2048)
    assert Asked.sizes == [few.shape, (256, 256)], "a window of 128 px, twice as close"


def _two_large_groups():
    """Two groups of 25 upright bars, larger than the window that is looked at where scores are high."""
    image = np.zeros((200, 200), np.uint16)
    for y in (20, 110):
        for x in range(20, 170, 6):
            image[y : y + 70, x : x + 4] = 1000
    return image


def test_groups_larger_than_the_window_are_looked_at_too():
    spec = replace(_sized(BLOB_SPEC), score=(2.4, 0.5, 0.0))
    data, report = run(_two_large_groups(), Nearsighted(spec), spec=spec, tile_size=1024)
    assert report.planes[0]["scales"] == [1.0, 2.0]
    assert len(data.objects) == 2 * 25


def test_a_piece_of_a_group_does_not_tell_how_sure_the_network_is_of_the_group():
    class SureOfAPart(Nearsighted):
        def run(self, x_BCYX):
            out = super().run(x_BCYX)
            if x_BCYX.shape[2:] == (200, 200):
                out["cellprob"][:, 0, 25:75, 25:75] = 1.9
            np.minimum(out["cellprob"], 1.9, out=out["cellprob"])
            return out

    # 0.91 for groups, 0.99 for bars and for that part
    spec = replace(_sized(BLOB_SPEC), score=(1.6, 1.5, 0.0))
    data, report = run(_two_large_groups(), SureOfAPart(spec), spec=spec, tile_size=1024)
    assert report.planes[0]["scales"] == [1.0, 2.0]
    assert len(data.objects) == 2 * 25


class OfSmallThings(Nearsighted):
    """Takes what is wider than 100 of its pixels for several things, and is unsure of them, too."""

    def run(self, x_BCYX):
        out = super().run(x_BCYX)
        wide = grey_opening(x_BCYX[:, 0], (1, 1, 100)) > 0.5
        out["cellprob"][:, 0][wide & (out["cellprob"][:, 0] > 0)] = 0.5
        out["cellprob"][:, 0, :, ::40][wide[..., ::40]] = -5
        return out


def test_grains_in_one_place_do_not_decide_for_large_cells():
    spec = replace(_sized(BLOB_SPEC), score=(0.0, 0.5, 0.0))
    grains = _groups(4, 2, (300, 300), across=25)
    image = np.zeros((800, 1200), np.uint16)
    image[:300, :300] = grains
    for y in range(0, 720, 160):
        for x in range(340, 1100, 160):
            image[y + 20 : y + 80, x : x + 60] = 1000
    alone, _ = run(grains, OfSmallThings(spec), spec=spec, tile_size=2048)
    beside, report = run(image, OfSmallThings(spec), spec=spec, tile_size=4096)
    assert len(alone.objects) == 3 * 9 * 5, "the grains alone are looked at closer"
    assert report.planes[0]["scales"] == [1.0]
    assert len(beside.objects) == 9 * 5 + 25


class Piecemeal(BlobEngine):
    """Takes what is wider than 50 of its pixels for several things, of which it is unsure."""

    def run(self, x_BCYX):
        out = super().run(x_BCYX)
        wide = grey_opening(x_BCYX[:, 0], (1, 1, 50)) > 0.5
        out["cellprob"][:, 0][wide & (out["cellprob"][:, 0] > 0)] = 0.5
        out["cellprob"][:, 0, :, ::20][wide[..., ::20]] = -5
        return out


def test_debris_does_not_decide_at_which_scale_cells_are_seen():
    """Its grains are more than the cells; at the scale that suits them, one would see pieces of cells."""
    spec = replace(_sized(BLOB_SPEC), score=(0.0, 0.5, 0.0))
    image = np.zeros((220, 300), np.uint16)
    for y in range(10, 60, 14):
        for x in range(10, 290, 14):
            image[y : y + 6, x : x + 6] = 1000
    grains, report = run(image, Piecemeal(spec), spec=spec, tile_size=512)
    assert report.planes[0]["scales"] == [1.0]
    assert len(grains.objects) == 4 * 20
    for x in range(10, 280, 70):
        image[70:130, x : x + 60] = image[140:200, x : x + 60] = 1000
    cells, report = run(image, Piecemeal(spec), spec=spec, tile_size=512)
    assert report.planes[0]["scales"] == [1.0, 2**-1.75]
    assert sum(cells.objects["area_px"] > 50**2) == 2 * 4
    assert report.planes[0]["diameter_px"] == pytest.approx(2 * 60 / np.pi**0.5, rel=0.1)
    _, report = run(image, Piecemeal(spec), spec=spec, tile_size=512, diameter=20)
    assert report.planes[0]["scales"] == [1.0], "what was said is not doubted"


def test_where_more_comes_to_light_it_is_looked_at_as_close_as_may_be(monkeypatch):
    monkeypatch.setattr("cellbrook.inference.MAX_ENLARGEMENT", 4.0)
    spec = replace(_sized(BLOB_SPEC), score=(0.0, 0.5, 0.0))
    image = np.concatenate([_groups(4, 2), _groups(4, 1)])
    data, report = run(image, Nearsighted(spec), spec=spec, tile_size=2048)
    assert report.planes[0]["scales"] == [1.0, 4.0]
    assert len(data.objects) == 60


def test_a_slightly_different_estimate_gives_the_same_scale():
    assert _scales(60.0, 20) == _scales(60.6, 20) == _scales(59.4, 20)


def _sized(spec):
    import dataclasses

    return dataclasses.replace(spec, object_diameter_px=20.0)


class Diverged(BlobEngine):
    """Gives nothing but NaN."""

    def run(self, x_BCYX):
        return {name: array * np.float32("nan") for name, array in super().run(x_BCYX).items()}


def test_a_network_that_gives_no_numbers_is_an_error():
    with pytest.raises(ModelError, match="gives NaN"):
        run(blobs(), Diverged())
    unfit = np.full((64, 64), np.nan, np.float32)
    data, _ = run(unfit, Diverged(), normalize=False)  # here it is the image that has none
    assert len(data.objects) == 0


def test_batches_shrink_when_the_device_is_full():
    engine = BlobEngine(largest_batch=2)
    data, report = run(blobs((300, 300), count=30), engine, tile_size=128, batch_size=8)
    assert len(data.objects) > 10
    assert any("out of memory" in n for n in report.notes)


@pytest.mark.parametrize(
    ("fixed", "device", "other"),
    [
        (False, "cuda:0", "a smaller --tile-size"),
        (True, "cuda:0", "--device cpu"),
        (True, "cpu", "a machine with more"),
    ],
)
def test_where_one_tile_is_too_much_no_smaller_batch_is_advised(fixed, device, other, monkeypatch):
    spec = replace(BLOB_SPEC, fixed_tile=fixed)
    monkeypatch.setattr(BlobEngine, "info", replace(BlobEngine().info, device=device))
    with pytest.raises(EngineMemoryError, match=f"for one tile of .* px: use {other}"):
        run(blobs(), BlobEngine(spec, largest_batch=0), spec=spec)


def test_missing_channels_are_zero_and_too_many_are_an_error_that_lists_them():
    import dataclasses

    three = dataclasses.replace(BLOB_SPEC, channels=3)
    data, _ = run(blobs(), BlobEngine(three), spec=three)
    assert len(data.objects) > 5
    with pytest.raises(UsageError, match=r"5 channels \(0, 1, 2, 3, 4\).*--channels 0,1,2"):
        run(np.zeros((5, 32, 32), np.uint8), axes="CYX", spec=three)


def test_gray_saved_as_rgb_is_one_channel():
    image = np.repeat((blobs() // 4).astype(np.uint8)[..., None], 3, axis=-1)
    data, _ = run(image, axes=None)
    assert len(data.objects) > 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("coloured", [0, 1, 2])
def test_frames_of_a_colour_film_are_seen_alike(channels, coloured):
    """Gray ones too, whether all frames are gray or some are."""
    film = np.stack([blobs(seed=s) // 4 for s in (1, 2)]).astype(np.uint8)
    film = np.repeat(film[..., None], 3, axis=-1)
    film[:coloured, ..., 1] //= 2
    spec = replace(BLOB_SPEC, channels=channels)
    data, report = run(film, BlobEngine(spec), "TYXS", spec)
    assert np.array_equal(data.labels > 0, film[..., 0] > 100)
    assert len(report.notes) == (coloured > 0 and channels == 1)


@pytest.mark.parametrize("dull", ["black", "gray"])
def test_one_dull_frame_does_not_take_the_classes_from_a_colour_film(dull, tmp_path):
    gray = np.repeat((blobs() // 4).astype(np.uint8)[..., None], 3, axis=-1)
    colour = gray // np.array([1, 2, 3], np.uint8)
    labels = run(colour)[0].labels
    label, names, features = features_of(labels, np.moveaxis(colour, -1, 0))
    classes = ["a" if number % 2 else "b" for number in label]
    fit_classifier(features, classes, names, 3).save(tmp_path / "classes.json")
    film = np.stack([colour, {"black": gray * 0, "gray": gray}[dull], colour])
    data, report = run(film, axes="TYXS", paths={"classes": tmp_path / "classes.json"})
    assert not [note for note in report.notes if "classes" in note]
    assert set(data.objects["class"]) == {"a", "b"}
    assert np.array_equal(np.unique(data.objects["t"]), {"black": [0, 2], "gray": [0, 1, 2]}[dull])


def test_a_stack_is_in_memory_once():
    stack = np.stack([blobs(seed=s % 4) for s in range(64)])
    run(stack[:1], axes="ZYX")  # what is loaded once
    tracemalloc.start()
    try:
        data, _ = run(stack, axes="ZYX")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = [data.labels, data.output.flows, data.output.cellprob, data.image]
    assert peak < 1.3 * sum(a.nbytes for a in kept)


def test_cancelling_stops_between_tiles():
    class Impatient:
        tiles = 0

        def start(self, task, total): ...

        def advance(self, count=1):
            self.tiles += count

        def check_cancelled(self):
            if self.tiles:
                raise Cancelled("stop")

    progress = Impatient()
    with pytest.raises(Cancelled):
        run(blobs((300, 300)), tile_size=128, progress=progress)
    assert progress.tiles == 1


def test_an_image_too_large_for_the_memory_is_refused_before_it_is_read(monkeypatch):
    class Huge:
        name, axes, shape, dtype = "huge.tif", "YX", (100_000, 90_000), np.dtype("u2")
        pixel_size_um, channel_names, is_rgb, notes = {}, ("0",), False, ()

        def read(self, selection=None, level=0):
            raise AssertionError("it must not be read")

    monkeypatch.setattr(pipeline, "free_memory", lambda: 8 * 2**30)
    model = model_of(BLOB_SPEC)
    plan = pipeline.resolve(Huge(), model, SegmentParams())
    with pytest.raises(ImageError, match=r"needs about 1\d\d GiB of memory and 8 GiB are free"):
        pipeline.run(Huge(), plan, model, BlobEngine(), name="x")


def test_an_image_without_pixels_is_an_error():
    with pytest.raises(ImageError, match="no pixels"):
        run(np.zeros((0, 10), np.uint8))


@pytest.mark.parametrize("z", ["5", "top"])
def test_a_plane_that_is_not_there(z):
    with pytest.raises(UsageError):
        run(np.zeros((3, 20, 20), np.uint8), axes="ZYX", z=z)


def test_projection_without_a_stack():
    with pytest.raises(UsageError, match="z-stack"):
        run(np.zeros((20, 20), np.uint8), z="max")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        (None, None),
        (0, None),
        ("0", None),
        (27, 27.0),
        ("27.5", 27.5),
        ("30px", 30.0),
        ("12um", 24.0),
        ("12 µm", 24.0),
    ],
)
def test_every_way_to_say_a_diameter(text, expected):
    assert Diameter.parse(text, 0.5).px == expected


@pytest.mark.parametrize("text", ["big", "-3", "nan", "12mm"])
def test_diameters_that_make_no_sense(text):
    with pytest.raises(UsageError, match="diameter"):
        Diameter.parse(text, 0.5)


def test_micrometres_need_a_pixel_size():
    with pytest.raises(UsageError, match="--pixel-size"):
        Diameter.parse("12um", None)


def test_a_diameter_in_micrometres_goes_by_the_mean_side_of_oblong_pixels():
    source = replace(open_image(np.zeros((30, 40), np.uint8)), pixel_size_um={"Y": 0.5, "X": 2.0})
    params = SegmentParams.from_keywords(diameter="12um")
    assert pipeline.resolve(source, model_of(BLOB_SPEC), params).diameter_px == 12


class Listening(BlobEngine):
    """Keeps what the last plane of its input held."""

    def __init__(self, spec):
        super().__init__(spec)
        self.heard = set()

    def run(self, x_BCYX):
        self.heard |= set(np.unique(x_BCYX[:, -1]).tolist())
        return super().run(x_BCYX)


TOLD_SPEC = replace(BLOB_SPEC, channels=2, targets=("cells", "nuclei"))


@pytest.mark.parametrize(
    ("channels", "wish", "target", "value"),
    [
        (1, "auto", "either", 0.0),
        (2, "auto", "cells", 1.0),
        (2, "nuclei", "nuclei", -1.0),
        (1, "cells", "cells", 1.0),
    ],
)
def test_the_network_is_told_what_to_look_for(channels, wish, target, value):
    engine = Listening(TOLD_SPEC)
    image = np.stack([blobs()] * channels)
    data, _ = run(image, engine, "CYX", TOLD_SPEC, target=wish)
    assert engine.heard == {value}
    assert len(data.objects) > 5
    plan = pipeline.resolve(
        open_image(image, axes="CYX"), model_of(TOLD_SPEC), SegmentParams.from_keywords(target=wish)
    )
    assert plan.target == target


def test_a_model_that_cannot_be_told_says_so():
    with pytest.raises(UsageError, match="leave out --target"):
        run(blobs(), target="nuclei")
    with pytest.raises(UsageError, match="'auto', 'cells', 'nuclei'"):
        run(blobs(), target="yeast")


def test_a_calibrated_model_gives_probabilities_as_scores():
    plain, _ = run(blobs())
    spec = replace(BLOB_SPEC, score=(-20.0, 1.0, 0.0))
    told, _ = run(blobs(), spec=spec, min_score=0)
    expected = 1 / (1 + np.exp(20.0 - told.objects["cellprob"]))
    assert told.objects["score"] == pytest.approx(expected)
    assert not np.allclose(plain.objects["score"], told.objects["score"])


def test_thresholds_left_to_the_model_are_settled_and_recorded():
    source, params = open_image(blobs()), SegmentParams.from_keywords()
    told = replace(BLOB_SPEC, score=(-1.0, 1.0, -4.0))
    for spec, keywords, expected in (
        (BLOB_SPEC, {}, (0.4, 0)),
        (told, {}, (0, 0.4)),
        (told, {"flow_threshold": 0.7, "min_score": 0.0}, (0.7, 0)),
        (BLOB_SPEC, {"flow_threshold": 0, "min_score": 0.2}, (0, 0.2)),
        (told, {"compat": "cellpose"}, (0.4, 0)),
    ):
        params = SegmentParams.from_keywords(**keywords)
        masks = pipeline.resolve(source, model_of(spec), params).params.mask_params
        assert (masks.flow_threshold, masks.min_score) == expected


def test_the_order_of_the_channels_cannot_matter():
    """BlobEngine looks at the first plane alone: it sees the fuller channel whichever the file has first."""
    spec = replace(BLOB_SPEC, channels=3, order_free=True)
    image = np.stack([blobs(), blobs(seed=1), blobs(seed=2)])
    image[1, :, 60:] = 0
    image[2, :, 30:] = 0
    results = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)):
        data, _ = run(image[list(order)], axes="CYX", spec=spec)
        results.append(data.labels)
        assert data.objects[f"mean_{order.index(0)}"] == pytest.approx(1000), (
            "measured under the file's names"
        )
    assert len(np.unique(results[0])) > 5
    for other in results[1:]:
        assert np.array_equal(results[0], other)
    # where the order has a meaning it stays
    fixed, _ = run(image[[1, 0, 2]], axes="CYX", spec=replace(spec, order_free=False))
    assert not np.array_equal(fixed.labels, results[0])


@pytest.mark.parametrize("shape", [(97, 2000), (2000, 97), (20, 512), (12, 800), (256, 256)])
def test_the_diameter_of_a_flat_image_is_that_of_what_lies_in_it(shape):
    """The map of sizes has a value for every 8 pixels; its last row and column may reach beyond the image."""
    wide = shape[1] > shape[0]
    rows, columns = (-(-n // 8) for n in shape)
    cellprob, sizes = np.full(shape, -9, np.float32), np.full((rows, columns), np.log(5), np.float32)
    half = (slice(None), slice(columns // 2, None)) if wide else (slice(rows // 2, None), slice(None))
    sizes[half] = np.log(40)
    cellprob[tuple(slice(side.start and 8 * side.start, None) for side in half)] = 9
    assert typical_diameter({"cellprob": cellprob[None], "log_diameter": sizes[None]}) == pytest.approx(
        40, rel=1e-5
    )
