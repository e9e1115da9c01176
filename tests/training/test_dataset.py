"""A user's labelled images: found, checked, split."""

import os
import sys

import numpy as np
import pytest
import tifffile

from cellbrook.errors import UsageError
from cellbrook.io import write_labels
from cellbrook.normalize import normalize, percentile_ranges
from cellbrook.testing.samples import sample_image
from cellbrook.training.checks import check_pair, misfit, pieces_of
from cellbrook.training.dataset import from_arrays, load_folder
from cellbrook.training.split import _known, alike, split
from cellbrook.training.synthetic import generate


def nuclei(seed, size=128):
    sample = generate("fluo_nuclei", seed, size, 20)
    return sample.image[0].astype(np.uint16), sample.labels.astype(np.uint32)


def write_pair(folder, name, image, labels, suffixes=("_img.npy", "_masks.npy")):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}{suffixes[0]}", image)
    np.save(folder / f"{name}{suffixes[1]}", labels)


def kinds(issues):
    return {i.kind for i in issues}


def test_three_ways_to_lie_beside_an_image(tmp_path):
    image, labels = nuclei(1)
    write_pair(tmp_path, "a", image, labels)
    np.save(tmp_path / "b.npy", nuclei(2)[0])
    np.save(tmp_path / "b_seg.npy", {"masks": nuclei(2)[1].astype(np.uint16)}, allow_pickle=True)
    (tmp_path / "ö").mkdir()
    np.save(tmp_path / "ö" / "c.npy", nuclei(3)[0])
    write_labels(tmp_path / "ö" / "c_labels.tif", nuclei(3)[1])
    dataset = load_folder(tmp_path)
    assert [e.name for e in dataset.examples] == ["a", "b", "ö/c"]
    for example, seed in zip(dataset.examples, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(example.labels, nuclei(seed)[1])
    assert not dataset.fatal


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_names_of_files_may_be_no_text(tmp_path):
    write_pair(tmp_path, os.fsdecode(b"caf\xe9"), *nuclei(1))
    dataset = load_folder(tmp_path)
    assert [e.name for e in dataset.examples] == [os.fsdecode(b"caf\xe9")]
    assert len(dataset.sha256) == 64


def test_what_has_no_partner_is_said(tmp_path):
    write_pair(tmp_path, "a", *nuclei(1))
    np.save(tmp_path / "lonely_img.npy", nuclei(2)[0])
    np.save(tmp_path / "orphan_masks.npy", nuclei(2)[1])
    report = "\n".join(load_folder(tmp_path).report())
    assert "orphan_masks.npy: has labels but no image" in report
    assert "lonely_img.npy; left out" in report


def test_gaps_in_numbers_are_one_line_and_no_warning(tmp_path):
    for seed in (1, 2):
        image, labels = nuclei(seed)
        write_pair(tmp_path, f"{seed}", image, labels * 3)
    report = load_folder(tmp_path).report()
    assert [line for line in report if "gaps" in line] == [
        "the numbers of objects have gaps in 2 images; that does no harm"
    ]
    assert not [line for line in report if line.startswith("warning")]


def test_sizes_that_differ_are_fatal_and_an_exchange_of_sides_is_recognised(tmp_path):
    image, labels = nuclei(1)
    write_pair(tmp_path, "a", image[:, :100], labels[:, :100].T)
    dataset = load_folder(tmp_path)
    with pytest.raises(UsageError, match=r"128 x 100 pixels and its labels 100 x 128.*transposed"):
        dataset.require_usable()


def test_an_image_without_pixels_is_fatal():
    image, labels = nuclei(1)
    dataset = from_arrays([image, image[:0]], [labels, labels[:0]])
    assert kinds(dataset.fatal) == {"no pixels"}


def test_an_unreadable_file_is_named_and_fatal(tmp_path):
    write_pair(tmp_path, "a", *nuclei(1))
    (tmp_path / "a_masks.npy").write_bytes(b"\x93NUMPY broken")
    assert kinds(load_folder(tmp_path).fatal) == {"unreadable"}


def test_nothing_labelled_at_all_is_refused():
    image, labels = nuclei(1)
    dataset = from_arrays([image], [labels * 0])
    assert kinds(dataset.issues) == {"empty"}
    with pytest.raises(UsageError, match="no object is labelled"):
        dataset.require_usable()


def test_a_picture_of_the_foreground_is_no_labels():
    image, labels = nuclei(7, 256)
    (issue,) = (
        i for i in check_pair("a", image[None].astype(np.float32), (labels > 0) * np.uint32(255)) if i.fatal
    )
    assert "the one label 255" in issue.text


def test_a_cell_with_stray_pixels_is_no_picture_of_the_foreground():
    labels = np.zeros((64, 64), np.uint32)
    labels[:20, :20] = labels[30:32, :2] = labels[30:32, 9:11] = labels[40:42, 5:7] = 1
    issues = check_pair("a", np.zeros((1, 64, 64), np.float32), labels)
    assert [(i.kind, i.fatal) for i in issues] == [("pieces", False)]


def test_a_branched_cell_of_a_stack_is_no_picture_of_the_foreground(tmp_path):
    image, _ = nuclei(1, 64)
    labels = np.zeros((2, 64, 64), np.uint32)
    labels[0, 5:20, 5:60], labels[1, 5:60:10, 5:60] = 1, 1
    for other, fatal in ((2, set()), (1, {"one object"})):
        labels[0, 30:60, 5:60] = other
        np.save(tmp_path / "a_masks.npy", labels)
        tifffile.imwrite(
            tmp_path / "a_img.tif", np.stack([image, image]), imagej=True, metadata={"axes": "ZYX"}
        )
        assert kinds(load_folder(tmp_path).fatal) == fatal


def test_pieces_fragments_and_gaps_are_counted():
    labels = np.zeros((64, 64), np.uint32)
    labels[5:20, 5:20] = 1
    labels[30:45, 5:20] = 2
    labels[30:45, 30:45] = 2
    labels[50, 50] = 9
    found = {i.kind: i.text for i in check_pair("a", np.zeros((1, 64, 64), np.float32), labels)}
    assert found.keys() == {"pieces", "fragments", "gaps"}
    assert found["pieces"].startswith("object 2 is")
    assert found["fragments"].startswith("object 9 is")
    assert found["gaps"].startswith("6 numbers")


def test_only_what_segmenting_discards_is_said_to_be_lost():
    labels = np.zeros((128, 128), np.uint32)
    labels[:60, :60], labels[70:, 70:], labels[70:75, :6], labels[:3, 70:73] = 1, 2, 3, 4
    for last, words in ((4, "2 objects (3, 4) are smaller"), (3, "object 3 is smaller")):
        (issue,) = check_pair("a", np.zeros((1, 128, 128), np.float32), np.where(labels <= last, labels, 0))
        assert issue.text.startswith(words)
        assert issue.text.endswith("Segmenting discards those below 15 px" if last == 4 else "drawing?")


def test_pieces_that_touch_at_a_corner_are_one():
    labels = np.zeros((6, 6), np.uint32)
    labels[0, 0] = labels[1, 1] = labels[2, 0] = 3
    labels[4:, 4:] = labels[0, 5] = 1
    owner, area = pieces_of(labels)
    assert (owner.tolist(), area.tolist()) == ([3, 1, 1], [3, 1, 4])


def test_pieces_agree_with_scikit_image():
    from skimage.measure import label

    labels = np.random.default_rng(0).integers(0, 4, (40, 37)).astype(np.uint32)
    owner, area = pieces_of(labels)
    for n in (1, 2, 3):
        expected = np.bincount(label(labels == n, connectivity=2).ravel())[1:]
        assert sorted(area[owner == n]) == sorted(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda labels: labels, None),
        (lambda labels: np.roll(labels, (12, -17), (0, 1)), "when moved by -12 rows and +17 columns"),
        (lambda labels: np.ascontiguousarray(labels[::-1]), "when mirrored upside down"),
        (lambda labels: np.ascontiguousarray(labels.T), "when rows and columns are exchanged"),
    ],
)
def test_labels_that_do_not_lie_on_their_image(change, expected):
    image, labels = nuclei(7, 256)
    normal = image[None].astype(np.float32) / image.max()
    assert misfit(normal, change(labels)) == expected


