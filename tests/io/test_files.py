import json
import os
import sys

import numpy as np
import pytest
import tifffile
import zarr

from cellbrook.errors import ImageError, UsageError
from cellbrook.io import (
    OUTPUT_ENDINGS,
    FoundImage,
    atomic,
    find_images,
    hashing,
    open_image,
    output_folder,
    output_paths,
    scenes,
    sha256_of,
    sha256_of_image,
    stem_of,
    write_labels_zarr,
)
from cellbrook.io.atomic import staged
from cellbrook.io.files import _NO_IMAGES


def names(found):
    return [image.path.name for image in found.images]


def test_a_folder_in_natural_order(tmp_path, touch):
    touch(
        tmp_path,
        "img10.tif",
        "img2.tif",
        "IMG1.TIF",
        "a.png",
        "b.jpeg",
        "c.bmp",
        "d.npy",
        "e.czi",
        "notes.txt",
    )
    found = find_images(tmp_path)
    assert names(found) == ["a.png", "b.jpeg", "c.bmp", "d.npy", "e.czi", "IMG1.TIF", "img2.tif", "img10.tif"]
    assert [(p.name, reason) for p, reason in found.skipped] == [("notes.txt", "not an image")]


RESULTS = [
    *(f"x{ending}" for kind, ending in OUTPUT_ENDINGS.items() if kind not in ("geojson", "zarr")),
    "x_img_masks.png", "x_MASKS.TIF", "x_cp_masks.tif", "x_seg.npy", "x_flows_cp.png", "x_outlines.png",
    "x_cp_output.png", "x_labels.ome.tif", "x_s0_labels.tif", "x_mask.png",
]  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_passed_by_in_folders_and_patterns(tmp_path, name, touch):
    touch(tmp_path, "x.tif", name, "summary.csv", "all_objects.csv", "x.geojson")
    for given in (tmp_path, str(tmp_path / "*")):
        found = find_images(given)
        assert names(found) == ["x.tif"]
        reasons = {p.name: reason for p, reason in found.skipped}
        assert reasons[name] == "looks like a result"
    assert names(find_images(tmp_path / name)) == [name]


@pytest.mark.parametrize(
    "name", ["unmasked.tif", "labels.tif", "my_labels_1.tif", "cells_seg1.tif", "x_img.png", "mask"]
)
def test_names_that_only_look_similar_are_images(tmp_path, name, touch):
    touch(tmp_path, name, "other.tif")
    assert (name in names(find_images(tmp_path))) == ("." in name)


def test_the_summary_counts_by_reason(tmp_path, touch):
    touch(tmp_path, "x.tif", "x_masks.png", "x_labels.tif", "readme.md")
    assert (
        find_images(tmp_path).summary()
        == "1 image; skipped 1 (not an image); skipped 2 (looks like a result)"
    )


def test_projects_and_models_among_the_images_are_passed_over(tmp_path, touch):
    touch(tmp_path, "x.tif", "x.project/project.toml", "x.project/images/y.tif", "x.project/model/card.toml")
    touch(tmp_path, "deep/m/card.toml", "deep/m/curves.png", "n/not-active/card.toml", "n/curves.png")
    for given in (tmp_path, str(tmp_path / "**" / "*")):
        found = find_images(given)
        assert names(found) == ["x.tif"]
        assert {(p.name, reason) for p, reason in found.skipped if p.is_dir()} == {
            ("x.project", "a project"), ("m", "a model"), ("n", "a model"),
        }  # fmt: skip
    inside = tmp_path / "x.project" / "images"
    for given in (inside / "y.tif", inside, str(inside / "*.tif")):
        assert names(find_images(given)) == ["y.tif"]
    with pytest.raises(ImageError, match=r"skipped 1 \(a project\)"):
        find_images(tmp_path / "x.project")


def test_the_files_that_tell_projects_and_models_are_what_these_are_called():
    from cellbrook.networks.cards import CARD_NAME
    from cellbrook.project.settings import FILE
    from cellbrook.training.output import INACTIVE

    assert set(_NO_IMAGES) == {FILE, CARD_NAME, f"{INACTIVE}/{CARD_NAME}"}


def test_hidden_and_unfinished_files_are_not_images(tmp_path, touch):
    touch(tmp_path, "x.tif", ".hidden.tif", ".cache/y.tif", "sub/.DS_Store", "__thumbs__/z.tif")
    with atomic(tmp_path / "y.tif") as temporary:
        temporary.write_bytes(b"half")
        assert names(find_images(tmp_path)) == ["z.tif", "x.tif"]
        assert names(find_images(str(tmp_path / "**" / "*"))) == ["z.tif", "x.tif"]


