"""COCO: run lengths against a decoder written from the format's description."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError
from cellbrook.export.coco import compressed_counts, read_coco, write_coco


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("coco") / "x_coco.json"


def decode(segmentation):
    """Return the mask of a compressed run-length segmentation."""
    counts, text = [], iter(segmentation["counts"])
    for character in text:
        value, shift, more = 0, 0, True
        while more:
            code = ord(character) - 48
            value |= (code & 31) << shift
            shift += 5
            more = bool(code & 32)
            if more:
                character = next(text)
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    height, width = segmentation["size"]
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    assert flat.size == height * width
    return flat.reshape(width, height).T.astype(bool)


@settings(max_examples=150, deadline=None)
@given(
    npst.arrays(
        np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 1, 5])
    )
)
def test_round_trip(path, labels):
    write_coco(path, labels)
    document = json.loads(path.read_text())
    found = np.zeros_like(labels)
    for annotation in document["annotations"]:
        mask = decode(annotation["segmentation"])
        found[mask] = annotation["label"]
        x, y, w, h = annotation["bbox"]
        assert mask[y : y + h, x : x + w].sum() == annotation["area"] == mask.sum()
    assert_array_equal(found, labels)
    read, classes = read_coco(document, labels.shape, "x")
    assert_array_equal(read, labels)
    assert classes == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
def test_long_runs(lengths):
    (text,) = compressed_counts([np.array(lengths)])
    restored, values, value, shift = [], [], 0, 0
    for code in (ord(c) - 48 for c in text):
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            values.append(value - (1 << shift if code & 16 else 0))
            value = shift = 0
    for k, v in enumerate(values):
        restored.append(v + restored[k - 2] if k > 2 else v)
    assert restored == lengths


def test_a_known_text():
    # of the 3 x 3 image with its middle pixel set: runs 4 1 4
    assert compressed_counts([np.array([4, 1, 4])]) == ["414"]


def test_images_categories_and_scores(path):
    labels = np.zeros((2, 4, 4), int)
    labels[0, 0, 0], labels[1, 1, 1] = 1, 2
    objects = ObjectTable(
        {"label": np.array([1, 2]), "class": np.array(["b", "a"]), "score": np.array([0.25, np.nan])}
    )
    write_coco(path, labels, objects, file_name="stack.tif")
    document = json.loads(path.read_text())
    assert [(i["id"], i["file_name"], i["plane"]) for i in document["images"]] == [
        (1, "stack.tif", [0]),
        (2, "stack.tif", [1]),
    ]
    assert [c["name"] for c in document["categories"]] == ["a", "b"]
    first, second = document["annotations"]
    assert (first["image_id"], first["category_id"], first["score"], first["iscrowd"]) == (1, 2, 0.25, 0)
    assert (second["image_id"], second["category_id"]) == (2, 1)
    assert "score" not in second


def test_a_class_has_one_id_in_all_files_and_no_class_has_its_own(path):
    labels = np.array([[1, 0, 2, 0, 3]])
    found = {}
    for names in (["dead", "", "odd"], ["live", "live", "dead"], ["", "", ""]):
        table = ObjectTable({"label": np.array([1, 2, 3]), "class": np.array(names)})
        write_coco(path, labels, table, classes=("live", "dead"))
        document = json.loads(path.read_text())
        called = {c["id"]: c["name"] for c in document["categories"]}
        assert list(called) == list(range(1, len(called) + 1))
        told = [called[a["category_id"]] for a in document["annotations"]]
        assert told == [name or "cell" for name in names]
        found |= {name: [k for k, n in called.items() if n == name] for name in ("live", "dead")}
        assert found == {"live": [1], "dead": [2]}


def test_objects_without_a_class_are_not_of_a_class_called_cell(path):
    table = ObjectTable({"label": np.array([1, 2]), "class": np.array(["cell", ""])})
    write_coco(path, np.array([[1, 0, 2]]), table)
    document = json.loads(path.read_text())
    assert [c["name"] for c in document["categories"]] == ["cell", "no class"]
    assert [a["category_id"] for a in document["annotations"]] == [1, 2]


def test_stacks_and_classes_are_read(path):
    labels = np.zeros((2, 8, 9), int)
    labels[0, 1:4, 1:4], labels[1, 2:7, 3:9], labels[1, 0, 0] = 3, 7, 9
    objects = ObjectTable({"label": np.array([3, 7, 9]), "class": np.array(["round", "long", ""])})
    write_coco(path, labels, objects, file_name="stack.tif")
    found, classes = read_coco(json.loads(path.read_text()), labels.shape, "stack")
    assert_array_equal(found, labels)
    assert classes == {3: "round", 7: "long"}


def others():
    """What other programs write: polygons, plain run lengths, several images, crowds."""
    square = [[2, 1, 6, 1, 6, 4, 2, 4], [8, 1, 9, 1, 9, 2, 8, 2]]
    return {
        "images": [
            {"id": 10, "file_name": "plates/a.png", "width": 12, "height": 6},
            {"id": 11, "file_name": "plates/b.png", "width": 12, "height": 6},
        ],
        "categories": [{"id": 1, "name": "dividing"}, {"id": 2, "name": "resting"}],
        "annotations": [
            {"id": 5, "image_id": 10, "category_id": 2, "segmentation": square},
            {"id": 6, "image_id": 11, "category_id": 1, "segmentation": square},
            {
                "id": 7,
                "image_id": 10,
                "category_id": 1,
                "segmentation": {"size": [6, 12], "counts": [61, 3, 8]},
            },
            {"id": 8, "image_id": 10, "category_id": 1, "iscrowd": 1, "segmentation": square},
            {"id": 9, "image_id": 10, "category_id": 1, "segmentation": []},
        ],
    }


def test_files_of_other_programs_are_read():
    expected = np.zeros((6, 12), int)
    expected[1:4, 2:6] = expected[1, 8] = 1
    expected[1:4, 10] = 2
    labels, classes = read_coco(others(), (6, 12), "a")
    assert_array_equal(labels, expected)
    assert classes == {1: "resting", 2: "dividing"}


@pytest.mark.parametrize(
    ("change", "shape", "name", "says"),
    [
        ({}, (6, 12), "c", r"no image 'c'.*plates/a\.png, plates/b\.png"),
        ({}, (6, 13), "a", "6 x 12 px, a has 6 x 13"),
        ({"annotations": [{"id": 1}]}, (6, 12), "a", "damaged COCO annotations: KeyError"),
        ({"annotations": None}, (6, 12), "a", "damaged COCO"),
        ({"images": []}, (6, 12), "a", "name no image"),
        (
            {"images": [{"id": 10, "file_name": "a.png", "width": 12, "height": 6, "plane": [2]}]},
            (2, 6, 12),
            "a",
            r"of plane \(2,\), outside a stack of \(2,\)",
        ),
        (
            {
                "annotations": [
                    {
                        "image_id": 10,
                        "category_id": 1,
                        "label": 2**40,
                        "segmentation": {"size": [6, 12], "counts": [71, 1]},
                    }
                ]
            },
            (6, 12),
            "a",
            "damaged COCO annotations: OverflowError",
        ),
    ],
)
def test_misfits_are_told_in_a_line(change, shape, name, says):
    with pytest.raises(ImageError, match=says):
        read_coco({**others(), **change}, shape, name)


@pytest.mark.parametrize("counts", ["", "~~~", "00", [1, 2], [-5, 77], [10**9], [10**30]])
def test_run_lengths_that_do_not_fit_are_refused(counts):
    document = others()
    document["annotations"][2]["segmentation"]["counts"] = counts
    with pytest.raises(ImageError, match="damaged COCO"):
        read_coco(document, (6, 12), "a")