def test_outlines_of_cells_need_not_fit_their_nuclei():
    rng = np.random.default_rng(0)
    labels, cells, inner = np.zeros((256, 256), np.uint32), np.zeros((256, 256)), np.zeros((256, 256))
    for n, (y, x) in enumerate(np.ndindex(4, 4), 1):
        (y0, x0), (h, w) = (8 + 60 * y, 8 + 60 * x), rng.integers(34, 50, 2)
        labels[y0 : y0 + h, x0 : x0 + w] = n
        cells[y0 : y0 + h, x0 : x0 + w] = 0.15
        inner[y0 + 10 : y0 + h - 4, x0 + 10 : x0 + w - 4] = 1  # brighter, and off the centre
    image = np.stack([cells, inner]).astype(np.float32)
    assert misfit(image, labels) is None
    assert misfit(image, np.roll(labels, 20, 1)) == "when moved by +0 rows and -20 columns"


def test_copies_are_used_once_and_contradictions_are_said():
    image, labels = nuclei(1)
    other = np.where(labels == 1, 0, labels)
    dataset = from_arrays([image, image, image], [labels, labels, other], ["a", "copy", "other"])
    assert [e.name for e in dataset.examples] == ["a", "other"]
    assert [i.text for i in dataset.issues if i.kind == "duplicate"] == [
        "is a copy of a; left out",
        "has the pixels of a but other labels: which are right?",
    ]