def test_what_killed_runs_left_is_swept_and_what_is_written_stays(tmp_path, touch):
    killed, alive, recent = (f".x.partial-{n}" for n in "abc")
    touch(tmp_path, *(f"{stage}/x_labels.tif" for stage in (killed, alive, recent)), "x_labels.tif")
    for path in tmp_path.rglob("*"):
        if recent not in path.parts:
            long_ago(path)
    os.utime(
        tmp_path / alive / "x_labels.tif"
    )  # a large file that still grows, in a folder that was made long ago
    os.utime(tmp_path / recent)
    with staged(tmp_path, "x"):
        assert {p.name for p in tmp_path.iterdir()} >= {alive, recent, "x_labels.tif"}
        assert not (tmp_path / killed).exists()


def test_subfolders_are_mirrored_and_out_is_not_searched(tmp_path, touch):
    touch(tmp_path, "a.tif", "plate 2/b.tif", "plate 10/deep/c.tif", "out/d.tif")
    found = find_images(tmp_path, tmp_path / "out")
    assert [(i.path.name, i.relative_folder.as_posix()) for i in found.images] == [
        ("a.tif", "."), ("b.tif", "plate 2"), ("c.tif", "plate 10/deep"),
    ]  # fmt: skip
    paths = output_paths(output_folder(found.images[2], tmp_path / "out"), "c", ["labels", "overlay"])
    assert paths["labels"] == tmp_path / "out" / "plate 10" / "deep" / "c_labels.tif"
    assert names(find_images(tmp_path, recursive=False)) == ["a.tif"]
    assert names(find_images(tmp_path, tmp_path)) == ["a.tif", "d.tif", "b.tif", "c.tif"]


def test_several_folders_keep_their_names(tmp_path, touch):
    touch(tmp_path, "one/a.tif", "two/a.tif", "two/sub/b.tif")
    found = find_images([tmp_path / "one", tmp_path / "two"])
    assert [i.relative_folder.as_posix() for i in found.images] == ["one", "two", "two/sub"]


def test_patterns(tmp_path, touch):
    touch(tmp_path, "p1/a10.tif", "p1/a9.tif", "p2/a1.tif", "p2/b.png", "odd [1].tif")
    found = find_images(str(tmp_path / "p*" / "a*.tif"))
    assert [(i.path.name, i.relative_folder.as_posix()) for i in found.images] == [
        ("a9.tif", "p1"), ("a10.tif", "p1"), ("a1.tif", "p2"),
    ]  # fmt: skip
    assert len(find_images(str(tmp_path / "**" / "*.tif")).images) == 4
    # a file whose name has the characters of a pattern
    assert names(find_images(tmp_path / "odd [1].tif")) == ["odd [1].tif"]


def test_files_given_by_name_are_taken_once_in_their_order(tmp_path, touch):
    touch(tmp_path, "b.tif", "a_labels.tif", "c.unknown")
    given = [tmp_path / n for n in ("b.tif", "a_labels.tif", "c.unknown", "b.tif")]
    assert names(find_images(given)) == ["b.tif", "a_labels.tif", "c.unknown"]
    assert names(find_images([tmp_path, tmp_path / "b.tif"])) == ["b.tif"]


def test_an_ome_zarr_folder_is_one_image_and_results_are_not(tmp_path):
    write_labels_zarr(tmp_path / "cells.ome.zarr", np.eye(9), image=np.eye(9))
    write_labels_zarr(tmp_path / "labels only.zarr", np.eye(9))
    (tmp_path / "sub").mkdir()
    group = zarr.open_group(tmp_path / "sub" / "image.zarr", mode="w")
    group.create_array("0", shape=(4, 4), dtype="u1")
    found = find_images(tmp_path)
    assert names(found) == ["image.zarr"]
    assert sorted(p.name for p, _ in found.skipped) == ["cells.ome.zarr", "labels only.zarr"]
    assert names(find_images(str(tmp_path / "**" / "*"))) == ["image.zarr"]
    assert names(find_images(tmp_path / "cells.ome.zarr")) == ["cells.ome.zarr"]


