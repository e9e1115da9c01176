"""GeoJSON: exact round trip, and what QuPath expects of it."""

import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError
from cellbrook.export.geojson import read_geojson, write_geojson

LABELS = npst.arrays(
    np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.sampled_from([0, 1, 1, 2, 30])
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("geojson") / "x.geojson"


@settings(max_examples=80, deadline=None)
@given(LABELS)
def test_round_trip(path, labels):
    write_geojson(path, labels)
    assert_array_equal(read_geojson(path, labels.shape), labels)


@settings(max_examples=30, deadline=None)
@given(npst.arrays(np.uint16, st.tuples(*[st.integers(1, 3)] * 4), elements=st.integers(0, 9)))
def test_round_trip_of_stacks(path, labels):
    write_geojson(path, labels)
    assert_array_equal(read_geojson(path, labels.shape), labels)
    write_geojson(path, labels[0], axes="TYX")
    assert_array_equal(read_geojson(path, labels[0].shape, axes="TYX"), labels[0])


def test_features_are_what_qupath_reads(path):
    labels = np.zeros((6, 9), int)
    labels[1:5, 2:6] = 3
    labels[2, 3] = 0
    labels[0, 8], labels[5, 0] = 8, 8
    objects = ObjectTable(
        {
            "label": np.array([8, 3]),
            "area_px": np.array([2, 15]),
            "mean_0": np.array([1 / 3, np.nan]),
            "touches_border": np.array([True, False]),
            "class": np.array(["tumour", "stroma"]),
        }
    )
    write_geojson(path, labels, objects, name="slide")
    document = json.loads(path.read_text())
    first, second = document["features"]
    assert document["type"] == "FeatureCollection"
    assert first["geometry"]["type"] == "Polygon"
    outline, hole = first["geometry"]["coordinates"]
    assert outline[0] == outline[-1] == [6, 1]
    assert len(hole) == 5
    assert "plane" not in first["geometry"]
    assert first["properties"] == {
        "objectType": "detection",
        "name": "3",
        "label": 3,
        "classification": {"name": "stroma"},
        "measurements": {"area_px": 15, "touches_border": 0},
    }
    assert second["geometry"]["type"] == "MultiPolygon"
    assert second["properties"]["measurements"]["mean_0"] == pytest.approx(1 / 3, rel=1e-6)
    assert uuid.UUID(first["id"]) != uuid.UUID(second["id"])
    before = path.read_bytes()
    write_geojson(path, labels, objects, name="slide")
    assert path.read_bytes() == before
    write_geojson(path, labels, objects, name="other slide")
    assert json.loads(path.read_text())["features"][0]["id"] != first["id"]


def test_planes_are_named(path):
    labels = np.zeros((2, 3, 4, 4), int)
    labels[1, 2, 1, 1] = 1
    write_geojson(path, labels)
    (feature,) = json.loads(path.read_text())["features"]
    assert feature["geometry"]["plane"] == {"c": -1, "z": 2, "t": 1}


def test_features_of_others_are_numbered_in_their_order(path):
    square = {
        "type": "Polygon",
        "coordinates": [[[0.4, 0.4], [2.2, 0.4], [2.2, 1.9], [0.4, 1.9], [0.4, 0.4]]],
    }
    point = {"type": "Point", "coordinates": [1, 1]}
    group = {"type": "GeometryCollection", "geometries": [square]}
    features = [{"type": "Feature", "geometry": g, "properties": None} for g in (point, square, None, group)]
    expected = np.zeros((3, 4), int)
    expected[0:2, 0:2] = 2
    for document in (features, {"type": "FeatureCollection", "features": features}):
        path.write_text(json.dumps(document))
        assert_array_equal(read_geojson(path, (3, 4)), expected)
    path.write_text("\ufeff" + json.dumps(square), encoding="utf-8")
    assert_array_equal(read_geojson(path, (3, 4)), expected // 2)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"type": "Polygon"}', '{"type":"Polygon","coordinates":[[["a","b"]]]}', '"x"']
)
def test_what_is_no_geojson_is_said_in_one_line(path, text):
    path.write_text(text)
    with pytest.raises(ImageError, match="cannot read polygons") as caught:
        read_geojson(path, (3, 4))
    assert "\n" not in str(caught.value)


def test_planes_outside_the_stack_are_an_error(path):
    write_geojson(path, np.ones((3, 2, 2), int))
    with pytest.raises(ImageError, match="outside a stack"):
        read_geojson(path, (2, 2, 2))