def test_a_stack_gives_its_labelled_planes(tmp_path):
    import tifffile

    planes = [nuclei(s) for s in (1, 2, 3)]
    labels = np.stack([planes[0][1], planes[1][1] * 0, planes[2][1]])
    stack = np.stack([p[0] for p in planes])
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    write_labels(tmp_path / "s_labels.tif", labels, axes="ZYX")
    dataset = load_folder(tmp_path)
    assert [e.name for e in dataset.examples] == ["s_z0", "s_z2"]
    np.testing.assert_array_equal(dataset.examples[1].pixels[0], stack[2])


def two_channels(folder):
    """Write a labelled image of two channels; give its pixels."""
    import tifffile

    image, labels = nuclei(1)
    both = np.stack([image, image[::-1]])
    tifffile.imwrite(folder / "c.tif", both, imagej=True, metadata={"axes": "CYX"})
    write_labels(folder / "c_labels.tif", labels)
    return both


def test_channels_are_chosen_as_in_segment(tmp_path):
    both = two_channels(tmp_path)
    (example,) = load_folder(tmp_path, channels="1").examples
    np.testing.assert_array_equal(example.pixels, both[1:])


def test_channels_come_in_the_order_of_their_roles(tmp_path):
    both = two_channels(tmp_path)
    (example,) = load_folder(tmp_path, channels="nucleus=0,cell=1").examples
    part = example.part(slice(0, 64), slice(None), "")
    wanted = ("cell", "nucleus")
    np.testing.assert_array_equal(example.by_role(wanted).pixels, both[::-1])
    np.testing.assert_array_equal(part.by_role(wanted).pixels, both[::-1, :64])
    np.testing.assert_array_equal(part.by_role(wanted).whole.pixels, both[::-1])
    assert example.by_role(()) is example, "to this network the order means nothing"
    with pytest.raises(UsageError, match="knows the channel roles cell, got nucleus"):
        example.by_role(("cell",))


def test_planes_are_normalised_as_their_stack_is(tmp_path):
    import tifffile

    rng = np.random.default_rng(0)
    stack = rng.integers(0, 250, (3, 64, 64, 3), dtype=np.uint8)
    stack[1] = rng.integers(0, 20, (64, 64, 1))  # an empty plane, gray
    labels = np.zeros((3, 64, 64), np.uint16)
    labels[:2, 5:20, 5:20] = 1
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="rgb", metadata={"axes": "ZYXS"}, ome=True)
    write_labels(tmp_path / "s_labels.tif", labels, axes="ZYX")
    examples = load_folder(tmp_path).examples
    assert [e.name for e in examples] == ["s_z0", "s_z1"]
    views = {3: np.moveaxis(stack, -1, 0), 2: stack.mean(-1, dtype=np.float32)[None]}
    for channels, view in views.items():
        ranges = percentile_ranges(view.reshape(len(view), -1, 64))
        for z, example in enumerate(examples):
            found = example.part(slice(0, 32), slice(None), "").normalised(channels)
            np.testing.assert_array_equal(found, normalize(view[:, z], ranges=ranges)[:, :32])