def test_an_ome_zarr_image_that_contains_labels_is_an_image_also_with_consolidated_metadata(tmp_path, touch):
    below = {"labels/cells": {"attributes": {"ome": {"image-label": {}}}}}
    for name, own in (("cells", {}), ("labels", {"image-label": {}})):
        metadata = {"attributes": {"ome": own}, "consolidated_metadata": {"metadata": below}}
        touch(tmp_path, f"{name}.zarr/zarr.json", f"{name} of 0.4.zarr/.zattrs")
        (tmp_path / f"{name}.zarr" / "zarr.json").write_text(json.dumps(metadata))
        (tmp_path / f"{name} of 0.4.zarr" / ".zattrs").write_text(json.dumps(own))
    touch(tmp_path, "damaged.zarr/zarr.json", "list.zarr/zarr.json")
    (tmp_path / "list.zarr" / "zarr.json").write_text("[]")
    assert names(find_images(tmp_path)) == ["cells of 0.4.zarr", "cells.zarr", "damaged.zarr", "list.zarr"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_without_going_round(tmp_path, touch):
    touch(tmp_path, "data/a.tif")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "linked").symlink_to(tmp_path / "data")
    assert names(find_images(tmp_path / "data")) == ["a.tif"]
    assert names(find_images(tmp_path / "view")) == ["a.tif"]
    (tmp_path / "data" / "broken.tif").symlink_to(tmp_path / "gone.tif")
    # reported when it is opened, not passed by in silence
    assert names(find_images(tmp_path / "data")) == ["a.tif", "broken.tif"]


def test_nothing_found(tmp_path, touch):
    touch(tmp_path, "x_masks.png", "notes.txt")
    with pytest.raises(
        ImageError, match=r"looked for TIFF, PNG.*skipped 1 \(not an image\); skipped 1 \(looks like"
    ):
        find_images(tmp_path)
    with pytest.raises(ImageError, match=r"gone\.tif: no such file or folder"):
        find_images([tmp_path, tmp_path / "gone.tif"])
    with pytest.raises(ImageError, match=r"no image in .*\*\.tif"):
        find_images(str(tmp_path / "*.tif"))
    with pytest.raises(UsageError, match="no input"):
        find_images([])


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.tif", "a"),
        ("a.ome.tif", "a"),
        ("a.OME.TIFF", "a"),
        ("a.ome.zarr", "a"),
        ("v1.2.png", "v1.2"),
        ("a b", "a b"),
    ],
)
def test_stems(tmp_path, name, stem):
    assert stem_of(tmp_path / name) == stem


def test_output_names(tmp_path):
    image = FoundImage(tmp_path / "in" / "cells.tif", tmp_path / ".", "cells")
    paths = output_paths(output_folder(image, None), image.stem, OUTPUT_ENDINGS)
    assert {p.parent for p in paths.values()} == {tmp_path / "in"}
    assert sorted(p.name for p in paths.values()) == sorted(
        ["cells_labels.tif", "cells_overlay.png", "cells_objects.csv", "cells_run.json", "cells_color.png",
         "cells_rois.zip", "cells.geojson", "cells_coco.json", "cells_seg.npy", "cells_flows.tif",
         "cells_cellprob.tif", "cells.ome.zarr", "cells_ctc.zip", "cells_regions.csv", "cells_regions.geojson"]
    )  # fmt: skip
    with pytest.raises(UsageError, match="no result 'roi'; there are labels, overlay"):
        output_paths(tmp_path, "cells", ["roi"])


def test_hashes(tmp_path, touch):
    touch(tmp_path, "a.bin", "f/1", "f/sub/2")
    assert sha256_of(tmp_path / "a.bin") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    before = sha256_of(tmp_path / "f")
    os.utime(tmp_path / "f" / "1", (0, 0))
    assert sha256_of(tmp_path / "f") == before
    (tmp_path / "f" / "sub" / "2").rename(tmp_path / "f" / "sub" / "3")
    assert sha256_of(tmp_path / "f") != before
    with pytest.raises(ImageError, match="no such file"):
        sha256_of(tmp_path / "gone")


@pytest.mark.parametrize("images", [1, 2], ids=["planes of one stack", "positions"])
def test_files_of_a_set_are_one_image(tmp_path, touch, images):
    """As Bio-Formats and Micro-Manager write them: each file says what is in all of them."""
    names = ("cells_2.ome.tif", "cells_10.ome.tif")
    of = [f'<UUID FileName="{name}">urn:uuid:{n}</UUID>' for n, name in enumerate(names)]
    where = 'IFD="0" PlaneCount="1" FirstZ'
    planes = [f'<TiffData {where}="{n * (images == 1)}">{u}</TiffData>' for n, u in enumerate(of)]
    head = '<Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeC="1" SizeT="1"'
    stacks = ["".join(planes)] if images == 1 else planes
    told = "".join(f'<Image>{head} SizeZ="{3 - images}">{stack}</Pixels></Image>' for stack in stacks)
    for n, name in enumerate(names):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{n}">{told}</OME>'
        )
        tifffile.imwrite(tmp_path / name, np.full((20, 30), n, np.uint16), description=xml, metadata=None)
    touch(tmp_path, "damaged.ome.tif")
    found = find_images(tmp_path)
    assert [i.path.name for i in found.images] == [names[0], "damaged.ome.tif"]
    assert found.skipped == [(tmp_path / names[1], "part of a set that another file opens")]
    assert len(scenes(tmp_path / names[0])) == images
    assert open_image(tmp_path / names[0], scene=images - 1).shape == (
        (2, 20, 30) if images == 1 else (20, 30)
    )
    before = sha256_of_image(tmp_path / names[0])
    assert before != sha256_of(tmp_path / names[0])
    with (tmp_path / names[1]).open("ab") as file:
        file.write(b"changed")
    assert sha256_of_image(tmp_path / names[0]) != before


