import numpy as np
import pytest
from skimage.measure import label as components_of
from skimage.measure import regionprops

from cellbrook.errors import UsageError
from cellbrook.training.synthetic import VOLUME_FAMILIES, generate_volume
from cellbrook.training.synthetic._shapes import MIN_AREA_PX
from cellbrook.training.synthetic._volume import blur_volume


@pytest.mark.parametrize("anisotropy", [1.0, 3.0])
def test_same_seed_same_stack(anisotropy):
    first, second = (
        generate_volume(seed=4, shape=(10, 40, 56), diameter=12, anisotropy=anisotropy) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    other = generate_volume(seed=5, shape=(10, 40, 56), diameter=12, anisotropy=anisotropy)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("seed", range(8))
def test_labels_are_dense_and_in_one_piece(seed):
    sample = generate_volume(seed=seed, shape=(20, 64, 72), anisotropy=1 + seed % 3)
    areas = np.bincount(sample.labels.ravel())[1:]
    assert sample.labels.dtype == np.uint16
    assert (areas >= MIN_AREA_PX).all()
    assert components_of(sample.labels.astype(np.int64), background=0, connectivity=1).max() == len(areas)
    assert sample.image.dtype == np.float32
    assert sample.image.shape == (1, 20, 64, 72)
    assert sample.image.min() >= 0
    assert sample.image.max() <= 65535
    np.testing.assert_array_equal(sample.image, np.rint(sample.image))


@pytest.mark.parametrize("anisotropy", [1.0, 2.5])
def test_whole_balls_have_the_asked_size_in_every_axis(anisotropy):
    extents = []
    for seed in range(4):
        labels = generate_volume(seed=seed, shape=(36, 80, 80), diameter=16, anisotropy=anisotropy).labels
        for ball in regionprops(labels):
            low, high = np.array(ball.bbox[:3]), np.array(ball.bbox[3:])
            if (low > 0).all() and (high < labels.shape).all():
                extents.append(high - low)
    z, y, x = np.median(extents, axis=0)
    assert z == pytest.approx(16 / anisotropy, rel=0.25)
    assert y == pytest.approx(16, rel=0.15)
    assert x == pytest.approx(16, rel=0.15)


def test_light_lies_in_the_objects_and_spreads_further_along_z():
    sample = generate_volume(seed=2, shape=(24, 64, 64), diameter=14)
    inside = sample.labels > 0
    assert sample.image[0][inside].mean() > 1.3 * sample.image[0][~inside].mean()
    point = np.zeros((21, 21, 21), np.float32)
    point[10, 10, 10] = 1
    spread = blur_volume(point, 2.5, 1.0)
    assert spread[13, 10, 10] > 5 * spread[10, 13, 10]
    assert spread.sum() == pytest.approx(1, abs=0.02)


def test_wrong_arguments_are_named():
    assert VOLUME_FAMILIES == ("spheres_3d",)
    with pytest.raises(UsageError, match="family must be one of spheres_3d"):
        generate_volume("fluo_nuclei")
    with pytest.raises(UsageError, match="shape"):
        generate_volume(shape=(0, 64, 64))
    with pytest.raises(UsageError, match="anisotropy"):
        generate_volume(anisotropy=0.0)
    with pytest.raises(UsageError, match="diameter"):
        generate_volume(diameter=2)
    with pytest.raises(UsageError, match="seed"):
        generate_volume(seed=-1)


def test_sections_of_a_stack_show_round_objects_along_every_axis():
    pytest.importorskip("torch")
    from cellbrook.training.compact import SECTIONS, sections_of_stack

    ratios = []
    for seed in (3, 6, 12):
        sections = sections_of_stack(seed, side=128)
        assert len(sections) == len(SECTIONS)
        for section in sections:
            labels = section["labels"]
            assert section["image"].shape == (1, *labels.shape)
            assert section["target"] == "nuclei"
            for label in np.unique(labels[1:-1, 1:-1])[1:]:
                y, x = np.nonzero(labels == label)
                whole = (
                    y.min() > 0
                    and y.max() < len(labels) - 1
                    and x.min() > 0
                    and x.max() < labels.shape[1] - 1
                )
                if whole and len(y) > 60:
                    ratios.append(np.ptp(y) / np.ptp(x))
    # planes that lie apart are drawn out: balls are as high as they are wide
    assert len(ratios) > 10
    assert 0.8 < np.median(ratios) < 1.25