def test_the_hash_is_of_the_content():
    one, two = (from_arrays([nuclei(s)[0]], [nuclei(s)[1]]) for s in (1, 2))
    again = from_arrays([nuclei(1)[0]], [nuclei(1)[1]])
    assert one.sha256 == again.sha256 != two.sha256


def test_the_split_is_by_image_and_knows_no_names():
    pairs = [nuclei(s) for s in range(6)]
    images, labels = zip(*pairs, strict=True)
    first = split(from_arrays(images, labels, list("abcdef")).examples, 0.3)
    second = split(from_arrays(images[::-1], labels[::-1], list("zyxwvu")).examples, 0.3)
    assert len(first.validation) == 2
    assert len(first.train) == 4
    assert {e.sha256 for e in first.validation} == {e.sha256 for e in second.validation}
    assert not {e.sha256 for e in first.validation} & {e.sha256 for e in first.train}


def test_frames_of_a_film_stay_together():
    rng = np.random.default_rng(0)
    frames = []
    for seed in (1, 2, 3):
        image, labels = nuclei(seed)
        for step in range(3):  # the field drifts a little
            moved = np.roll(image, step, 0) + rng.integers(0, 3, image.shape).astype(np.uint16)
            frames.append((f"{seed}-{step}", moved, np.roll(labels, step, 0)))
    names, images, labels = zip(*frames, strict=True)
    dataset = from_arrays(images, labels, names)
    groups = [{dataset.examples[i].name[0] for i in g} for g in alike(dataset.examples)]
    assert sorted(map(sorted, groups)) == [["1"], ["2"], ["3"]]
    parts = split(dataset.examples, 0.2)
    assert not {e.name[0] for e in parts.train} & {e.name[0] for e in parts.validation}
    assert "look alike stay together" in parts.how


@pytest.mark.parametrize("value", [0, 255, np.nan])
def test_a_border_without_data_makes_no_images_alike(value):
    y, x = np.mgrid[:128, :128] - 64
    well, edge = np.hypot(y, x) < 62, (y > -56) & (x < 50)
    fields = [nuclei(s)[0] for s in range(4)]
    plain = alike(from_arrays(fields, [nuclei(s)[1] for s in range(4)]).examples)
    assert len(plain) == 4
    for shown in (well, edge):
        bordered = [np.where(shown, f, value).astype(np.float32) for f in (*fields, np.roll(fields[0], 1, 0))]
        found = alike(from_arrays(bordered, [nuclei(0)[1]] * 5).examples)
        assert sorted(map(sorted, found)) == [[0, 4], [1], [2], [3]]