def test_a_reader_opens_only_tiff_files_that_may_have_others(tmp_path, monkeypatch):
    """Of thousands in a folder, each would take it more than a millisecond."""
    pixels = np.zeros((9, 9), np.uint16)
    for name, how in (("plain.tif", {}), ("big.tif", {"bigtiff": True}), ("imagej.tif", {"imagej": True})):
        tifffile.imwrite(tmp_path / name, pixels, **how)
    for name in ("alone.ome.tif", "one.ome.tif"):
        xml = f'<OME><UUID FileName="{name}"/></OME>'
        tifffile.imwrite(tmp_path / name, pixels, description=xml, metadata=None, byteorder=">")
    (tmp_path / "one.ome.tif").rename(tmp_path / "renamed.ome.tif")
    tags = [(51123, "s", 0, "{}", True)]
    tifffile.imwrite(tmp_path / "micromanager.tif", pixels, extratags=tags, metadata=None)
    opened, reader = [], tifffile.TiffFile
    monkeypatch.setattr(tifffile, "TiffFile", lambda path: opened.append(path.name) or reader(path))
    assert len(find_images(tmp_path).images) == 6
    assert opened == ["micromanager.tif", "renamed.ome.tif"]


@pytest.fixture
def digests(monkeypatch):
    """Names of the files that are read to be hashed."""
    read, digest = [], hashing._digest
    monkeypatch.setattr(hashing, "_digest", lambda path: read.append(path.name) or digest(path))
    hashing._remembered.cache_clear()
    return read


def long_ago(path, seconds=0):
    os.utime(path, (1e9 + seconds, 1e9 + seconds))


def test_a_file_of_many_scenes_is_hashed_once_until_it_changes(tmp_path, touch, digests):
    touch(tmp_path, "many.lif")
    path = tmp_path / "many.lif"
    long_ago(path)
    first = sha256_of_image(path, "0")
    assert sha256_of_image(path, "1") == first == sha256_of(path)
    assert digests == ["many.lif"] * 2  # what is not an image is read each time
    path.write_bytes(b"y")
    long_ago(path, 1)
    assert sha256_of_image(path, "1") != first
    os.utime(path)  # of now: it may change once more within a tick of the clock
    sha256_of_image(path)
    path.write_bytes(b"z")
    assert sha256_of_image(path) == sha256_of(path)


@pytest.mark.parametrize("version", [2, 3])
def test_of_an_ome_zarr_plate_the_group_of_the_scene_is_hashed(tmp_path, digests, version):
    root = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=version)
    ome = {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    root.attrs.update(ome if version == 2 else {"ome": ome})
    for n, well in enumerate(("A/1", "B/2")):
        group = root.create_group(well)
        ome = {"well": {"images": [{"path": "0"}]}}
        group.attrs.update(ome if version == 2 else {"ome": ome})
        write_labels_zarr(tmp_path / "plate.zarr" / well / "0", np.full((9, 9), n))
    assert scenes(tmp_path / "plate.zarr") == ("A/1/0", "B/2/0")
    files = [p for p in (tmp_path / "plate.zarr").glob("*/*/0/**/*") if p.is_file()]
    for file in files:
        long_ago(file)
    hashes = [sha256_of_image(tmp_path / "plate.zarr", scene) for scene in ("0", "1", "B/2/0")]
    assert sorted(digests) == sorted(file.name for file in files)  # once, and nothing of the plate
    assert hashes[0] != hashes[1] == hashes[2] == sha256_of(tmp_path / "plate.zarr" / "B" / "2" / "0")


def test_results_that_the_shell_names_beside_their_images_are_passed_over(tmp_path, touch):
    names = ["a.tif", "a_labels.tif", "a_overlay.png", "b_img.png", "b_masks.png", "lonely_masks.png"]
    for name in names:
        (tmp_path / name).touch()
    found = find_images([tmp_path / name for name in names])
    assert [i.path.name for i in found.images] == ["a.tif", "b_img.png", "lonely_masks.png"]
    assert len(found.skipped) == 3
