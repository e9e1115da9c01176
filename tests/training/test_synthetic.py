import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from skimage.measure import label as components_of

from cellbrook.core.labels import components
from cellbrook.errors import UsageError
from cellbrook.training.synthetic import FAMILIES, generate
from cellbrook.training.synthetic._fields import blur, smooth_noise
from cellbrook.training.synthetic._shapes import (
    MIN_AREA_PX,
    clean_labels,
    clean_nuclei,
    push_apart,
)

PEOPLED = tuple(family for family in FAMILIES if family != "empty")


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_sample(family):
    first, second = (generate(family, seed=11, size=96, diameter=20) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    other = generate(family, seed=12, size=96, diameter=20)
    assert other.image.shape != first.image.shape or not np.array_equal(other.image, first.image)


def test_another_process_draws_the_same():
    script = (
        "import hashlib\n"
        "from cellbrook.training.synthetic import FAMILIES, generate\n"
        "h = hashlib.sha256()\n"
        "for f in FAMILIES:\n"
        "    s = generate(f, 5, 64, 18)\n"
        "    h.update(s.image.tobytes() + s.labels.tobytes())\n"
        "print(h.hexdigest())\n"
    )
    env = os.environ | {"PYTHONHASHSEED": "77", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    here = hashlib.sha256()
    for family in FAMILIES:
        sample = generate(family, 5, 64, 18)
        here.update(sample.image.tobytes() + sample.labels.tobytes())
    assert run.stdout.strip() == here.hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(6))
def test_labels_are_contiguous_connected_and_not_tiny(family, seed):
    labels = generate(family, seed, size=(112, 144)).labels.astype(np.int64)
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= MIN_AREA_PX).all()
    # as many 4-connected parts as labels: each label is present, and in one piece
    assert components_of(labels, background=0, connectivity=1).max() == len(areas)


@pytest.mark.parametrize("family", FAMILIES)
def test_image_is_in_camera_units(family):
    for seed in range(6):
        sample = generate(family, seed, size=(64, 80))
        assert sample.image.dtype == np.float32
        assert sample.labels.dtype == np.uint16
        assert sample.image.shape == (len(sample.channel_names), 64, 80)
        assert sample.labels.shape == (64, 80)
        assert sample.image.min() >= 0
        assert sample.image.max() <= 65535
        assert sample.image.std() > 0
        np.testing.assert_array_equal(sample.image, np.rint(sample.image))
        assert sample.target in ("nuclei", "cells")
        assert sample.family == family


@pytest.mark.parametrize("family", PEOPLED)
def test_objects_are_found_and_have_the_asked_size(family):
    areas = np.concatenate(
        [np.bincount(generate(family, seed, 160, diameter=24).labels.ravel())[1:] for seed in range(12)]
    )
    assert len(areas) >= 12
    typical = float(np.sqrt(np.median(areas) * 4 / np.pi))
    assert 0.6 * 24 < typical < 1.3 * 24


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("diameter", [4.0, 120.0])
def test_extreme_sizes_work(family, diameter):
    sample = generate(family, seed=2, size=96, diameter=diameter)
    assert sample.diameter_px == diameter
    assert np.isfinite(sample.image).all()


@pytest.mark.parametrize("family", PEOPLED)
def test_objects_differ_from_the_ground(family):
    """Labels belong to the picture: pixels near outlines vary more than chance over a dozen samples."""
    ratios = []
    for seed in range(12):
        sample = generate(family, seed, 128, diameter=24)
        inside = sample.labels > 0
        if 0.02 < inside.mean() < 0.98:
            plane = sample.image[0] - sample.image[0].mean()
            # correlation with the true mask against that with the mask mirrored
            ratios.append(
                abs(np.corrcoef(plane.ravel(), inside.ravel())[0, 1])
                - abs(np.corrcoef(plane.ravel(), inside[::-1, ::-1].ravel())[0, 1])
            )
    assert np.mean(ratios) > 0.05


@pytest.mark.parametrize("family", PEOPLED)
def test_nuclei_lie_in_one_piece_inside_their_cells(family):
    seen = 0
    for seed in range(10):
        sample = generate(family, seed, 128, diameter=30)
        if sample.nuclei is None:
            assert "nuclei" not in sample.channel_names or sample.target == "nuclei"
            continue
        assert sample.target == "cells"
        assert sample.nuclei.dtype == sample.labels.dtype
        inside = sample.nuclei > 0
        np.testing.assert_array_equal(sample.nuclei[inside], sample.labels[inside])
        areas = np.bincount(sample.nuclei[inside])
        assert areas[areas > 0].min(initial=MIN_AREA_PX) >= MIN_AREA_PX
        parts = components_of(sample.nuclei.astype(np.int64), background=0, connectivity=1)
        assert parts.max() == (areas > 0).sum()
        assert inside.sum() < (sample.labels > 0).sum()
        seen += 1
    if family in ("phase_cells", "dic", "cyto_fluo", "membrane", "blood_smear"):
        assert seen >= 2