def test_a_black_background_between_cells_says_where_they_lie():
    y, x = np.mgrid[:128, :128]
    x = x + 8 * (y // 16 % 2)  # a wall of bricks
    assert _known(np.where((y % 16 < 3) | (x % 16 < 3), 0, 100 + y)[None]).all()
    assert not _known(np.where(y < 3, 0, 100 + y)[None])[:3].any()


@pytest.mark.parametrize("factor", [1e12, 1e39, 1e300])
def test_frames_of_any_brightness_stay_together(factor):
    image, labels = nuclei(1)
    frames = [(image + np.float64(step)) * factor for step in range(3)]
    assert len(alike(from_arrays(frames, [labels] * 3).examples)) == 1


def test_a_single_image_is_cut_so_that_something_is_held_out():
    image, labels = nuclei(5, 256)
    (example,) = from_arrays([image], [labels]).examples
    parts = split([example], 0.2)
    (train,), (held_out,) = parts.train, parts.validation
    assert held_out.n_objects >= 0.15 * example.n_objects
    rebuilt = np.concatenate([train.pixels, held_out.pixels], axis=2)
    np.testing.assert_array_equal(rebuilt, example.pixels)


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom", "corner"])
def test_objects_in_one_part_of_an_image_are_shared_out(side):
    image, labels = nuclei(5, 512)
    y, x = np.mgrid[:512, :512] / 512
    there = {
        "left": x < 0.3,
        "right": x > 0.9,
        "top": y < 0.3,
        "bottom": y > 0.9,
        "corner": (x < 0.3) & (y < 0.3),
    }
    inside = np.unique(labels[~there[side]])  # whole objects only
    parts = split(from_arrays([image], [np.where(np.isin(labels, inside), 0, labels)]).examples, 0.2)
    assert sum(e.n_objects for e in parts.train) > sum(e.n_objects for e in parts.validation) > 0


def test_one_object_cannot_be_held_out():
    image, labels = nuclei(5, 512)
    labels[:] = 0
    labels[20:40, 20:40] = 1
    with pytest.raises(UsageError, match="label some more"):
        split(from_arrays([image], [labels]).examples, 0.2)


def test_a_film_beside_one_image_is_learnt_from():
    image, labels = nuclei(1)
    frames = [(image + np.uint16(i), labels) for i in range(6)]
    images, labels = zip(*frames, nuclei(2), strict=True)
    for seed in range(4):
        parts = split(from_arrays(images, labels).examples, 0.2, seed)
        assert [len(parts.train), len(parts.validation)] == [6, 1]


def test_very_large_label_numbers_become_small_ones():
    image, labels = nuclei(1)
    large = np.where(labels > 0, labels.astype(np.int64) + 4_000_000_000, 0)
    given = {int(large.max()): "dead"}
    (example,) = from_arrays([image], [large], classes=[given]).examples
    np.testing.assert_array_equal(example.labels > 0, labels > 0)
    assert example.n_objects == len(np.unique(labels)) - 1
    assert example.classes == {example.n_objects: "dead"}


def test_few_large_images_are_each_cut_so_that_every_kind_is_learnt_and_judged():
    pairs = [nuclei(s, 384) for s in range(3)]
    empty = sample_image(size=384).astype(np.uint16)
    images, labels = zip(*pairs, (empty, pairs[0][1] * 0), strict=True)
    dataset = from_arrays(images, labels, list("abcd"))
    parts = split(dataset.examples, 0.2)
    assert [e.name[0] for e in parts.train] == list("abcd")
    assert [e.name[0] for e in parts.validation] == list("abc"), "of an empty image there is nothing to find"
    for learnt, kept, image in zip(parts.train, parts.validation, images, strict=False):
        assert kept.n_objects
        np.testing.assert_array_equal(np.concatenate([learnt.pixels, kept.pixels], axis=2)[0], image)
    many = split(from_arrays(*zip(*[nuclei(s, 384) for s in range(9)], strict=True)).examples, 0.2)
    assert len(many.train) + len(many.validation) == 9
    large = split([e for e in dataset.examples if e.n_objects], 0.2)
    assert "few" in large.how


def test_of_few_images_the_large_ones_are_cut_and_the_small_ones_learnt_from():
    pairs = [nuclei(1, 384), nuclei(2, 96), nuclei(3, 384), nuclei(4, 100)]
    images, labels = zip(*pairs, strict=True)
    parts = split(from_arrays(images, labels, list("abcd")).examples, 0.2)
    assert sorted(e.name[0] for e in parts.train) == list("abcd")
    assert [e.name[0] for e in parts.validation] == list("ac")
    assert "2 of 4, large enough for it, are cut" in parts.how


def test_where_the_large_image_cannot_be_cut_an_image_is_held_out():
    image, labels = nuclei(5, 384)
    pairs = [(image, np.where(labels == 1, 1, 0)), *(nuclei(s, 100) for s in (2, 3, 4))]
    parts = split(from_arrays(*zip(*pairs, strict=True)).examples, 0.2)
    assert [len(parts.train), len(parts.validation)] == [3, 1]


def test_images_without_objects_are_not_what_is_validated_on():
    pairs = [nuclei(s) for s in range(3)]
    images = [p[0] for p in pairs] + [sample_image(size=128).astype(np.uint16)]
    labels = [p[1] for p in pairs] + [pairs[0][1] * 0]
    for seed in range(5):
        parts = split(from_arrays(images, labels).examples, 0.25, seed)
        assert all(e.n_objects for e in parts.validation)


def test_a_prediction_that_nobody_corrected_is_said(tmp_path):
    import cellbrook

    image, _ = nuclei(7, 256)
    np.save(tmp_path / "a.npy", image)
    cellbrook.segment(tmp_path / "a.npy", threads=1).save(tmp_path)
    assert "prediction" in kinds(load_folder(tmp_path).issues)
    labels = np.roll(nuclei(7, 256)[1], 1, 0)
    write_labels(tmp_path / "a_labels.tif", labels)
    assert "prediction" not in kinds(load_folder(tmp_path).issues)
