"""Regions that a person drew and named: read from files, and counted in."""

import json

import numpy as np
import pytest
import tifffile

from cellbrook.errors import ImageError, UsageError
from cellbrook.export.polygons import trace
from cellbrook.export.regions import in_each, read_regions, region_files, regions_csv, with_regions
from cellbrook.export.roi_zip import write_roi_zip
from cellbrook.export.table import read_csv
from cellbrook.measure import measure

SHAPE = (60, 80)


def box(y0, x0, y1, x1, name=None, classed=None):
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    said = ({"name": name} if name else {}) | ({"classification": {"name": classed}} if classed else {})
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": said}


@pytest.fixture
def drawn(tmp_path):
    """Two parts of a tumour that overlap, one classified region, one without a word."""
    features = [
        box(0, 0, 30, 30, "tumour"), box(20, 20, 40, 40, "tumour"),
        box(0, 40, 30, 80, classed="stroma"), box(50, 0, 60, 10),
    ]  # fmt: skip
    path = tmp_path / "x_regions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return read_regions(path, SHAPE)


@pytest.fixture
def labels():
    found = np.zeros(SHAPE, np.uint32)
    found[22:28, 22:28] = 7  # where both parts of the tumour overlap
    found[2:6, 38:44] = 3  # two columns of six lie outside of the stroma
    found[2:6, 60:64] = 9
    found[28:34, 60:64] = 4  # a third lies in the stroma
    return found


def test_names_are_read_and_parts_of_one_name_are_one_region(drawn):
    assert drawn.names == ("tumour", "stroma", "4")
    assert (drawn.numbers == 1).sum() == 900 + 400 - 100, "no hole where parts overlap"
    assert (drawn.numbers[:30, 40:] == 2).all()


def test_objects_belong_where_half_of_them_lies(drawn, labels):
    table = with_regions(measure(labels), labels, drawn)
    assert table["label"].tolist() == [3, 4, 7, 9]
    assert table["region"].tolist() == ["stroma", "", "tumour", "stroma"]
    rows = in_each(table, labels, drawn, axes="YX", pixel_size_um=(0.5, 0.5))
    assert [(r["region"], r["objects"], r["area_px"]) for r in rows] == [
        ("tumour", 1, 1200), ("stroma", 2, 1200), ("4", 0, 100),
    ]  # fmt: skip
    assert rows[0]["area_um2"] == 300
    assert rows[1]["objects_per_mm2"] == pytest.approx(2 / 300e-6)
    assert rows[1]["covered"] == pytest.approx((16 + 16 + 8) / 1200)


def test_a_stack_is_counted_plane_by_plane_and_a_volume_whole(drawn, labels, tmp_path):
    stack = np.stack([labels, np.where(labels == 7, 0, labels)])
    planes = np.stack([stack[0], np.where(stack[1] > 0, stack[1] + 10, 0)])
    table = with_regions(measure(planes, axes="ZYX"), planes, drawn)
    rows = in_each(table, planes, drawn, axes="ZYX")
    assert [(r["region"], r["z"], r["objects"]) for r in rows if r["region"] != "4"] == [
        ("tumour", 0, 1), ("stroma", 0, 2), ("tumour", 1, 0), ("stroma", 1, 2),
    ]  # fmt: skip
    written = read_csv(regions_csv(tmp_path / "r.csv", rows))
    assert list(written) == ["region", "z", "objects", "area_px", "covered"]
    assert written["objects"].tolist() == [r["objects"] for r in rows]
    table = with_regions(measure(stack, axes="ZYX"), stack, drawn)
    rows = in_each(table, stack, drawn, axes="ZYX")
    assert [(r["region"], r["objects"], "z" in r, "covered" in r) for r in rows] == [
        ("tumour", 1, False, False), ("stroma", 2, False, False), ("4", 0, False, False),
    ]  # fmt: skip


def test_a_tracked_cell_may_go_from_one_region_to_another(drawn):
    film = np.zeros((2, *SHAPE), np.uint32)
    film[0, 5:10, 5:10] = film[1, 5:10, 50:55] = 2
    table = with_regions(measure(film, axes="TYX"), film, drawn)
    assert table["region"].tolist() == ["tumour", "stroma"]
    rows = in_each(table, film, drawn, axes="TYX")
    assert [(r["t"], r["region"], r["objects"]) for r in rows if r["region"] != "4"] == [
        (0, "tumour", 1), (0, "stroma", 0), (1, "tumour", 0), (1, "stroma", 1),
    ]  # fmt: skip


def test_rois_of_imagej_and_images_of_numbers_are_regions_too(drawn, tmp_path):
    write_roi_zip(tmp_path / "r.zip", drawn.numbers)
    read = read_regions(tmp_path / "r.zip", SHAPE)
    assert len(read.names) == 3
    assert np.array_equal(read.numbers > 0, drawn.numbers > 0)
    tifffile.imwrite(tmp_path / "r.tif", np.where(drawn.numbers == 2, 17, drawn.numbers).astype(np.uint8))
    read = read_regions(tmp_path / "r.tif", SHAPE)
    assert read.names == ("1", "3", "17")
    assert np.array_equal(read.numbers == 3, drawn.numbers == 2)
    tifffile.imwrite(tmp_path / "full.tif", np.full(SHAPE, 5, np.uint8))
    assert (read_regions(tmp_path / "full.tif", SHAPE).numbers == 1).all()


def test_what_does_not_fit_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "r.tif", np.ones((10, 10), np.uint8))
    with pytest.raises(ImageError, match=r"10x10.*60x80"):
        read_regions(tmp_path / "r.tif", SHAPE)
    path = tmp_path / "away.geojson"
    path.write_text(json.dumps(box(100, 100, 120, 120, "far")), encoding="utf-8")
    with pytest.raises(ImageError, match="no region"):
        read_regions(path, SHAPE)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ImageError, match="away"):
        read_regions(path, SHAPE)


def test_files_belong_to_images_by_their_names(tmp_path):
    for name in ("a_regions.geojson", "b.roi", "c_rois.zip", "d.txt", "other.geojson"):
        (tmp_path / name).write_bytes(b"")
    found = region_files(tmp_path, ["a", "b", "c", "d"])
    assert {k: p.name for k, p in found.items()} == {
        "a": "a_regions.geojson",
        "b": "b.roi",
        "c": "c_rois.zip",
    }
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(UsageError, match="both regions of a"):
        region_files(tmp_path, ["a"])
    with pytest.raises(UsageError, match="several images called b"):
        region_files(tmp_path, ["b", "b"])
    with pytest.raises(UsageError, match="one file"):
        region_files(tmp_path / "b.roi", ["b", "b"])
    with pytest.raises(UsageError, match="one file"):
        region_files(tmp_path / "b.roi", ["a", "b"])
    with pytest.raises(UsageError, match="no such"):
        region_files(tmp_path / "none", ["a"])


def test_outlines_that_were_exported_are_regions(labels, tmp_path):
    assert len(trace(labels)) == 4
    write_roi_zip(tmp_path / "cells.zip", labels)
    regions = read_regions(tmp_path / "cells.zip", SHAPE)
    table = with_regions(measure(labels), labels, regions)
    assert "" not in table["region"].tolist()


def test_regions_without_a_pixel_are_named(tmp_path):
    features = [
        box(0, 0, 10, 10, "covered"), box(0, 0, 20, 20, "over it"), box(0, 100, 10, 110, "outside"),
    ]  # fmt: skip
    path = tmp_path / "r.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    assert read_regions(path, SHAPE).hidden() == ("covered", "outside")
