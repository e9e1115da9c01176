"""Objects in 3-D in a project: one id through planes, kept through new runs, limits and a person's work."""

import json

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook.cli.app import main
from cellbrook.core.params import MaskParams
from cellbrook.errors import EditError, UsageError
from cellbrook.metrics import matching
from cellbrook.project import Project
from cellbrook.project.exchange import as_result
from cellbrook.project.marks import suggest_limits
from cellbrook.project.ops import Delete, Merge, Paint, Split
from cellbrook.project.predict import read_cache, rethreshold
from cellbrook.server.tables import result_of
from cellbrook.training import synthetic

SHAPE = (16, 72, 80)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack of nuclei, and what `segment` finds in it."""
    path = tmp_path_factory.mktemp("stack") / "kerne ä.tif"
    sample = synthetic.generate_volume("spheres_3d", 910_004, SHAPE, diameter=15, anisotropy=2)
    tifffile.imwrite(
        path,
        sample.image[0].astype(np.uint16),
        imagej=True,
        resolution=(4, 4),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"},
    )
    return path, cellbrook.segment(path, volume=True, anisotropy=2, threads=1)


@pytest.fixture
def project(tmp_path, stack):
    tifffile.imwrite(
        tmp_path / "flat.tif", synthetic.generate("fluo_nuclei", 3, 96, 20).image[0].astype(np.uint16)
    )
    with Project.create(tmp_path / "p.project", images=[stack[0], tmp_path / "flat.tif"]) as made:
        yield made


def predict(project, *names, **keywords):
    done = project.predict(names, volume=True, anisotropy=2, threads=1, **keywords)
    assert [d.error for d in done] == [None] * len(done)
    return done


def same(a, b):
    """Whether two label images hold the same objects, under whatever ids."""
    match = matching(a, b, 0.9)
    return len(match.pairs) == len(np.unique(a[a > 0])) == len(np.unique(b[b > 0]))


def through(labels):
    """Ids that lie in more than one plane."""
    planes = [set(np.unique(p)) for p in labels]
    return {int(i) for i in np.unique(labels[labels > 0]) if sum(i in p for p in planes) > 1}


def test_objects_reach_through_planes_and_flat_images_are_found_as_they_are(project, stack):
    done = predict(project)
    labels = project.labels(project.find("kerne ä").id).read_all()
    assert len(through(labels)) > 3
    assert same(labels, stack[1].labels)
    assert done[0].objects == len(stack[1].objects)
    assert done[1].objects > 0, "the flat image beside it"
    assert [d.status for d in predict(project)] == ["skipped", "skipped"]
    assert project.image(done[0].image).run["parameters"]["volume"] is True
    assert project.image(done[1].image).run["parameters"]["volume"] is False


def test_limits_are_changed_without_the_network(project, stack):
    (done,) = predict(project, "kerne ä")
    limit = float(np.sort(stack[1].objects["score"])[2:4].mean())
    rethreshold(project, "kerne ä", MaskParams(min_score=limit), threads=1)
    fewer = cellbrook.segment(stack[0], volume=True, anisotropy=2, min_score=limit, threads=1)
    labels = project.labels(done.image).read_all()
    assert len(fewer.objects) == done.objects - 3
    assert same(labels, fewer.labels)
    kept = result_of(project, project.find("kerne ä"), output=True).output
    assert kept.flows.shape == stack[1].output.flows.shape
    assert np.abs(kept.flows - stack[1].output.flows).max() < 0.01
    flows, cellprob = read_cache(project, project.find("kerne ä"))
    assert flows.shape == (SHAPE[0], 2, *SHAPE[1:])
    assert cellprob.shape == SHAPE
    assert np.abs(flows[:, 0] - stack[1].output.flows[1]).max() < 0.01, "rows come first, as of planes"


def test_what_a_person_did_to_an_object_stays_through_another_run(project):
    (done,) = predict(project, "kerne ä")
    store, log = project.labels(done.image), project.log(done.image)
    before = store.read_all()
    first, second = sorted(through(before), key=lambda i: -np.sum(before == i))[:2]
    plane = int(np.flatnonzero((before == second).any(axis=(1, 2)))[0])
    y, x = (int(v[0]) for v in np.nonzero(before[plane] == second))
    log.apply(Delete((first,)))
    assert not (store.read_all() == first).any(), "in all planes"
    log.apply(Paint(second, np.array([[y - 1, x, x + 2]]), plane, "overwrite"))
    predict(project, "kerne ä", again=True)
    after = store.read_all()
    assert not (after[before == first] > 0).mean() > 0.5, "what was deleted does not come back"
    assert np.array_equal(after[plane] == second, store.read(plane) == second)
    assert np.sum((after == second) & (before == second)) > 0.8 * np.sum(before == second), (
        "one cell still, of the same number"
    )


def test_a_cell_is_cut_between_planes_and_pieces_in_different_planes_are_joined(project):
    (done,) = predict(project, "kerne ä")
    store, log = project.labels(done.image), project.log(done.image)
    before = store.read_all()
    one = max(through(before), key=lambda i: np.sum(before == i))
    planes = np.flatnonzero((before == one).any(axis=(1, 2)))
    middle = int(planes[len(planes) // 2])
    log.apply(Split(one, (), middle))
    after = store.read_all()
    (new,) = set(np.unique(after)) - set(np.unique(before))
    assert np.array_equal(after == one, (before == one) & (np.arange(len(before)) < middle)[:, None, None])
    assert np.array_equal(after == new, (before == one) & (np.arange(len(before)) >= middle)[:, None, None])
    assert {r.origin for r in store.objects(ids=[one, int(new)])} == {"edited"}
    assert all(r.area == np.sum(after[r.plane] == r.id) for r in store.objects(ids=[one, int(new)]))
    predict(project, "kerne ä", again=True)
    assert np.array_equal(store.read_all() == new, after == new), "no model joins them again"
    for plane in (int(planes[0]), int(planes[-1]) + 1):
        with pytest.raises(EditError, match="nothing to cut"):
            log.apply(Split(one, (), plane))
    log.apply(Merge((one, int(new))))
    assert np.array_equal(store.read_all() == one, before == one)
    log.undo()
    log.undo()  # the model's run
    log.undo()
    assert np.array_equal(store.read_all(), before)


def test_the_table_is_that_of_volumes_and_says_what_was_changed(project, stack):
    (done,) = predict(project, "kerne ä")
    store = project.labels(done.image)
    labels = store.read_all()
    edited = min(through(labels))
    plane = int(np.flatnonzero((labels == edited).any(axis=(1, 2)))[0])
    y, x = (int(v[0]) for v in np.nonzero(labels[plane] == edited))
    project.log(done.image).apply(Paint(edited, np.array([[y - 1, x, x + 2]]), plane, "overwrite"))
    table = as_result(project, project.find("kerne ä")).objects
    assert len(table) == len(stack[1].objects)
    assert table["volume_um3"] == pytest.approx(table["volume_px"] * 0.25 * 0.25 * 0.5)
    assert "area_px" not in table
    origins = dict(zip(table["label"].tolist(), table["origin"], strict=True))
    assert origins.pop(edited) == "edited"
    assert set(origins.values()) == {"auto"}


def test_the_command_finds_them_too(project, stack, capsys):
    folder = str(project.folder)
    project.close()
    assert (
        main(["project", "predict", folder, "--volume", "--anisotropy", "2", "--threads", "1", "--json"]) == 0
    )
    found = {entry["name"]: entry["objects"] for entry in json.loads(capsys.readouterr().out)}
    assert found["kerne ä"] == len(stack[1].objects)
    assert main(["project", "predict", folder, "--anisotropy", "2"]) == 2
    assert "volume" in capsys.readouterr().err


def test_what_does_not_go_is_said(project):
    with pytest.raises(UsageError, match="cellbrook segment --track"):
        project.predict(track=True)
    (done,) = predict(project, "kerne ä")
    store, log = project.labels(done.image), project.log(done.image)
    ids = [int(i) for i in np.unique(store.read_all())[1:]]
    log.apply(Delete(tuple(ids[:3])))
    for id_ in ids[3:6]:
        plane, y, x = (int(v[0]) for v in np.nonzero(store.read_all() == id_))
        log.apply(Paint(0, np.array([[y, x, x + 1]]), plane))
    with pytest.raises(UsageError, match="found in 3-D"):
        suggest_limits(project, "kerne ä")
