"""Tiles of any source: levels, planes, ranges, sixteen bits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.io import open_image
from cellbrook.project.labelstore import levels_of
from cellbrook.project.project import Project
from cellbrook.server import pixels as p


def opened(array, axes, **keywords):
    return p.ImagePixels("image", open_image(array, axes=axes, **keywords), p.Kept())


def whole(image, level=0, plane=0, channel=0):
    """An image put together from its tiles."""
    rows, cols = (-(-n // 2**level) for n in image.shape)
    out = np.zeros(
        (-(-rows // 512) * 512, -(-cols // 512) * 512), image.tile(level, plane, channel, 0, 0).dtype
    )
    for ty in range(out.shape[0] // 512):
        for tx in range(out.shape[1] // 512):
            out[ty * 512 : ty * 512 + 512, tx * 512 : tx * 512 + 512] = image.tile(
                level, plane, channel, ty, tx
            )
    assert not out[rows:].any()
    assert not out[:, cols:].any()
    return out[:rows, :cols]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 1300), st.integers(1, 1300), st.booleans())
def test_levels_are_every_second_pixel_whether_the_plane_is_kept_or_not(rows, cols, kept):
    array = np.random.default_rng(rows).integers(0, 65535, (rows, cols), dtype=np.uint16)
    image = opened(array, "YX")
    image._whole = kept
    assert image.levels == levels_of((rows, cols))
    for level in range(image.levels):
        np.testing.assert_array_equal(whole(image, level), array[:: 2**level, :: 2**level])
    assert image.tile(image.levels, 0, 0, 0, 0) is None


def test_a_large_image_without_a_pyramid_gives_its_coarse_levels_too():
    array = (np.arange(9000)[:, None] * np.ones(600)).astype(np.uint16)
    image = opened(array, "YX")
    image._whole = False
    assert image.levels == 6
    for level in (4, 5):
        np.testing.assert_array_equal(whole(image, level), array[:: 2**level, :: 2**level])


def test_a_stored_pyramid_is_used(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (2048, 1536), dtype=np.uint8)
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(array, subifds=2, tile=(256, 256), metadata={"axes": "YX"})
        for level in (1, 2):  # other values, so that one sees where they come from
            file.write(np.full_like(array[:: 2**level, :: 2**level], level), subfiletype=1, tile=(256, 256))
    image = p.ImagePixels("image", open_image(path), p.Kept())
    image._whole = False
    np.testing.assert_array_equal(whole(image, 0), array)
    assert np.unique(whole(image, 1)).tolist() == [1]
    assert np.unique(whole(image, 2)).tolist() == [2]


def test_planes_count_through_t_and_z_and_channels_stay_apart():
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1, 1) * np.ones((1, 1, 1, 20, 30), np.uint8)
    image = opened(array, "TCZYX")
    assert (image.t, image.z, image.planes, image.channel_count) == (2, 4, 8, 3)
    for t in range(2):
        for c in range(3):
            for z in range(4):
                assert image.tile(0, t * 4 + z, c, 0, 0)[5, 5] == array[t, c, z, 0, 0]
    assert image.tile(0, 8, 0, 0, 0) is None
    assert image.tile(0, 0, 3, 0, 0) is None
    assert image.tile(0, 0, 0, 0, -1) is None


@pytest.mark.parametrize(
    ("dtype", "low", "high", "bits"),
    [("bool", 0, 1, 8), ("u1", 0, 255, 8), ("u2", 100, 65535, 16), ("i1", -128, 127, 8), ("i2", -300, 500, 16),
     ("i4", -70_000, 70_000, 16), ("u4", 4_000_000_000, 4_000_000_200, 8), ("f4", -0.25, 1.75, 16), ("f8", 1e-9, 3e-9, 16)],
)  # fmt: skip
def test_raw_values_come_back_from_what_is_sent(dtype, low, high, bits):
    array = np.linspace(low, high, 60 * 70).reshape(60, 70).astype(dtype)
    image = opened(array, "YX")
    sent = image.tile(0, 0, 0, 0, 0)[:60, :70]
    assert image.coding.bits == bits
    assert sent.dtype.itemsize * 8 == bits
    raw = sent.astype(np.float64) * image.coding.scale + image.coding.offset
    np.testing.assert_allclose(raw, array.astype(np.float64), atol=(float(high) - float(low)) / 65535)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f4"])
def test_planes_brighter_and_darker_than_the_middle_one_come_back_too(dtype):
    values = np.array(
        {"i1": [0, -20, 5, 90, 127], "u4": [9, 300_000, 5, 0, 70]}.get(dtype, [-20_000, 300, 5, 9, 30_000])
    )
    stack = np.full((5, 40, 50), values[:, None, None], dtype)
    image = opened(stack, "ZYX")
    for plane in range(5):
        raw = image.tile(0, plane, 0, 0, 0)[5, 5] * image.coding.scale + image.coding.offset
        assert raw == pytest.approx(stack[plane, 5, 5], abs=5)
    (channel,) = image.channels()
    if dtype not in ("i1", "i2"):
        assert (channel.min, channel.max) == (stack.min(), stack.max())


def test_what_is_not_finite_does_no_harm():
    array = np.full((40, 40), np.nan, np.float32)
    array[:20] = np.linspace(0, 1, 40)
    array[0, 0], array[0, 1] = np.inf, -np.inf
    image = opened(array, "YX")
    (channel,) = image.channels()
    assert 0 <= channel.low < channel.high <= 1
    assert image.tile(0, 0, 0, 0, 0)[0, 0] == 65535
    assert image.tile(0, 0, 0, 0, 0)[30, 5] == 0
    assert opened(np.full((9, 9), np.nan, np.float32), "YX").channels()[0].high > 0
    assert image.small().shape == (40, 40, 3)


def test_auto_contrast_ignores_a_few_hot_pixels_and_leaves_colour_pictures_alone():
    array = np.random.default_rng(0).normal(1000, 50, (300, 300)).astype(np.uint16)
    array[5, 5] = 65535
    channel = opened(array, "YX").channels()[0]
    assert channel.high < 1300
    assert channel.max == 65535
    colour = opened(np.random.default_rng(0).integers(90, 110, (40, 40, 3), dtype=np.uint8), "YXS")
    assert [(c.low, c.high, c.color) for c in colour.channels()] == [
        (0.0, 255.0, "#ff0000"), (0.0, 255.0, "#00ff00"), (0.0, 255.0, "#0000ff"),
    ]  # fmt: skip


@pytest.mark.parametrize("large", [False, True])
def test_few_cells_in_a_wide_field_are_within_the_range_that_is_shown(large, monkeypatch):
    if large:
        monkeypatch.setattr(p, "_WHOLE", 0)
    field = np.random.default_rng(0).normal(200, 5, (600, 600)).astype(np.uint16)
    field[100:112, 100:112] = 1700  # in the first of the blocks that are looked at of a large image
    channel = opened(field, "YX").channels()[0]
    assert 180 < channel.low < 200
    assert channel.high == 1700


def test_what_is_kept_stays_within_its_limit_and_is_made_once():
    kept, made = p.Kept(1000), []

    def make(n):
        made.append(n)
        return np.zeros(400, np.uint8)

    for n in (1, 2, 1, 3, 1, 2):
        kept.get(("image", n), lambda n=n: make(n))
    assert made == [1, 2, 3, 2]
    kept.drop(lambda key: key[1] == 1)
    kept.get(("image", 1), lambda: make(1))
    assert made[-1] == 1


def test_a_stack_is_shown_and_edited_plane_by_plane(tmp_path, serve):
    stack = np.random.default_rng(0).integers(0, 200, (3, 2, 64, 80), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "stack.ome.tif", stack, metadata={"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    )
    with Project.create(tmp_path / "stack.project", images=[tmp_path / "stack.ome.tif"]) as project:
        page = serve(project).page().connect()
        image = project.images()[0].id
        page.open(image, plane=2)
        info = page.json(f"/api/images/{image}")
        assert (info["axes"], info["z"], info["shape"]) == ("CZYX", 3, [64, 80])
        assert [(c["name"], c["color"]) for c in info["channels"]] == [
            ("DAPI", "#4d80ff"),
            ("GFP", "#1fe07a"),
        ]
        tile = np.frombuffer(page.get(f"/api/images/{image}/pixels/0/2/1/0/0"), "<u2").reshape(512, 512)
        np.testing.assert_array_equal(tile[:64, :80], stack[2, 1])
        page.disc(page.next_id, 30, 30, 9)
        assert not page.labels(plane=0).any()
        assert page.labels(plane=2).any()
        labels = np.stack([page.labels(plane=z) for z in range(3)])
        for axis, across, lines in (
            ("y", stack[:, :, 27], labels[:, 27]),
            ("x", stack[..., 33], labels[..., 33]),
        ):
            data = page.get(f"/api/images/{image}/section/{axis}/0/{27 if axis == 'y' else 33}?channels=1,0")
            pixels, cells = data[: 4 * lines.size], data[4 * lines.size :]
            np.testing.assert_array_equal(
                np.frombuffer(pixels, "<u2").reshape(2, *lines.shape), across.swapaxes(0, 1)[::-1]
            )
            np.testing.assert_array_equal(np.frombuffer(cells, "<u4").reshape(lines.shape), lines)
            assert lines[2].any()
        data = page.get(f"/api/images/{image}/section/y/0/27")
        np.testing.assert_array_equal(np.frombuffer(data, "<u4").reshape(3, 80), labels[:, 27])
        table = page.json(f"/api/images/{image}/measurements?plane=2")
        assert len(table["label"]) == 1
        assert page.json(f"/api/images/{image}/measurements?plane=0")["label"] == []
        page.send(type="open", image=image, plane=3)
        assert "planes 0 to 2" in page.until("notice")["message"]


def test_a_browser_does_not_take_another_project_s_pixels(tmp_path, serve):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 64, 80), np.uint8), photometric="minisblack")
    tags = {}
    for z in (None, "max", "mean"):
        with Project.create(
            tmp_path / f"{z}.project", images=[tmp_path / "stack.tif"], axes="ZYX", z=z
        ) as project:
            page = serve(project).page()
            base = f"/api/images/{project.images()[0].id}"
            for address in ("/pixels/0/0/0/0/0", "/thumb"):
                answer, _ = page.request("GET", base + address)
                tag = answer.headers["etag"]
                assert page.request("GET", base + address, **{"If-None-Match": tag})[0].status == 304
                tags[z, address] = tag, answer.headers["cache-control"]
    assert len(set(tags.values())) == 3, "one for each way to see the stack"
    assert {cached for _, cached in tags.values()} == {"private, no-cache"}


def test_a_thumbnail_follows_what_is_shown_of_a_stack(tmp_path, serve):
    stack = np.zeros((3, 64, 80), np.uint8)
    stack[2, 10:30, 10:30] = 200
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    folder = tmp_path / "a.project"
    seen = []
    with Project.create(folder, images=[tmp_path / "stack.tif"], axes="ZYX", z="0") as project:
        seen.append(serve(project).page().get(f"/api/images/{project.images()[0].id}/thumb"))
    settings = folder / "project.toml"
    settings.write_text(settings.read_text().replace('z = "0"', 'z = "max"'))
    with Project.open(folder) as project:
        seen.append(serve(project).page().get(f"/api/images/{project.images()[0].id}/thumb"))
    assert seen[0] != seen[1]


def test_pixels_that_an_address_names_for_good_are_not_asked_for_again(tmp_path, serve):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 80), np.uint8))
    with Project.create(tmp_path / "a.project", images=[tmp_path / "a.tif"]) as project:
        page = serve(project).page()
        base = f"/api/images/{project.images()[0].id}"
        named = json.loads(page.request("GET", base)[1])["pixels"]
        for version, lasts in ((named, True), ("other", False)):
            answer, _ = page.request("GET", f"{base}/pixels/0/0/0/0/0?v={version}")
            assert ("immutable" in answer.headers["cache-control"]) is lasts


@pytest.mark.parametrize(("z", "expected"), [("max", 40), ("mean", 20), ("1", 20)])
def test_a_project_that_projects_its_stacks_shows_the_projection(z, expected):
    array = np.array([0, 20, 40], np.uint8)[:, None, None] * np.ones((1, 30, 40), np.uint8)
    image = p.ImagePixels("image", open_image(array, axes="ZYX"), p.Kept(), z)
    assert image.planes == 1
    sent = image.tile(0, 0, 0, 0, 0)[5, 5]
    assert sent * image.coding.scale + image.coding.offset == expected
    assert image.raw(0).shape == (1, 30, 40)