def test_empty_fields_hold_nothing_but_differ():
    looks, channels = set(), set()
    for seed in range(40):
        sample = generate("empty", seed, 64)
        assert not sample.labels.any()
        assert sample.nuclei is None
        looks.add(sample.image.tobytes())
        channels.add(sample.channel_names)
    assert len(looks) == 40
    assert len(channels) >= 3


def test_the_nuclear_channel_is_bright_in_nuclei():
    orders, gains = set(), []
    for seed in range(16):
        sample = generate("phase_cells", seed, 112, diameter=30)
        if sample.nuclei is None or not sample.nuclei.any():
            continue
        stain = sample.image[sample.channel_names.index("nuclei")]
        gains.append(stain[sample.nuclei > 0].mean() > 1.2 * stain[sample.nuclei == 0].mean())
        orders.add(sample.channel_names)
    assert np.mean(gains) > 0.9
    assert orders == {("phase", "nuclei"), ("nuclei", "phase")}


def test_clean_nuclei_takes_the_ids_of_the_cells():
    cells = np.zeros((12, 20), np.int32)
    cells[:, :9], cells[:, 10:] = 5, 3
    nuclei = np.zeros_like(cells)
    nuclei[2:6, 2:6] = 5
    nuclei[2:6, 12:16] = 3
    nuclei[8:12, 12:16] = 5  # in the wrong cell
    cleaned = clean_labels(cells)
    out = clean_nuclei(nuclei, cells, cleaned)
    assert out.dtype == cleaned.dtype
    assert np.unique(out[:, :9]).tolist() == [0, cleaned[0, 0]]
    assert np.bincount(out.ravel(), minlength=3)[cleaned[0, 15]] == 16


def test_wrong_arguments_are_named():
    with pytest.raises(UsageError, match="family must be one of fluo_nuclei"):
        generate("nuclei", 0)
    with pytest.raises(UsageError, match="seed"):
        generate(FAMILIES[0], -1)
    with pytest.raises(UsageError, match="size"):
        generate(FAMILIES[0], 0, size=8)
    with pytest.raises(UsageError, match="diameter"):
        generate(FAMILIES[0], 0, diameter=1000)


def test_components_match_an_independent_implementation():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 3, (17, 23)).astype(np.int32)
        ours, theirs = components(labels), components_of(labels, background=0, connectivity=1)
        assert ours.max() == theirs.max()
        pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
        assert pairs.shape[1] == ours.max() + 1


def test_clean_labels_keeps_the_largest_part():
    labels = np.zeros((12, 12), np.int32)
    labels[0:4, 0:4] = 7  # 16 px, kept
    labels[6:8, 0:4] = 7  # 8 px, dropped as the lesser part
    labels[0:3, 6:9] = 9  # 9 px, too small
    labels[6:10, 6:12] = 2
    cleaned = clean_labels(labels)
    assert cleaned.dtype == np.uint16
    assert np.bincount(cleaned.ravel())[1:].tolist() == [16, 24]
    assert cleaned[6, 0] == 0
    assert clean_labels(np.zeros((5, 5), np.int32)).max() == 0
    assert clean_labels(np.full((5, 5), 3, np.int32)).min() == 1


@pytest.mark.parametrize("sigma", [0.8, 2.0, 5.0, 12.0])
def test_blur_is_a_gaussian(sigma):
    image = np.zeros((161, 161), np.float32)
    image[80, 80] = 1
    out = blur(image, sigma)
    assert out.sum() == pytest.approx(1, abs=0.02)
    y = np.arange(161) - 80
    assert float(np.sqrt((out.sum(axis=1) * y**2).sum())) == pytest.approx(sigma, rel=0.12)


def test_smooth_noise_has_unit_spread():
    noise = smooth_noise(np.random.default_rng(0), (400, 400), 6)
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.1)


def test_push_apart_separates():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 200, (300, 2)).astype(np.float32)

    def closest(p):
        distance = np.hypot(*(p[:, None] - p[None]).transpose(2, 0, 1))
        return distance[~np.eye(len(p), dtype=bool)].reshape(len(p), -1).min(axis=1)

    moved = push_apart(rng, points, 8.0, rounds=30)
    assert (closest(points) < 6).mean() > 0.4
    assert (closest(moved) < 6).mean() < 0.02


def test_no_bacterium_crosses_another():
    """Rods keep the area of a rod: few are cut to slivers by neighbours."""
    areas = []
    for seed in range(8):
        labels = generate("phase_bacteria", seed, 192, diameter=20).labels
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        whole = np.setdiff1d(np.arange(1, labels.max() + 1), edge)
        areas.append(np.bincount(labels.ravel())[whole])
    areas = np.concatenate(areas)
    assert (areas < 0.2 * np.median(areas)).mean() < 0.05
