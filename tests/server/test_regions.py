"""Regions in the page: drawn, told to others, undone, counted, brought in and taken away as files."""

from __future__ import annotations

import io
import json
import zipfile

import pytest


def shape(number: str, name: str, *corners: tuple[float, float]):
    return {"id": number, "name": name, "polygons": [[[list(c) for c in corners]]] if corners else []}


def square(number: str, name: str, y: float, x: float, size: float):
    return shape(number, name, (y, x), (y, x + size), (y + size, x + size), (y + size, x))


def told(page, plane: int = 0):
    return page.json(f"/api/images/{page.image}/regions?plane={plane}")["regions"]


def test_a_region_is_drawn_told_to_others_undone_and_done_again(page):
    other = page.__class__(page.port, page.token).connect()
    other.open(page.image)
    page.disc(page.next_id, 40, 40, 10)
    ack = page.edit("region", regions=[square("a", "tumour", 0, 0, 100), square("b", "stroma", 150, 0, 99.5)])
    assert (ack["type"], ack["objects"]) == ("ack", [])
    patch = other.until("patch", rev=ack["rev"])
    assert patch["regions"]
    assert not any(patch[part] for part in ("objects", "tiles", "runs"))
    tumour, stroma = told(other)
    assert tumour["name"] == "tumour"
    assert tumour["parts"] == [{"id": "a", "polygons": [[[[0, 0], [0, 100], [100, 100], [100, 0]]]]}]
    assert (tumour["objects"], stroma["objects"], tumour["area_px"]) == (1, 0, 10000)
    assert page.json(f"/api/images/{page.image}/history")["undo"] == "region"
    page.send(type="undo", image=page.image)
    assert page.until("patch", rev=ack["rev"] + 1)["regions"]
    assert told(page) == []
    page.send(type="redo", image=page.image)
    page.until("patch", rev=ack["rev"] + 2)
    assert [r["name"] for r in told(page)] == ["tumour", "stroma"]
    page.rev = ack["rev"] + 2
    page.edit("region", regions=[shape("a", "")])
    assert [r["name"] for r in told(page)] == ["stroma"]
    other.close()


def test_parts_of_one_name_are_one_region(page):
    page.disc(page.next_id, 230, 230, 10)
    page.edit("region", regions=[square("a", "tumour", 0, 0, 100), square("b", "tumour", 200, 200, 60)])
    (region,) = told(page)
    assert [p["id"] for p in region["parts"]] == ["a", "b"]
    assert (region["objects"], region["area_px"]) == (1, 100 * 100 + 60 * 60)


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        (None, "needs regions"),
        ([square("a", "", 0, 0, 9)], "a name of"),
        ([square("a", "out", 900, 900, 9)], "outside of the image"),
        ([shape("a", "line", (0, 0), (5, 5))], "three corners"),
    ],
)
def test_what_is_no_region_is_refused_in_words(page, regions, why):
    answer = page.edit("region", **({} if regions is None else {"regions": regions}))
    assert answer["type"] == "reject"
    assert why in answer["reason"]
    assert told(page) == []


def test_files_of_regions_come_in_and_go_out(page):
    page.disc(page.next_id, 40, 40, 10)
    assert page.request("GET", f"/api/images/{page.image}/export/regions")[0].status == 400
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    data = json.dumps({**feature, "properties": {"classification": {"name": "Tumor"}}}).encode()
    answer, body = page.upload(f"/api/images/{page.image}/regions", ("slide 3.geojson", data))
    assert (answer.status, json.loads(body)["names"]) == (200, ["Tumor"])
    assert page.until("patch")["regions"]
    table = page.get(f"/api/images/{page.image}/export/regions").decode()
    assert table.splitlines()[:2][0].startswith("region,objects,area_px")
    assert table.splitlines()[1].startswith("Tumor,1,10000")
    outlines = json.loads(page.get(f"/api/images/{page.image}/export/region_outlines"))
    assert outlines["features"][0]["geometry"]["coordinates"] == [
        [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    ]
    assert b",Tumor" in page.get(f"/api/images/{page.image}/export/csv")
    assert page.json(f"/api/images/{page.image}/measurements?plane=0")["region"] == ["Tumor"]
    for path in (f"/api/images/{page.image}/export/zip", "/api/export/zip"):
        names = zipfile.ZipFile(io.BytesIO(page.get(path))).namelist()
        assert {"first_regions.csv", "first_regions.geojson"} <= set(names)
    whole = zipfile.ZipFile(io.BytesIO(page.get("/api/export/zip"))).read("all_regions.csv").decode()
    assert whole.splitlines()[1].startswith("first,Tumor,1,10000")
    for name, wrong in (("a.geojson", b"{"), ("b.zip", b"no"), ("c.png", b"no")):
        answer, body = page.upload(f"/api/images/{page.image}/regions", (name, wrong))
        assert answer.status == 400, body
        assert b"/tmp" not in body
    assert len(told(page)) == 1


def test_a_zip_without_regions_is_as_before(page):
    page.disc(page.next_id, 40, 40, 10)
    names = zipfile.ZipFile(io.BytesIO(page.get(f"/api/images/{page.image}/export/zip"))).namelist()
    assert not [n for n in names if "region" in n]


def test_a_region_under_another_one_is_counted_too(page):
    page.disc(page.next_id, 40, 40, 10)
    page.edit("region", regions=[square("a", "under", 20, 20, 40), square("b", "over", 0, 0, 100)])
    assert [(r["name"], r["objects"], r["area_px"]) for r in told(page)] == [
        ("under", 0, 0),
        ("over", 1, 10000),
    ]
